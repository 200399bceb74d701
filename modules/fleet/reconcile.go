package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// A store that keeps nothing on disk comes back empty. What this gateway last
// read of nodes, their numbers and revocations is put back then: the first of
// several gateways does it. Breakers put themselves back.

// knownNodes is what was last read of the registry.
type knownNodes struct {
	ids     map[string]int64 // of all nodes
	records []store.NodeRecord
}

// recollection is what would be put back.
type recollection struct {
	nodes atomic.Pointer[knownNodes]
	// emptied is set from when the nodes were put back until the revocations are.
	emptied atomic.Bool

	mu      sync.Mutex
	revoked map[string]store.Revocation // by subject, also those that an empty store has lost
}

// restore puts the nodes back into a store that has none, and returns what it
// has then.
func (r *registry) restore(ctx context.Context, nodes store.Nodes) ([]store.NodeRecord, error) {
	memory := &r.app.shared.store.memory
	known := memory.nodes.Load()
	if known == nil {
		known = new(knownNodes)
	}
	err := nodes.Restore(ctx, known.ids, known.records)
	if errors.Is(err, store.ErrExists) {
		return nodes.List(ctx) // its last node was unregistered, or another gateway was faster
	}
	if err != nil || len(known.ids) == 0 {
		return nil, err
	}
	memory.emptied.Store(true)
	r.app.logger.Warn("the store is empty: nodes and their numbers were put back as they were last read",
		zap.Int("nodes", len(known.records)), zap.Int("numbers", len(known.ids)))
	return nodes.List(ctx)
}

// note remembers the revocations that were read, until they are over.
func (m *recollection) note(revocations []store.Revocation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revoked == nil {
		m.revoked = make(map[string]store.Revocation)
	}
	now := time.Now()
	maps.DeleteFunc(m.revoked, func(_ string, r store.Revocation) bool { return r.Until.Before(now) })
	for _, r := range revocations {
		m.revoked[r.Subject] = r
	}
}

// revokeAgain puts revocations back into a store that came back empty.
func (m *recollection) revokeAgain(ctx context.Context, tokens store.Tokens, logger *zap.Logger) error {
	if !m.emptied.Load() {
		return nil
	}
	m.mu.Lock()
	revoked := slices.Collect(maps.Values(m.revoked))
	m.mu.Unlock()
	for _, r := range revoked {
		if err := tokens.Revoke(ctx, r); err != nil {
			return err
		}
	}
	m.emptied.Store(false)
	if len(revoked) > 0 {
		logger.Warn("the store was empty: revocations were put back", zap.Int("revocations", len(revoked)))
	}
	return nil
}
