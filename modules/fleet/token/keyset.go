package token

import (
	"fmt"
	"slices"
)

// KeySet is keys found by their exact id. It is never changed.
type KeySet struct {
	keys    []*Key
	byID    map[string]*Key
	secrets []*Key // HS256 keys that speak for all nodes
}

// NewKeySet returns a set of the keys in their order. Two with one id are an
// error, whatever they are for.
func NewKeySet(keys ...*Key) (*KeySet, error) {
	set := &KeySet{keys: slices.Clone(keys), byID: make(map[string]*Key, len(keys))}
	for _, key := range keys {
		if key.ID == "" {
			return nil, fmt.Errorf("a key has no id")
		}
		if set.byID[key.ID] != nil {
			return nil, fmt.Errorf("the key %q is there twice", key.ID)
		}
		set.byID[key.ID] = key
		if key.Algorithm == HS256 && key.Node == "" {
			set.secrets = append(set.secrets, key)
		}
	}
	return set, nil
}

// Key returns the key with exactly this id, or nil.
func (s *KeySet) Key(id string) *Key { return s.byID[id] }

// Secrets are the HS256 keys that speak for all nodes, in their order.
func (s *KeySet) Secrets() []*Key { return s.secrets }

// Signing returns the key that signs for a node: the node's own, else the
// first that may sign for all, else nil.
func (s *KeySet) Signing(node string) (key *Key) {
	for _, k := range s.keys {
		switch {
		case !k.CanSign():
		case k.Node == node && node != "":
			return k
		case k.Node == "" && key == nil:
			key = k
		}
	}
	return key
}

// Bound tells whether the node has a key of its own.
func (s *KeySet) Bound(node string) bool {
	return slices.ContainsFunc(s.keys, func(k *Key) bool { return k.Node == node })
}
