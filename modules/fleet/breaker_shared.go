package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
)

// sharing is how the breakers of one federation reach the other gateways:
// changes are written behind, and others' are watched and polled for. While
// the store is gone each gateway's own breakers go on.
type sharing struct {
	attached atomic.Pointer[attachedStore]
	failing  atomic.Bool
	// offset is the store's clock minus ours, in nanoseconds.
	offset atomic.Int64
	// watching is who is told of changes: the federation that runs.
	watching atomic.Pointer[func(c *circuit, from, to breaker.State)]
	// electorate says how many gateways have traffic to a node, and whether
	// an active check agrees that it is down. Nil: one, and no.
	electorate atomic.Pointer[func(slug string) (gateways int, confirmed bool)]

	wake chan struct{} // there is something to write or to read

	mu    sync.Mutex
	dirty map[*circuit]bool

	// io is held while the store is written or read, so that what was read is
	// never older than what was written.
	io sync.Mutex
}

type attachedStore struct{ breakers store.Breakers }

// How breakers are kept together.
const (
	breakerPoll         = time.Second
	breakerTimeout      = 5 * time.Second // of one step
	breakerFlush        = 2 * time.Second // of writing what waits at a stop
	clockRefresh        = 10 * time.Second
	maxBreakerConflicts = 8
)

// newCircuits are those of a federation whose gateways share a store, or of
// one gateway alone.
func newCircuits(shared bool) *circuits {
	h := &circuits{sharing: sharing{wake: make(chan struct{}, 1), dirty: make(map[*circuit]bool)}}
	if shared {
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails
		h.gateway = hex.EncodeToString(id[:])
	}
	return h
}

// at is a moment on the store's clock.
func (h *circuits) at(local time.Time) time.Time {
	// without the monotonic part, which no other process could compare
	return local.Add(time.Duration(h.offset.Load())).Round(0)
}

func (h *circuits) now() time.Time { return h.at(time.Now()) }

func (h *circuits) quorum(slug string) (gateways int, confirmed bool) {
	if ask := h.electorate.Load(); ask != nil {
		return (*ask)(slug)
	}
	return 1, false
}

func (h *circuits) observe(c *circuit, from, to breaker.State) {
	if tell := h.watching.Load(); tell != nil && (from.Phase != to.Phase || from.Opens != to.Opens) {
		(*tell)(c, from, to)
	}
}

func (h *circuits) mark(c *circuit) {
	h.mu.Lock()
	h.dirty[c] = true
	h.mu.Unlock()
	h.poke()
}

func (h *circuits) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// giveBack returns a trial call that told nothing.
func (c *circuit) giveBack(t *trial) {
	if t.owner == "" {
		return
	}
	c.mu.Lock()
	c.releases = append(c.releases, t)
	c.mu.Unlock()
	c.home.mark(c)
}

// sharer keeps the breakers of one running federation and its store together.
type sharer struct {
	home   *circuits
	store  store.Store
	rules  *breaker.Rules
	list   func() []*circuit
	logger *zap.Logger
	// written is called on the one gateway that wrote a change.
	written func(slug string, from, to breaker.State)
	clock   time.Time // when the store's clock was read last
	mine    *attachedStore
}

// attach reads what is stored, before the first call is let through.
func (s *sharer) attach(ctx context.Context) error {
	h := s.home
	h.io.Lock()
	defer h.io.Unlock()
	s.mine = &attachedStore{s.store.Breakers()}
	h.attached.Store(s.mine)
	for _, c := range s.list() {
		c.mu.Lock()
		c.generation = 0 // it may be another store
		c.mu.Unlock()
	}
	return s.read(ctx)
}

// run keeps them together until ctx ends, and then writes what still waits.
func (s *sharer) run(ctx context.Context, changes <-chan struct{}) {
	ticker := time.NewTicker(breakerPoll)
	defer ticker.Stop()
	sweeps := time.NewTicker(breakerSweep)
	defer sweeps.Stop()
	for {
		select {
		case <-sweeps.C:
			s.tidy(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), breakerFlush)
			defer cancel()
			s.step(last, false)
			s.home.poke() // what could not be written is the next config's
			return
		case _, more := <-changes:
			if !more {
				changes = nil
				continue
			}
			s.step(ctx, true)
		case <-s.home.wake:
			s.step(ctx, false)
		case <-ticker.C:
			s.expire()
			s.step(ctx, true)
		}
	}
}

// detach leaves the store, unless the next config has taken over.
func (s *sharer) detach() { s.home.attached.CompareAndSwap(s.mine, nil) }

// expire ends forces whose time is over, also where no call comes by.
func (s *sharer) expire() {
	now := s.home.now()
	for _, c := range s.list() {
		state := c.era.Load().state
		if state.Cause == breaker.CauseForced && state.Phase != breaker.Open && state.At(now) != state.Phase {
			c.free(s.rules)
		}
	}
}

// step writes what waits, and reads.
func (s *sharer) step(ctx context.Context, read bool) {
	h := s.home
	h.io.Lock()
	defer h.io.Unlock()
	bounded, cancel := context.WithTimeout(ctx, breakerTimeout)
	defer cancel()
	var err error
	if read || h.failing.Load() {
		err = s.read(bounded)
	}
	h.mu.Lock()
	dirty := h.dirty
	h.dirty = make(map[*circuit]bool)
	h.mu.Unlock()
	for c := range dirty {
		if err == nil {
			err = s.flush(bounded, c)
		}
		if err != nil {
			h.mu.Lock()
			h.dirty[c] = true // and once more with the next step
			h.mu.Unlock()
		}
	}
	if ctx.Err() != nil {
		return
	}
	if failing := err != nil; failing != h.failing.Swap(failing) {
		if failing {
			s.logger.Error("circuit breakers cannot be shared, each gateway goes on alone", zap.Error(err))
		} else {
			s.logger.Info("circuit breakers are shared again")
		}
	}
}

// read takes over what is stored. h.io is held.
func (s *sharer) read(ctx context.Context) error {
	if since := time.Since(s.clock); since > clockRefresh || since < 0 {
		before := time.Now()
		there, err := s.store.Now(ctx)
		if err != nil {
			return err
		}
		s.clock = time.Now()
		s.home.offset.Store(int64(there.Sub(before.Add(s.clock.Sub(before) / 2))))
	}
	records, err := s.store.Breakers().List(ctx)
	if err != nil {
		return err
	}
	stored := make(map[string]store.BreakerRecord, len(records))
	for _, r := range records {
		stored[r.Node] = r
	}
	for _, c := range s.list() {
		s.adopt(c, stored[c.slug])
	}
	return nil
}

// adopt takes over what is stored of one breaker; a zero record is one that
// the store does not have.
func (s *sharer) adopt(c *circuit, record store.BreakerRecord) {
	c.mu.Lock()
	was := c.era.Load()
	if record.Generation == 0 {
		// what the store forgot, or never heard of, is told to it again
		if was.state.Phase != breaker.Closed && len(c.pending) == 0 {
			c.pending = append(c.pending, seed(was.state))
			defer s.home.mark(c)
		}
		c.generation, c.stored, c.record = 0, nil, breaker.Shared{State: breaker.New(), URL: c.url}
		c.mu.Unlock()
		return
	}
	// a store that was emptied counts from 1 again, and may come to the same number
	if record.Generation == c.generation && bytes.Equal(record.Data, c.stored) {
		c.mu.Unlock()
		return
	}
	shared := breaker.Shared{State: breaker.New(), URL: c.url}
	if stands, err := decodeShared(record); err != nil {
		s.logger.Error("what is stored of a circuit breaker is left out: it cannot be read", zap.String("node", c.slug), zap.Error(err))
	} else if stands.URL == c.url {
		shared = stands
	}
	c.generation, c.stored, c.record = record.Generation, record.Data, shared
	if shared.Abandoned {
		c.reclaim()
		defer s.home.mark(c)
	}
	s.settle(c)
	c.mu.Unlock()
	s.home.observe(c, was.state, c.era.Load().state)
}

// seed tells a store that knows nothing of a breaker what is known here.
func seed(state breaker.State) storedChange {
	return func(stands breaker.Shared, _ time.Time) (breaker.Shared, bool) {
		if stands.Phase != breaker.Closed || stands.Opens != 0 {
			return stands, false
		}
		return stands.Become(state), true
	}
}

func decodeShared(record store.BreakerRecord) (breaker.Shared, error) {
	var shared breaker.Shared
	err := json.Unmarshal(record.Data, &shared)
	return shared, err
}

// settle makes the era fit what is stored and what waits to be. c.mu is held.
func (s *sharer) settle(c *circuit) {
	now, desired := s.home.now(), c.record
	for _, change := range c.pending {
		if next, ok := change(desired, now); ok {
			desired = next
		}
	}
	was := c.era.Load()
	next := desired.State
	switch {
	case next.Phase == breaker.Closed && was.alone:
		// the others do not agree; our own trials will tell
	case next.Phase == breaker.Closed && was.state.Phase == breaker.Closed && next.Opens <= was.state.Opens:
		// nothing new
	case next.Same(was.state):
		if next.Successes != was.state.Successes || was.alone {
			next.Until = was.state.Until // what the gate's timer runs on
			c.swap(s.rules, next, false, now)
		}
		c.history = desired.History
	default:
		c.swap(s.rules, next, false, now)
		c.history = desired.History
	}
}

// flush writes what waits of one breaker. h.io is held.
func (s *sharer) flush(ctx context.Context, c *circuit) error {
	breakers := s.store.Breakers()
	c.mu.Lock()
	releases := c.releases
	c.releases = nil
	c.mu.Unlock()
	for _, t := range releases {
		err := breakers.ReleaseProbe(ctx, c.slug, t.generation, t.owner)
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err // the store forgets the trial by itself
		}
	}
	for range maxBreakerConflicts {
		now := s.home.now()
		c.mu.Lock()
		pending, stands, generation := len(c.pending), c.record, c.generation
		stood := stands.State
		changed := false
		for _, change := range c.pending {
			if next, ok := change(stands, now); ok {
				stands, changed = next, true
			}
		}
		if !changed {
			was := c.era.Load()
			c.pending = nil
			if pending > 0 && generation > 0 {
				s.settle(c)
			}
			c.mu.Unlock()
			s.home.observe(c, was.state, c.era.Load().state)
			return nil
		}
		c.mu.Unlock()
		data, err := json.Marshal(stands)
		if err != nil {
			return err
		}
		record, err := breakers.Transition(ctx, store.BreakerRecord{
			Node: c.slug, Generation: generation, State: string(stands.Phase), Until: stands.Until, Data: data,
		})
		if errors.Is(err, store.ErrConflict) {
			if err := s.read(ctx); err != nil { // another gateway was first
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		c.mu.Lock()
		was := c.era.Load()
		c.generation, c.stored, c.record = record.Generation, data, stands
		c.pending = c.pending[min(pending, len(c.pending)):]
		s.settle(c)
		waits := len(c.pending) > 0
		c.mu.Unlock()
		s.home.observe(c, was.state, c.era.Load().state)
		if s.written != nil {
			s.written(c.slug, stood, stands.State)
		}
		if !waits {
			return nil
		}
	}
	return store.ErrConflict
}
