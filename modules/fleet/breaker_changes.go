package fleet

import (
	"math/rand/v2"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// guardPause is how long a guard that prevented an opening is not asked again.
const guardPause = 100 * time.Millisecond

// storedChange is what a change here means for what is stored. It is applied
// to what stands there by then, and does nothing when that has moved on.
type storedChange func(stands breaker.Shared, now time.Time) (breaker.Shared, bool)

// trip opens the breaker, unless a guard prevents it.
func (c *circuit) trip(g *Gate, e *era, trip breaker.Trip, at time.Duration) {
	if time.Duration(e.guardedAt.Load()) > at-guardPause && e.guardedAt.Load() != 0 {
		return
	}
	c.home.ejecting.Lock()
	defer c.home.ejecting.Unlock()
	if c.era.Load() != e {
		return
	}
	tally := g.fellows.tally()
	guard := ""
	switch {
	case trip.Cause != breaker.CauseRefused && g.rules.Panicking(tally.total, tally.available):
		guard = "panic"
	case !g.rules.MayEject(tally.total, tally.total-tally.available):
		guard = "max_ejected"
	}
	if guard != "" {
		e.guardedAt.Store(int64(at))
		c.guarded.Add(1)
		c.mu.Lock()
		c.lastGuard = guard + ": " + trip.Reason
		c.mu.Unlock()
		return
	}
	retryAfter := max(time.Duration(e.retryUntil.Load())-at, 0)
	rules, jitter := g.rules, rand.Float64()
	c.change(rules,
		func(s breaker.State, now time.Time) (breaker.State, bool) {
			return s.Opened(rules, now, trip, retryAfter, jitter)
		},
		c.vote(func(s breaker.State, now time.Time) (breaker.State, bool) {
			return s.Opened(rules, now, trip, retryAfter, jitter)
		}))
}

// vote opens the stored breaker once enough gateways think alike.
func (c *circuit) vote(open func(breaker.State, time.Time) (breaker.State, bool)) storedChange {
	return func(stands breaker.Shared, now time.Time) (breaker.Shared, bool) {
		next, ok := open(stands.State, now)
		if !ok || !next.Until.After(c.home.now()) { // what the store hears too late says nothing any more
			return stands, false
		}
		voted, votes := stands.Vote(c.home.gateway, now, next.Until)
		gateways, confirmed := c.home.quorum(c.slug)
		if confirmed || breaker.Quorum(votes, gateways) {
			return stands.Become(next), true
		}
		return voted, true
	}
}

// finishTrial lets a trial call decide.
func (c *circuit) finishTrial(t *Ticket, r *Result, verdict breaker.Verdict, slow bool) {
	try, rules := t.trial, t.gate.rules
	defer try.end()
	if verdict == breaker.Neutral {
		c.giveBack(try)
		return
	}
	if verdict == breaker.Begun {
		verdict = breaker.Success
	}
	if verdict == breaker.Success && !slow {
		_ = t.era.gate.Run(func() error { return nil })
		succeeded := func(s breaker.State, now time.Time) (breaker.State, bool) { return s.Succeeded(rules, now, try.number) }
		c.change(rules, succeeded, func(stands breaker.Shared, now time.Time) (breaker.Shared, bool) {
			if next, ok := succeeded(stands.State, now); ok {
				return stands.Become(next), true
			}
			return stands.Retract(c.home.gateway)
		})
		return
	}
	reason := "a trial call failed"
	if verdict == breaker.Success {
		reason = "a trial call was slow"
	}
	retryAfter, jitter := min(r.RetryAfter, MaxRetryAfter), rand.Float64()
	failed := func(s breaker.State, now time.Time) (breaker.State, bool) {
		return s.Failed(rules, now, try.number, reason, retryAfter, jitter)
	}
	again := c.vote(func(s breaker.State, now time.Time) (breaker.State, bool) {
		return s.Opened(rules, now, breaker.Trip{Cause: breaker.CauseTrial, Reason: reason}, retryAfter, jitter)
	})
	alone := t.era.alone
	c.change(rules, failed, func(stands breaker.Shared, now time.Time) (breaker.Shared, bool) {
		if next, ok := failed(stands.State, now); ok {
			return stands.Become(next), true
		}
		if alone {
			return again(stands, now)
		}
		return stands, false
	})
}

// force is the operator's word. expires 0: until it is taken back.
func (c *circuit) force(r *breaker.Rules, phase breaker.Phase, reason, actor string, expires time.Duration) {
	c.both(r, func(s breaker.State, now time.Time) (breaker.State, bool) {
		until := time.Time{}
		if expires > 0 {
			until = now.Add(expires)
		}
		return s.Forced(phase, now, until, reason, actor)
	})
}

// release takes the operator's word back.
func (c *circuit) release(r *breaker.Rules, reason, actor string) {
	c.both(r, func(s breaker.State, now time.Time) (breaker.State, bool) { return s.Freed(now, reason, actor) })
}

// free ends a force whose time is over, once.
func (c *circuit) free(r *breaker.Rules) {
	c.both(r, func(s breaker.State, now time.Time) (breaker.State, bool) {
		if s.Until.IsZero() || now.Before(s.Until) {
			return s, false
		}
		return s.Freed(now, "the time of the force is over", "")
	})
}

// reset closes the breaker and forgets what it has seen.
func (c *circuit) reset(r *breaker.Rules, reason, actor string) {
	c.both(r, func(s breaker.State, now time.Time) (breaker.State, bool) { return s.Reset(now, reason, actor) })
}

// both makes the same change here and in the store.
func (c *circuit) both(r *breaker.Rules, step func(breaker.State, time.Time) (breaker.State, bool)) {
	c.change(r, step, func(stands breaker.Shared, now time.Time) (breaker.Shared, bool) {
		next, ok := step(stands.State, now)
		if !ok {
			return stands, false
		}
		return stands.Become(next), true
	})
}

// maxUnwritten bounds what waits for a store that is gone. The oldest is
// forgotten first: what is newer says more about now.
const maxUnwritten = 32

// change moves the breaker on here at once, and in the store behind.
func (c *circuit) change(r *breaker.Rules, step func(breaker.State, time.Time) (breaker.State, bool), stored storedChange) {
	now := c.home.now()
	c.mu.Lock()
	was := c.era.Load()
	next, ok := step(was.state, now)
	if !ok {
		c.mu.Unlock()
		return
	}
	if next.Phase != was.state.Phase || next.Opens != was.state.Opens || next.Phase == breaker.ForcedOpen || next.Phase == breaker.ForcedClosed {
		c.history = breaker.Remember(c.history, was.state.Phase, next)
	}
	sharing := c.home.gateway != ""
	c.swap(r, next, sharing && next.Phase == breaker.Open && (was.alone || was.state.Phase == breaker.Closed), now)
	if sharing {
		// it happened now, however late the store hears of it: a trip that is long
		// over must not open the breaker anew, nor a force begin again
		c.pending = append(c.pending, func(stands breaker.Shared, _ time.Time) (breaker.Shared, bool) { return stored(stands, now) })
		c.pending = c.pending[max(0, len(c.pending)-maxUnwritten):]
	}
	c.mu.Unlock()
	if sharing {
		c.home.mark(c)
	}
	c.home.observe(c, was.state, next)
}

// swap begins the next era. c.mu is held.
func (c *circuit) swap(r *breaker.Rules, next breaker.State, alone bool, now time.Time) {
	was := c.era.Load()
	var e *era
	if was.state.Phase == next.Phase && was.state.Opens == next.Opens && next.Phase == breaker.Open && was.state.Until.Equal(next.Until) {
		// a trial call went well, or the others agreed: the opening goes on
		e = &era{state: next, gate: was.gate, window: was.window, opening: was.opening}
	} else {
		e = newEra(next, r.Successes, next.Until.Sub(now))
	}
	e.alone = alone
	if !e.available() && (was.available() || was.state.Phase == breaker.Open && next.Opens > was.state.Opens) {
		c.opened.Add(1)
	}
	if next.Phase == breaker.Closed && now.Sub(next.Since) >= r.Ramp {
		e.settled.Store(true)
	}
	c.era.Store(e)
	c.home.changes.Add(1)
}
