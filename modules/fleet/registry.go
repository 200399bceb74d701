package fleet

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// Snapshot is all nodes at one moment. It is never changed.
type Snapshot struct {
	// Nodes are sorted by slug.
	Nodes []*Node
	// Epoch rises with every change of the node set.
	Epoch uint64

	bySlug map[string]*Node
	byID   map[int64]*Node
}

// Node returns the node with the slug, or nil.
func (s *Snapshot) Node(slug string) *Node { return s.bySlug[slug] }

// NodeByID returns the node with the id, or nil.
func (s *Snapshot) NodeByID(id int64) *Node { return s.byID[id] }

// registry makes snapshots out of the configured nodes and the store's.
type registry struct {
	app     *App
	ctx     caddy.Context
	static  map[string]NodeConfig
	opened  store.Store // from Start on
	current atomic.Pointer[Snapshot]
	keep    bool // a copy on disk, for a start without the store
	inForce atomic.Bool

	writers *writers

	mu    sync.Mutex // for building: the watcher, and who writes to the registry
	built map[string]*builtNode
}

// Where a node is from.
const (
	sourceCaddyfile = "caddyfile"
	sourceRegistry  = "registry"
)

// read numbers the static nodes, reads the registered ones and makes the next
// snapshot of both.
func (r *registry) read(ctx context.Context, nodes store.Nodes) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	records, err := nodes.List(ctx)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		if records, err = r.restore(ctx, nodes); err != nil {
			return err
		}
	}
	if r.inForce.Load() {
		if records, err = r.displace(ctx, nodes, records); err != nil {
			return err
		}
		if records, err = r.adopt(ctx, nodes, records); err != nil {
			return err
		}
	}
	// after the list: it fails when the store was emptied before that
	ids, err := nodes.AssignIDs(ctx, slices.Collect(maps.Keys(r.static)))
	if err != nil {
		return err
	}
	known := &knownNodes{maps.Clone(ids), records}
	for _, record := range records {
		known.ids[record.Slug] = record.ID
	}
	r.app.shared.store.memory.nodes.Store(known)
	if r.keep {
		r.app.keepLastKnown(known)
	}
	return r.rebuild(ids, records)
}

// recall makes the next snapshot of what was last read: by this config, the
// one before, or the process before.
func (r *registry) recall() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.app.shared.store.memory.nodes.Load()
	if known == nil && r.keep {
		known = r.app.lastKnown()
	}
	if known == nil {
		return nil
	}
	return r.rebuild(known.ids, known.records)
}

// registryRetry is how soon a registry that could not be read is read again,
// without a change to wait for.
const registryRetry = 5 * time.Second

// readingShare is how many times longer than reading took there is none.
const readingShare = 4

// watch follows the store's changes until they end. While the store is gone
// the last snapshot stays. readable is whether it could be read at the start.
func (r *registry) watch(ctx context.Context, nodes store.Nodes, changes <-chan struct{}, readable bool) {
	failing := !readable
	var retry <-chan time.Time
	if failing {
		retry = time.After(registryRetry)
	}
	for {
		select {
		case _, more := <-changes:
			if !more {
				return
			}
		case <-retry:
		}
		start := time.Now()
		err := r.read(ctx, nodes)
		// many changes in a row are read together, so that reading stays a
		// small part of what the gateway does
		select {
		case <-time.After(min(readingShare*time.Since(start), time.Second)):
		case <-ctx.Done():
		}
		if retry = nil; err != nil {
			retry = time.After(registryRetry)
		}
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			if failing {
				r.app.logger.Error("the registry cannot be read, the nodes stay as they are", zap.Error(err))
			} else {
				r.app.logger.Info("the registry is read again")
			}
		}
	}
}

// release gives up everything that was built.
func (r *registry) release() {
	for _, built := range r.built {
		built.release()
	}
	r.built = nil
}
