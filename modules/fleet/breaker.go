package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	resiliency "github.com/eapache/go-resiliency/breaker"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
)

// epoch is where the monotonic times of breakers are counted from: long ago,
// so that they are above 0 on the clock of any test as well.
var epoch = time.Now().Add(-100 * 365 * 24 * time.Hour)

// circuit is the breaker of one node: which era it is in, and what is shared
// of it. It outlives config reloads; the rules come with each call, so that a
// config that fails to load changes nothing.
type circuit struct {
	slug, url string
	home      *circuits
	era       atomic.Pointer[era]

	refused atomic.Uint64 // calls that were not let through
	guarded atomic.Uint64 // openings that a guard prevented
	opened  atomic.Uint64 // openings that this process has seen, forced ones included

	mu        sync.Mutex
	history   []breaker.Change
	lastGuard string
	// what is stored, see breaker_shared.go
	record     breaker.Shared
	generation uint64
	stored     []byte // what the generation is, in the store
	pending    []storedChange
	releases   []*trial
}

// era is one generation of a breaker. What belongs to an older one is dropped.
type era struct {
	state  breaker.State
	gate   *resiliency.Breaker
	window *breaker.Window
	// settled: closed and past the ramp, so that every call is let through.
	settled atomic.Bool
	// opening is what an open era and its successors during trials share.
	opening *opening
	// alone is set while the other gateways have not agreed to an opening.
	alone bool

	guardedAt  atomic.Int64 // when a guard last prevented an opening
	retryUntil atomic.Int64 // what the node's last Retry-After asked for
}

// opening counts the trial calls of one opening.
type opening struct {
	running     atomic.Int64
	deniedUntil atomic.Int64 // no use in asking for a trial before
}

// trial is one trial call.
type trial struct {
	opening    *opening
	number     uint64 // of the opening
	owner      string // in the store, or empty
	generation uint64

	hold, settle  *time.Timer
	left, decided atomic.Bool
}

// leave gives the place to the next trial, once.
func (t *trial) leave() {
	if !t.left.Swap(true) {
		t.opening.running.Add(-1)
	}
}

// end is leave of a trial that is over.
func (t *trial) end() {
	t.hold.Stop()
	t.leave()
}

// circuits is what the breakers of one federation have in common.
type circuits struct {
	// gateway names this process among the gateways; empty: nothing is shared.
	gateway string
	// changes counts the swaps of all eras, for [fellows].
	changes atomic.Uint64
	// ejecting lets openings be counted one after the other.
	ejecting sync.Mutex
	owners   atomic.Uint64

	suspicion
	sharing
}

var errTripped = errors.New("tripped")

func newCircuit(home *circuits, slug, url string) *circuit {
	c := &circuit{slug: slug, url: url, home: home, record: breaker.Shared{State: breaker.New(), URL: url}}
	c.era.Store(newEra(breaker.New(), 1, 0))
	return c
}

// newEra makes the gate for a state. remaining is how long it stays open.
func newEra(state breaker.State, successes int, remaining time.Duration) *era {
	e := &era{
		state: state, window: new(breaker.Window),
		gate: resiliency.New(1, max(successes, 1), max(remaining, 0)),
	}
	if state.Phase == breaker.Open {
		e.opening = new(opening)
		_ = e.gate.Run(func() error { return errTripped }) // and its timer runs
	}
	e.settled.Store(state.Phase == breaker.Closed && state.Since.IsZero())
	return e
}

// free tells whether every call is let through.
func (e *era) free() bool {
	return e.settled.Load() && e.gate.GetState() == resiliency.Closed
}

// phase is what the era does with calls now, on the store's clock.
func (e *era) phase(now time.Time) breaker.Phase {
	if e.state.Phase == breaker.Open && e.gate.GetState() != resiliency.Open {
		return breaker.HalfOpen // the gate's timer has run out
	}
	return e.state.At(now)
}

// available tells whether the node counts as one that calls can go to.
func (e *era) available() bool {
	return e.state.Phase == breaker.Closed || e.state.Phase == breaker.ForcedClosed
}

// admission is what a breaker answers to a call: let through and counted in
// an era, let through as a trial, let through uncounted, or refused.
type admission struct {
	era    *era
	trial  *trial
	reason string
}

// Reasons for which a breaker refuses.
const (
	reasonOpen = "open"
	reasonRamp = "ramp"
)

// admit decides on a call when not every one is let through. drawn is set
// when the caller has applied the ramp itself.
func (c *circuit) admit(ctx context.Context, g *Gate, e *era, start time.Time, drawn bool) admission {
	now := c.home.at(start)
	switch e.phase(now) {
	case breaker.Closed:
		if e.state.Phase == breaker.ForcedClosed {
			c.free(g.rules)
			return admission{era: c.era.Load()}
		}
		share := g.rules.Share(now.Sub(e.state.Since))
		if share >= 1 {
			e.settled.Store(true)
		} else if !drawn && !g.rules.Shadow && rand.Float64() >= share {
			return admission{reason: reasonRamp}
		}
		return admission{era: e}
	case breaker.ForcedClosed:
		return admission{era: e}
	case breaker.ForcedOpen:
		return admission{reason: reasonOpen}
	case breaker.HalfOpen:
		if e.state.Phase == breaker.ForcedOpen {
			c.free(g.rules)
			if next := c.era.Load(); next != e {
				return c.admit(ctx, g, next, start, drawn)
			}
			return admission{reason: reasonOpen}
		}
		if t := c.claim(ctx, e, g.rules, start); t != nil {
			return admission{era: e, trial: t}
		}
	}
	return c.passing(g, e)
}

// passing lets a call through an open breaker when its verdict is ignored,
// and refuses it otherwise.
func (c *circuit) passing(g *Gate, e *era) admission {
	if g.rules.Shadow || c.ignored(g, e) {
		return admission{}
	}
	return admission{reason: reasonOpen}
}

// ignored tells whether so few nodes are left that an opening on traffic is
// not believed. Where nobody listens, trying is no use.
func (c *circuit) ignored(g *Gate, e *era) bool {
	if e.state.Cause == breaker.CauseRefused || e.state.Cause == breaker.CauseForced {
		return false
	}
	t := g.fellows.tally()
	return t.available == 0 && t.total > 0 || g.rules.Panicking(t.total, t.available)
}

// What a trial call costs at most.
const (
	trialClaimTimeout = 100 * time.Millisecond // of asking the store
	trialDenied       = 100 * time.Millisecond // until asking again
	trialHold         = 15 * time.Second       // until another call may be the trial, here or elsewhere
	trialAnswer       = time.Second            // until an answer that goes on has passed
)

// claim takes one of the trial calls that the whole federation has, or
// returns nil. One call at a time waits here for the store, and only while
// the breaker is half-open; the others are refused at once.
func (c *circuit) claim(ctx context.Context, e *era, r *breaker.Rules, start time.Time) *trial {
	o, at := e.opening, int64(start.Sub(epoch))
	if o.deniedUntil.Load() > at {
		return nil
	}
	if o.running.Add(1) > int64(r.Probes) {
		o.running.Add(-1)
		return nil
	}
	t := &trial{opening: o, number: e.state.Opens}
	if c.claimShared(ctx, e, r, t) {
		t.hold = time.AfterFunc(trialHold, t.leave) // whoever waits for an answer may wait without end
		return t
	}
	o.running.Add(-1)
	o.deniedUntil.Store(at + int64(trialDenied))
	return nil
}

// claimShared asks the store, where there is one that has heard of the opening.
func (c *circuit) claimShared(ctx context.Context, e *era, r *breaker.Rules, t *trial) bool {
	attached := c.home.attached.Load()
	if attached == nil || e.alone || c.home.failing.Load() {
		return true // on our own
	}
	c.mu.Lock()
	generation, waiting := c.generation, len(c.pending)+len(c.releases)
	c.mu.Unlock()
	if waiting > 0 { // the store is about to hear of it
		c.home.poke()
		return false
	}
	if generation == 0 {
		return true
	}
	owner := c.home.gateway + "/" + strconv.FormatUint(c.home.owners.Add(1), 36)
	claimCtx, cancel := context.WithTimeout(ctx, trialClaimTimeout)
	defer cancel()
	err := attached.breakers.ClaimProbe(claimCtx, c.slug, generation, owner, r.Probes, trialHold)
	switch {
	case err == nil:
		t.owner, t.generation = owner, generation
		return true
	case errors.Is(err, store.ErrConflict):
		c.home.poke()
		return false
	case errors.Is(err, store.ErrHeld), ctx.Err() != nil:
		return false
	default: // the store is gone: local breakers go on
		return true
	}
}

// finish counts how a call went that was let through.
func (c *circuit) finish(t *Ticket, r *Result) {
	verdict, rules := t.gate.verdict(r), t.gate.rules
	slow := rules.Slow(r.Latency)
	if verdict == breaker.Success && r.begun {
		verdict = breaker.Begun
	}
	if t.trial != nil {
		c.finishTrial(t, r, verdict, slow)
		return
	}
	if verdict == breaker.Neutral || c.era.Load() != t.era {
		return
	}
	at := t.start + r.Latency
	switch {
	case slow:
	case verdict == breaker.Success:
		t.era.window.Success(rules, at)
		return
	case verdict == breaker.Begun:
		t.era.window.Begin(rules, at)
		return
	}
	if r.RetryAfter > 0 {
		t.era.retryUntil.Store(int64(at + min(r.RetryAfter, MaxRetryAfter)))
	}
	trip := t.era.window.Record(rules, at, verdict, slow, r.Refused)
	if verdict == breaker.Hard {
		c.home.tell(c.slug)
	}
	if trip != nil && t.era.state.Phase == breaker.Closed {
		c.trip(t.gate, t.era, *trip, at)
	}
}

// refusal says without taking anything why a call would be refused now, or is empty.
func (c *circuit) refusal(g *Gate, e *era) string {
	switch e.phase(c.home.now()) {
	case breaker.Closed, breaker.ForcedClosed:
		return ""
	case breaker.ForcedOpen:
		return reasonOpen
	case breaker.HalfOpen:
		if c.trialDue(g, e) {
			return ""
		}
	}
	return c.passing(g, e).reason
}

// trialDue tells whether the next call would be a trial.
func (c *circuit) trialDue(g *Gate, e *era) bool {
	if e.phase(c.home.now()) != breaker.HalfOpen {
		return false
	}
	o := e.opening
	return o == nil || o.running.Load() < int64(g.rules.Probes) && o.deniedUntil.Load() <= int64(time.Since(epoch))
}
