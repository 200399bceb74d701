// Package breaker decides when a node is taken out and when it comes back:
// the detector, the states and the guards of a circuit breaker, as plain
// values. It knows no clock, no network and no Caddy; the gate that lets calls
// through is in package fleet.
package breaker

import "time"

// Rules are when a breaker opens and how it closes again. A rule that is off
// has the value 0, except as documented.
type Rules struct {
	// Consecutive hard failures in a row open.
	Consecutive int
	// FailureRatio is the share of failed calls in the window that opens.
	FailureRatio float64
	// SlowRatio is the share of calls in the window that took at least
	// SlowAfter, which opens.
	SlowRatio float64
	SlowAfter time.Duration
	// Window is how far back the ratios look. It has [Buckets] buckets.
	Window time.Duration
	// MinRequests is how many calls the window must hold for the ratios.
	MinRequests int
	// OpenFirst and OpenLongest bound how long the breaker stays open. The
	// time doubles with each opening, until it was closed for [Forgive].
	OpenFirst, OpenLongest time.Duration
	// Probes is how many trial calls run at once in the whole federation
	// while half-open, at least 1.
	Probes int
	// Successes is how many trial calls in a row close, at least 1.
	Successes int
	// Ramp is how long it takes after closing until every call is let
	// through again, from [RampFloor] on.
	Ramp time.Duration
	// MaxEjected is the largest share of the nodes that may be out, counted
	// after the ejection. 1: no limit but the last node.
	MaxEjected float64
	// Panic is the share of available nodes below which verdicts on traffic
	// are ignored, because the fault is then likely not the nodes'.
	Panic float64
	// Shadow counts and reports, and never refuses.
	Shadow bool
}

const (
	// Buckets is how many parts a window has.
	Buckets = 10
	// RampFloor is the share of calls that is let through right after closing.
	RampFloor = 0.1
	// Forgive is how long a breaker must stay closed for the open time to
	// begin anew.
	Forgive = time.Minute
	// Jitter is the largest share by which an open time is lengthened, so
	// that breakers which opened together do not try together.
	Jitter = 0.1
)

// Default are the rules without any configuration.
var Default = Rules{
	Consecutive: 5, FailureRatio: 0.5, SlowRatio: 0.8, SlowAfter: 5 * time.Second,
	Window: 10 * time.Second, MinRequests: 20,
	OpenFirst: 5 * time.Second, OpenLongest: 5 * time.Minute,
	Probes: 1, Successes: 2, Ramp: 10 * time.Second, MaxEjected: 0.5, Panic: 0.5,
}

// MayEject tells whether one more of total nodes may be taken out when ejected
// are out already: never the last one, and never more than MaxEjected of all.
func (r *Rules) MayEject(total, ejected int) bool {
	after := ejected + 1
	return after < total && float64(after) <= r.MaxEjected*float64(total)
}

// Panicking tells whether so few of total nodes are available that verdicts
// on traffic are ignored.
func (r *Rules) Panicking(total, available int) bool {
	return total > 0 && float64(available) < r.Panic*float64(total)
}

// Share is the share of calls that is let through so long after closing.
func (r *Rules) Share(closedFor time.Duration) float64 {
	if closedFor >= r.Ramp {
		return 1
	}
	return RampFloor + (1-RampFloor)*float64(max(closedFor, 0))/float64(r.Ramp)
}
