package fleet

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// BreakerStatus is a circuit breaker as people and the API see it.
type BreakerStatus struct {
	// State is closed, open, half_open, forced_open or forced_closed.
	State breaker.Phase `json:"state"`
	// Since is when the state began; zero for a breaker that never opened.
	Since time.Time `json:"since,omitzero"`
	// Until is when it ends by itself, if it does.
	Until time.Time `json:"until,omitzero"`
	// Cause is the rule that opened it: consecutive, failure_ratio,
	// slow_ratio, connection_refused, trial or forced.
	Cause breaker.Cause `json:"cause,omitempty"`
	// Reason says it in words.
	Reason string `json:"reason,omitempty"`
	// Actor is who forced or reset it.
	Actor string `json:"actor,omitempty"`
	// Share is the share of calls that is let through, from 0 to 1: 0 also
	// while trial calls alone are.
	Share float64 `json:"share"`
	// Shadow is set when it only counts.
	Shadow bool `json:"shadow,omitempty"`
	// Panic is set while it is open or half-open and calls go to the node all the
	// same, because too few nodes are available to believe it.
	Panic bool `json:"panic,omitempty"`
	// Alone is set while the other gateways do not agree that it is open.
	Alone bool `json:"alone,omitempty"`
	// Opens is how often it has opened in the federation: by what the calls
	// said, or when an operator set it back to auto after open, as trial calls
	// decide then. Successes is how many of these in a row went well in this
	// opening.
	Opens     uint64 `json:"opens"`
	Successes int    `json:"successes,omitempty"`
	// Window is what the calls of the window said.
	Window breaker.Counts `json:"window"`
	// Refused counts the calls that this process did not let through, and
	// Guarded the openings that a guard prevented, LastGuard the last of them.
	Refused   uint64 `json:"refused"`
	Guarded   uint64 `json:"guarded"`
	LastGuard string `json:"last_guard,omitempty"`
	// History is the last [breaker.MaxHistory] changes, the newest last.
	History []breaker.Change `json:"history,omitempty"`
}

// NodeBreaker is the circuit breaker of a node, as the APIs show it.
type NodeBreaker struct {
	Node string `json:"node"`
	BreakerStatus
}

// Breaker is the state of the circuit breaker now. Times are on the store's clock.
func (g *Gate) Breaker() BreakerStatus {
	c := g.member.circuit
	e, now := c.era.Load(), c.home.now()
	rules := g.rules
	if rules == nil {
		return BreakerStatus{State: breaker.Closed, Share: 1}
	}
	status := BreakerStatus{
		State: e.phase(now), Since: e.state.Since, Until: e.state.Until, Cause: e.state.Cause, Reason: e.state.Reason, Actor: e.state.Actor,
		Share: g.Share(), Shadow: rules.Shadow, Alone: e.alone && c.home.attached.Load() != nil, Opens: e.state.Opens, Successes: e.state.Successes,
		Window:  e.window.Counts(rules, time.Since(epoch)),
		Refused: c.refused.Load(), Guarded: c.guarded.Load(),
	}
	if !rules.Shadow && (status.State == breaker.Open || status.State == breaker.HalfOpen) {
		if status.Panic = c.ignored(g, e); !status.Panic && g.TrialDue() {
			status.Share = 0
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	status.LastGuard, status.History = c.lastGuard, slices.Clone(c.history)
	return status
}

// Until is how long it is from now to a time on the store's clock, as a
// [BreakerStatus] has it.
func (g *Gate) Until(at time.Time) time.Duration { return at.Sub(g.member.circuit.home.now()) }

// Force makes the breaker do what an operator says: "open" refuses every
// call, "closed" lets every call through, "auto" takes that back (from open
// through trial calls), "reset" closes it and forgets what it has seen. actor
// and reason are for the history. lasts is for how long open and closed hold,
// 0: until auto. The other gateways follow as for any change.
func (g *Gate) Force(word, reason, actor string, lasts time.Duration) error {
	if g.rules == nil {
		return fmt.Errorf("the breaker is off")
	}
	if lasts < 0 {
		return fmt.Errorf("the duration %v is negative", lasts)
	}
	c := g.member.circuit
	switch word {
	case "open":
		c.force(g.rules, breaker.ForcedOpen, reason, actor, lasts)
	case "closed":
		c.force(g.rules, breaker.ForcedClosed, reason, actor, lasts)
	case "auto":
		c.release(g.rules, reason, actor)
	case "reset":
		c.reset(g.rules, reason, actor)
	default:
		return fmt.Errorf("unknown state %q, expected open, closed, auto or reset", word)
	}
	return nil
}
