package limiter

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// home is a store that gateways share.
type home struct {
	limits     store.Limits
	gateways   func() int
	changed    func(error)
	repay      func() error // what is owed
	lost       atomic.Bool
	operations *atomic.Uint64

	ctx     context.Context
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

const (
	// operationTimeout bounds one step in a store that does not do so itself.
	operationTimeout = time.Second
	// The store is tried again this soon after it was lost, and then less often.
	firstProbe, lastProbe = 50 * time.Millisecond, time.Second
)

// probeKey is written to learn whether the store can be used.
const probeKey = "probe"

// Attach lets the limiter count in a store that gateways share, until detach
// is called. gateways says how many they are. changed is called with an error
// when the store is lost, and with nil when it is back.
//
// While the store is lost the limiter does not ask it, except now and then to
// see whether it is back. What was admitted meanwhile is debited then, also
// for keys that nobody asks for again.
func (l *Limiter) Attach(limits store.Limits, gateways func() int, changed func(error)) (detach func()) {
	ctx, cancel := context.WithCancel(context.Background())
	h := &home{limits: limits, gateways: gateways, changed: changed, operations: &l.operations, ctx: ctx}
	h.repay = func() error { return l.repay(h) }
	l.home.Store(h)
	// what is owed since before a reload; a failure is one of the store like any other
	h.start(func() { _ = h.repay() })
	return func() {
		l.home.CompareAndSwap(h, nil) // another may have taken its place
		cancel()
		h.mu.Lock()
		h.ended = true
		h.mu.Unlock()
		h.running.Wait()
	}
}

// start runs work until the store is detached. It tells whether it still is attached.
func (h *home) start(work func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return false
	}
	h.running.Go(work)
	return true
}

// ask is one step in the store.
func (h *home) ask(ctx context.Context, order []store.LimitPolicy) (bool, []store.LimitState, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	h.operations.Add(1)
	allowed, states, err := h.limits.Take(ctx, order)
	if err == nil && len(states) != len(order) {
		err = errors.New("the store answered for other policies")
	}
	if err != nil && h.ctx.Err() == nil && !errors.Is(err, store.ErrClosed) && h.lost.CompareAndSwap(false, true) {
		h.changed(err)
		h.start(h.probe)
	}
	return allowed, states, err
}

// probe waits until the store can be used again.
func (h *home) probe() {
	for pause := firstProbe; ; pause = min(2*pause, lastProbe) {
		timer := time.NewTimer(pause - pause/8 + rand.N(pause/4)) // gateways spread themselves
		select {
		case <-h.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		// a step like any other: a store that answers and cannot write is lost
		_, _, err := h.ask(h.ctx, []store.LimitPolicy{{Key: probeKey, Emission: time.Millisecond, Burst: 1 << 20, Cost: 1}})
		if err == nil && h.repay() == nil {
			h.lost.Store(false)
			h.changed(nil)
			_ = h.repay() // what was admitted meanwhile; should it fail, the store is lost again
			return
		}
	}
}
