package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-federation/caddy-federation/store"
)

// AddNode adds a node by an operator's word: it may live anywhere, and is
// enabled at once unless the settings say otherwise. The error is a [NodeError].
func (a *App) AddNode(ctx context.Context, config NodeConfig) (*Node, error) {
	return a.AddNodeSaying(ctx, config, "", nil)
}

// AddNodeSaying is [App.AddNode] with what a registry knows of a node besides
// its settings: the version of its software, up to 255 bytes, and metadata as
// [CheckMetadata] has them.
func (a *App) AddNodeSaying(ctx context.Context, config NodeConfig, version string, metadata json.RawMessage) (*Node, error) {
	opened, err := a.opened()
	if err != nil {
		return nil, err
	}
	if _, fixed := a.registry.static[config.Slug]; fixed {
		return nil, &NodeError{CodeNodeExists, "slug", fmt.Sprintf("node %q is in the Caddyfile; change it instead", config.Slug)}
	}
	if a.isClient(config.Slug) {
		return nil, taken(config.Slug)
	}
	record := nodeRecord{
		NodeConfig: config, Version: version, Metadata: metadata, Trusted: true, Limit: config.Capabilities,
		Registered: time.Now().UTC().Truncate(time.Millisecond),
	}
	if len(version) > maxWordLength || !utf8.ValidString(version) || strings.ContainsFunc(version, unicode.IsControl) {
		return nil, invalidNode("version", "expected at most %d bytes without control characters", maxWordLength)
	}
	if err := a.CheckNode(config); err != nil {
		return nil, err
	}
	data, err := record.encode()
	if err != nil {
		return nil, err
	}
	if err := a.heldElsewhere(ctx, opened, config.Slug, CodeNodeExists); err != nil {
		return nil, a.registryError(err)
	}
	var node *Node
	err = a.registry.write(ctx, config.Slug, func(ctx context.Context) error {
		stands, err := opened.Nodes().Get(ctx, config.Slug)
		if err == nil {
			if before, err := readNodeRecord(stands); err != nil || !before.vacant() {
				return &NodeError{CodeNodeExists, "slug", fmt.Sprintf("a node named %q exists already", config.Slug)}
			}
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		former, err := hasNumber(ctx, opened.Nodes(), config.Slug)
		if err != nil {
			return err
		}
		written, err := opened.Nodes().Put(ctx, store.NodeRecord{Slug: config.Slug, Revision: stands.Revision, Data: data})
		if err != nil {
			return err
		}
		if former {
			if err := a.revokeAll(ctx, opened, config.Slug); err != nil {
				return err
			}
		}
		node, err = a.registry.written(ctx, opened.Nodes(), written)
		return err
	})
	if err != nil {
		return nil, a.registryError(err)
	}
	a.Emit("node_registered", config.Slug, map[string]any{"name": node.Name, "pending": false})
	return node, nil
}

// CheckNode tells whether a node could be added with the settings, but for its
// name being taken. The error is a [NodeError].
func (a *App) CheckNode(config NodeConfig) error {
	if len(config.Keys) > 0 {
		return invalidNode("keys", "a registered node cannot have keys of its own: they belong in the Caddyfile, as `key` of the node")
	}
	record := nodeRecord{NodeConfig: config, Trusted: true}
	if err := record.check(); err != nil {
		return err
	}
	return a.registry.fits(&record)
}
