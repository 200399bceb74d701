package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-federation/caddy-federation/store"
)

// NameWord is what an operator said of a name that no node has now. It counts
// for the next node that registers under the name.
type NameWord struct {
	// State holds the node back: draining, maintenance or disabled; or it is empty.
	State AdminState
	// Limit is what the node may do at most; empty is no limit.
	Limit []string
}

// WordOnName returns what an operator said of a name that no node has, or nil
// when nothing stands. The error is a [NodeError].
func (a *App) WordOnName(ctx context.Context, slug string) (*NameWord, error) {
	opened, err := a.opened()
	if err != nil {
		return nil, err
	}
	_, word, err := a.vacantName(ctx, opened.Nodes(), slug)
	return word, a.registryError(err)
}

// vacantName reads the record of a name. The word is nil when a node has the
// name, or nothing was said of it.
func (a *App) vacantName(ctx context.Context, nodes store.Nodes, slug string) (stands store.NodeRecord, word *NameWord, err error) {
	if _, fixed := a.registry.static[slug]; fixed || !ValidSlug(slug) {
		return stands, nil, nil
	}
	stands, err = nodes.Get(ctx, slug)
	if errors.Is(err, store.ErrNotFound) {
		return stands, nil, nil
	}
	if err != nil {
		return stands, nil, err
	}
	record, err := readNodeRecord(stands)
	if err != nil || !record.vacant() {
		return stands, nil, nil //nolint:nilerr // one that is broken says nothing
	}
	said := record.word()
	if said.silent() {
		return stands, nil, nil
	}
	return stands, &NameWord{said.AdminState, said.Limit}, nil
}

// EnableName ends an operator's word that holds back whoever registers next
// under a name that no node has. A limit stays with the name. The error is a
// [NodeError]: that there is no such node when nothing was said of the name.
func (a *App) EnableName(ctx context.Context, slug string) error {
	opened, err := a.opened()
	if err != nil {
		return err
	}
	if _, fixed := a.registry.static[slug]; fixed {
		return &NodeError{CodeNodeFixed, "", fmt.Sprintf("node %q is in the Caddyfile", slug)}
	}
	if err := a.heldElsewhere(ctx, opened, slug, CodeNodeFixed); err != nil {
		return a.registryError(err)
	}
	nodes, was := opened.Nodes(), AdminState("")
	err = a.registry.write(ctx, slug, func(ctx context.Context) error {
		stands, word, err := a.vacantName(ctx, nodes, slug)
		switch {
		case err != nil:
			return err
		case word == nil:
			return store.ErrNotFound
		case word.State == "":
			return nil
		}
		record, err := readNodeRecord(stands)
		if err != nil {
			return err
		}
		was, record.AdminState = word.State, ""
		if stands.Data, err = record.encode(); err != nil {
			return err
		}
		written, err := nodes.Put(ctx, stands)
		if err != nil {
			return err
		}
		return a.registry.include(ctx, nodes, written)
	})
	if err == nil && was != "" {
		a.Emit("node_admin_state", slug, map[string]any{"from": string(was), "to": string(AdminEnabled)})
	}
	return a.registryError(err)
}

// disabledName is for a node that registers under a name that an operator disabled.
func disabledName(slug string) *NodeError {
	return &NodeError{CodeNodeDisabled, "", fmt.Sprintf("an operator has disabled the node of this name; an operator can let the next one in "+
		"(`caddy federation nodes enable %s`), free the name (`nodes rm %s`) or add the node (`nodes add`)", slug, slug)}
}
