package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

// What an API key can be refused for.
var (
	// ErrKeyExists: the API key, or a key of this name, is there already.
	ErrKeyExists = errors.New("there is such a key already")
	// ErrBadKey: the text or name cannot be an API key's.
	ErrBadKey = errors.New("not fit for an api key")
)

// apiKey is one key.
type apiKey struct {
	hash, id string
	to       store.Grantee
	expires  time.Time
	data     apiKeyData
	caller   atomic.Pointer[resolved]
}

// apiKeyData is what is stored with a key.
type apiKeyData struct {
	// Name is the caller's, when the key belongs to no node.
	Name string `json:"name,omitempty"`
	// Capabilities are the caller's. A node's key has those of the node.
	Capabilities []string  `json:"capabilities,omitempty"`
	Created      time.Time `json:"created"`
	Imported     bool      `json:"imported,omitempty"`
}

// resolve finds whom the key stands for.
func (k *apiKey) resolve(snapshot *Snapshot, g *grants) (*Identity, *AuthError) {
	identity := &Identity{ID: k.data.Name, Name: k.data.Name, Type: TypeClient, Capabilities: k.data.Capabilities}
	if k.to.Node != "" {
		node := snapshot.Node(k.to.Node)
		switch {
		case node == nil:
			return nil, errUnknownNode
		case k.dead(snapshot, g):
			return nil, errRevoked
		}
		if err := mayAct(node); err != nil {
			return nil, err
		}
		identity = identityOfNode(node)
		identity.epoch = k.to.Epoch
		identity.Capabilities = intersection(node.Capabilities, node.Capabilities)
	}
	identity.Method, identity.TokenID, identity.Expires = "api_key", k.id, k.expires
	return identity, nil
}

// dead tells whether a node's key was revoked with the node, or belongs to an
// earlier node of the name or to what it was before an operator moved it. The
// store keeps no such key; a server that lost its last writes may.
func (k *apiKey) dead(snapshot *Snapshot, g *grants) bool {
	if k.to.Node == "" {
		return false
	}
	node := snapshot.Node(k.to.Node)
	return node != nil && (node.ID != k.to.NodeID || node.since > k.to.Epoch) || g.epochs[k.to.Node] > k.to.Epoch
}

// maxKeys is how many API keys a node may have: with more, one would fill what
// all gateways keep in memory.
const maxKeys = 100

// NewAPIKey gives a node a new API key. The key is returned once and never
// again; id names it from then on. by is the caller who asks for it, nil for an
// operator: what a node asks for itself is bound to what its own credential
// was given under, so a revocation on the way leaves nothing.
func (a *App) NewAPIKey(ctx context.Context, node *Node, by *Identity) (key, id string, err error) {
	to := a.grantee(node)
	if by.isNode(node.Slug, node.ID) {
		to.Epoch = by.epoch
	}
	if len(a.APIKeys(node.Slug)) >= maxKeys {
		return "", "", &NodeError{CodeNodeConflict, "", fmt.Sprintf("the node has %d API keys already; revoke some", maxKeys)}
	}
	key, id = token.NewAPIKey()
	return key, id, a.putKey(ctx, store.APIKey{Grantee: to, Hash: token.Hash(key), ID: id}, apiKeyData{})
}

// grantee is the node for something that an operator gives it from now on.
func (a *App) grantee(node *Node) store.Grantee {
	return store.Grantee{Node: node.Slug, NodeID: node.ID, Epoch: max(a.epoch(node.Slug), node.adopted)}
}

// NewClientKey gives a caller that is no node an API key of its own. The name
// is a slug that no node has; expires may be zero.
func (a *App) NewClientKey(ctx context.Context, name string, capabilities []string, expires time.Time) (key, id string, err error) {
	if !ValidSlug(name) || name == FederatedID || a.Snapshot().Node(name) != nil {
		return "", "", fmt.Errorf("name %q: %w: expected a slug that no node has", name, ErrBadKey)
	}
	key, id = token.NewAPIKey()
	capabilities = slices.Clone(capabilities)
	slices.Sort(capabilities)
	return key, id, a.putKey(ctx, store.APIKey{Hash: token.Hash(key), ID: id, Expires: expires}, apiKeyData{Name: name, Capabilities: slices.Compact(capabilities)})
}

// ImportAPIKey lets a node go on with the API key that another system gave
// it. Only its hash is kept. The same key again is no error.
func (a *App) ImportAPIKey(ctx context.Context, node *Node, plain string) error {
	if !token.Importable(plain) {
		return fmt.Errorf("%w: expected 32 to 255 visible characters", ErrBadKey)
	}
	hash := token.Hash(plain)
	key := store.APIKey{Grantee: a.grantee(node), Hash: hash, ID: "imported-" + hash[:12]}
	err := a.putKey(ctx, key, apiKeyData{Imported: true})
	if !errors.Is(err, ErrKeyExists) {
		return err
	}
	opened, openErr := a.opened()
	if openErr != nil {
		return openErr
	}
	if known, getErr := opened.Tokens().Key(ctx, hash); getErr == nil && known.Node == key.Node && known.NodeID == key.NodeID {
		return nil
	}
	return err
}

func (a *App) putKey(ctx context.Context, key store.APIKey, data apiKeyData) error {
	opened, err := a.opened()
	if err != nil {
		return err
	}
	if data.Created, err = opened.Now(ctx); err != nil {
		return fmt.Errorf("storing an api key: %w", err)
	}
	if key.Data, err = json.Marshal(data); err != nil {
		return err
	}
	switch err := opened.Tokens().PutKey(ctx, key); {
	case errors.Is(err, store.ErrExists):
		return ErrKeyExists
	case errors.Is(err, store.ErrRevoked):
		return a.revokedMeanwhile(ctx, opened)
	case err != nil:
		return err
	}
	a.Emit("api_key_created", key.Node, map[string]any{"key": key.ID, "name": data.Name})
	return a.authority.read(ctx, opened.Tokens())
}

// APIKey is what may be told of an API key.
type APIKey struct {
	ID           string    `json:"id"`
	Node         string    `json:"node,omitempty"`
	Name         string    `json:"name,omitempty"`
	Capabilities []string  `json:"capabilities,omitempty"`
	Created      time.Time `json:"created"`
	Expires      time.Time `json:"expires,omitzero"`
	Imported     bool      `json:"imported,omitempty"`
}

// APIKeys lists the keys of a node, or all when it is empty.
func (a *App) APIKeys(node string) []APIKey {
	g := a.authority.current()
	if g == nil {
		return nil
	}
	var list []APIKey
	snapshot := a.Snapshot()
	for _, keys := range []map[string]*apiKey{g.byID, g.imported} {
		for _, key := range keys {
			if (node == "" || key.to.Node == node) && !key.dead(snapshot, g) {
				list = append(list, APIKey{key.id, key.to.Node, key.data.Name, key.data.Capabilities, key.data.Created, key.expires, key.data.Imported})
			}
		}
	}
	slices.SortFunc(list, func(a, b APIKey) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// DeleteAPIKey kills the API key with the id; [store.ErrNotFound] when there
// is none.
func (a *App) DeleteAPIKey(ctx context.Context, id string) error {
	opened, err := a.opened()
	if err != nil {
		return err
	}
	keys, err := opened.Tokens().Keys(ctx, "")
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key.ID == id {
			return a.deleteKey(ctx, opened, key)
		}
	}
	return fmt.Errorf("api key %q: %w", id, store.ErrNotFound)
}

func (a *App) deleteKey(ctx context.Context, opened store.Store, key store.APIKey) error {
	if err := opened.Tokens().DeleteKey(ctx, key.Hash); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	a.Emit("api_key_revoked", key.Node, map[string]any{"key": key.ID})
	return a.authority.read(ctx, opened.Tokens())
}
