package breaker

import (
	"slices"
	"time"
)

// Phase is what a breaker does with calls.
type Phase string

// The phases.
const (
	Closed Phase = "closed"
	Open   Phase = "open"
	// HalfOpen is an open breaker whose time is over: trial calls decide. It
	// is never stored, because it begins by itself.
	HalfOpen     Phase = "half_open"
	ForcedOpen   Phase = "forced_open"
	ForcedClosed Phase = "forced_closed"
)

// State is one breaker at one moment. Its methods return the next state and
// whether there is one; times are on the clock of whoever shares the state.
type State struct {
	Phase Phase `json:"state"`
	// Since is when the phase began; zero for a breaker that never opened.
	Since time.Time `json:"since,omitzero"`
	// Until is when an open breaker turns half-open, or when the operator's
	// word ends; zero: it does not end.
	Until time.Time `json:"until,omitzero"`
	// OpenFor is the last open time without jitter, which the next doubles.
	OpenFor time.Duration `json:"open_for_ns,omitempty"`
	// Opens counts the openings. It names the opening that a trial call
	// belongs to, so that results of an older one are dropped.
	Opens uint64 `json:"opens"`
	// Successes is how many trial calls in a row went well.
	Successes int   `json:"successes,omitempty"`
	Cause     Cause `json:"cause,omitempty"`
	// Reason says in words why the phase began.
	Reason string `json:"reason,omitempty"`
	// Actor is who forced it, or empty.
	Actor string `json:"actor,omitempty"`
}

// New is a breaker that never opened.
func New() State { return State{Phase: Closed} }

// At is the phase at a moment: an open time or a force may have run out.
func (s State) At(now time.Time) Phase {
	if s.Until.IsZero() || now.Before(s.Until) {
		return s.Phase
	}
	switch s.Phase {
	case Open, ForcedOpen:
		return HalfOpen
	case ForcedClosed:
		return Closed
	default:
		return s.Phase
	}
}

// Opened is a closed breaker after a trip. retryAfter is what the node asked
// for, or 0; it goes before the open time. jitter is random, from 0 to 1.
func (s State) Opened(r *Rules, now time.Time, trip Trip, retryAfter time.Duration, jitter float64) (State, bool) {
	if s.Phase != Closed {
		return s, false
	}
	if now.Sub(s.Since) >= Forgive {
		s.OpenFor = 0
	}
	return s.open(r, now, trip, retryAfter, jitter), true
}

// Failed is a half-open breaker after a trial call of the opening went wrong.
func (s State) Failed(r *Rules, now time.Time, opening uint64, reason string, retryAfter time.Duration, jitter float64) (State, bool) {
	if s.Phase != Open || s.Opens != opening {
		return s, false
	}
	return s.open(r, now, Trip{Cause: CauseTrial, Reason: reason}, retryAfter, jitter), true
}

func (s State) open(r *Rules, now time.Time, trip Trip, retryAfter time.Duration, jitter float64) State {
	next := State{Phase: Open, Since: now, Opens: s.Opens + 1, Cause: trip.Cause, Reason: trip.Reason}
	next.OpenFor = r.OpenFirst
	if s.OpenFor > 0 {
		next.OpenFor = min(2*s.OpenFor, r.OpenLongest)
	}
	open := next.OpenFor
	if retryAfter > 0 {
		open = retryAfter
	}
	next.Until = now.Add(open + time.Duration(Jitter*jitter*float64(open)))
	return next
}

// Succeeded is a half-open breaker after a trial call of the opening went well.
func (s State) Succeeded(r *Rules, now time.Time, opening uint64) (State, bool) {
	if s.Phase != Open || s.Opens != opening {
		return s, false
	}
	if s.Successes++; s.Successes >= r.Successes {
		s = State{Phase: Closed, Since: now, OpenFor: s.OpenFor, Opens: s.Opens, Reason: "trial calls went well"}
	}
	return s, true
}

// Forced is a breaker after the operator's word, which ends at until unless
// that is zero. The phase is ForcedOpen or ForcedClosed.
func (s State) Forced(phase Phase, now, until time.Time, reason, actor string) (State, bool) {
	return State{Phase: phase, Since: now, Until: until, Opens: s.Opens, Cause: CauseForced, Reason: reason, Actor: actor}, true
}

// Freed is a forced breaker that goes its own way again: from open through
// trial calls, from closed as it is.
func (s State) Freed(now time.Time, reason, actor string) (State, bool) {
	next := State{Phase: Closed, Since: now, Opens: s.Opens, Reason: reason, Actor: actor}
	switch s.Phase {
	case ForcedOpen:
		next.Phase, next.Until, next.Opens, next.Cause = Open, now, s.Opens+1, CauseForced
	case ForcedClosed:
	default:
		return s, false
	}
	return next, true
}

// Reset is a breaker that closed by an operator's word and remembers nothing.
func (s State) Reset(now time.Time, reason, actor string) (State, bool) {
	return State{Phase: Closed, Since: now, Opens: s.Opens, Reason: reason, Actor: actor}, true
}

// Same tells whether two states are one phase of one breaker, whatever the
// trial calls said in between.
func (s State) Same(other State) bool {
	return s.Phase == other.Phase && s.Opens == other.Opens && near(s.Since, other.Since) && near(s.Until, other.Until)
}

// near leaves room for what two gateways' estimates of the store's clock differ by.
func near(a, b time.Time) bool {
	return a.IsZero() == b.IsZero() && a.Sub(b).Abs() < 100*time.Millisecond
}

// Change is one line of a breaker's history.
type Change struct {
	Time   time.Time `json:"time"`
	From   Phase     `json:"from"`
	To     Phase     `json:"to"`
	Cause  Cause     `json:"cause,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Actor  string    `json:"actor,omitempty"`
	// Until is when the new phase ends by itself, if it does.
	Until time.Time `json:"until,omitzero"`
}

// MaxHistory is how many changes are kept of a breaker.
const MaxHistory = 20

// Shared is what the gateways of a federation keep together of one breaker.
type Shared struct {
	State
	// URL is where the node was: at another address it is another node.
	URL string `json:"url"`
	// Votes are the gateways that opened their own breaker, until the moment
	// their vote is forgotten.
	Votes map[string]time.Time `json:"votes,omitempty"`
	// History is the last [MaxHistory] changes, the newest last.
	History []Change `json:"history,omitempty"`
	// Abandoned is set by a gateway that does not have the node, and taken away
	// by one that does: what stays abandoned is deleted.
	Abandoned bool `json:"abandoned,omitempty"`
}

// Become takes the next state, and writes down a change of phase.
func (s Shared) Become(next State) Shared {
	if next.Phase != s.Phase || next.Opens != s.Opens || next.Phase == ForcedOpen || next.Phase == ForcedClosed {
		s.History = Remember(s.History, s.Phase, next)
		s.Votes = nil
	}
	s.State = next
	return s
}

// Remember appends a change to a history, and drops the oldest when it is full.
func Remember(history []Change, from Phase, next State) []Change {
	history = append(slices.Clone(history), Change{
		Time: next.Since, From: from, To: next.Phase, Cause: next.Cause, Reason: next.Reason, Actor: next.Actor, Until: next.Until,
	})
	return history[max(0, len(history)-MaxHistory):]
}

// Vote adds a gateway's vote and counts those that stand.
func (s Shared) Vote(gateway string, now, until time.Time) (Shared, int) {
	votes := map[string]time.Time{gateway: until}
	for voter, end := range s.Votes {
		if voter != gateway && end.After(now) {
			votes[voter] = end
		}
	}
	s.Votes = votes
	return s, len(votes)
}

// Retract takes a gateway's vote back.
func (s Shared) Retract(gateway string) (Shared, bool) {
	if _, voted := s.Votes[gateway]; !voted {
		return s, false
	}
	votes := make(map[string]time.Time, len(s.Votes))
	for voter, end := range s.Votes {
		if voter != gateway {
			votes[voter] = end
		}
	}
	s.Votes = votes
	return s, true
}

// Quorum tells whether votes are a majority of the gateways that have traffic.
func Quorum(votes, gateways int) bool { return 2*votes > gateways }
