package fleet

import (
	"sync"
	"sync/atomic"
)

// fellows are the gates whose nodes stand for each other, as the guards of
// their breakers count them.
type fellows struct {
	home *circuits
	// each calls yield with every gate that calls may go to; version changes
	// with who they are.
	each    func(yield func(*Gate))
	version func() uint64

	mu     sync.Mutex
	cached atomic.Pointer[tally]
}

// tally is how many nodes there are, and how many of them are available.
type tally struct {
	total, available int
	changes, version uint64
}

// tally counts, when anything has changed since it was last counted.
func (f *fellows) tally() tally {
	changes, version := f.home.changes.Load(), f.version()
	if t := f.cached.Load(); t != nil && t.changes == changes && t.version == version {
		return *t
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t := tally{changes: changes, version: version}
	f.each(func(g *Gate) {
		t.total++
		if g.member.circuit.era.Load().available() && !g.member.health.down() {
			t.available++
		}
	})
	f.cached.Store(&t)
	return t
}
