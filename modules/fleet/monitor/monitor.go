// Package monitor decides how a node is from what checks of it said: rising
// and falling, flapping, who checks whom, and when the checker is to blame.
// It knows no clock and no network; the checks are in package fleet.
package monitor

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// State is how a node is, as far as checks tell.
type State string

// The states.
const (
	Unknown   State = "unknown"
	Healthy   State = "healthy"
	Degraded  State = "degraded"
	Unhealthy State = "unhealthy"
)

// Rules are when a state changes and how often is checked.
type Rules struct {
	// Interval is the pause between checks, Fast while a state is changing,
	// Down while it is unhealthy.
	Interval, Fast, Down time.Duration
	// Rise is how many checks in a row must go well for a node to be taken
	// back, Fall how many must fail for it to be left out.
	Rise, Fall int
	// Jitter is the share by which each pause varies both ways.
	Jitter float64
	// Vantage is how many gateways check each node.
	Vantage int
}

// Default are the rules without any configuration.
var Default = Rules{
	Interval: 5 * time.Second, Fast: time.Second, Down: 10 * time.Second, Rise: 2, Fall: 3, Jitter: 0.2, Vantage: 2,
}

// A node that went up or down FlapChanges times within FlapWindow is left out
// until it has stood for FlapHold.
const (
	FlapChanges = 4
	FlapWindow  = 5 * time.Minute
	FlapHold    = time.Minute
)

// Sample is what one check said.
type Sample uint8

// The samples.
const (
	Good Sample = iota
	Weak        // it works, and says that it is not well
	Bad
)

// Track is what the checks of one node have said so far. The zero value knows nothing.
type Track struct {
	// State is the verdict; what follows from the checks alone is raw.
	State State
	// Flapping is set while the node is left out for changing too often.
	Flapping bool

	raw       State
	bad       int // checks in a row that failed
	alive     int // that did not
	same      int // that said the same as the last
	last      Sample
	changes   []time.Time // up or down
	heldUntil time.Time
}

// Resume is a track of a node whose state is known from elsewhere: it takes as
// many checks to change as if they had been made here.
func Resume(state State) Track {
	if state == "" {
		state = Unknown
	}
	return Track{State: state, raw: state}
}

// Observe takes the next sample in, and tells whether the verdict changed.
// While frozen, nothing goes down.
func (t *Track) Observe(r *Rules, now time.Time, s Sample, frozen bool) bool {
	if t.State == "" {
		t.State, t.raw = Unknown, Unknown
	}
	if s == t.last {
		t.same++
	} else {
		t.last, t.same = s, 1
	}
	if s == Bad {
		t.bad, t.alive = t.bad+1, 0
	} else {
		t.bad, t.alive = 0, t.alive+1
	}
	t.turn(now, t.next(r, frozen))
	was := t.State
	if t.Flapping && !now.Before(t.heldUntil) {
		t.Flapping, t.changes = false, nil
	}
	if t.State = t.raw; t.Flapping {
		t.State = Unhealthy
	}
	return t.State != was
}

// next is the state that the checks alone lead to.
func (t *Track) next(r *Rules, frozen bool) State {
	well := Healthy
	if t.last == Weak {
		well = Degraded
	}
	switch {
	case t.last == Bad:
		if t.bad >= r.Fall && !frozen {
			return Unhealthy
		}
		return t.raw
	case t.raw == Unknown:
		return well
	case t.raw == Unhealthy:
		if t.alive >= r.Rise {
			return well
		}
		return t.raw
	case t.same >= r.Rise:
		return well
	default:
		return t.raw
	}
}

func (t *Track) turn(now time.Time, next State) {
	was := t.raw
	t.raw = next
	if was == next || was == Unknown || (was == Unhealthy) == (next == Unhealthy) {
		return
	}
	t.changes = slices.DeleteFunc(t.changes, func(at time.Time) bool { return now.Sub(at) >= FlapWindow })
	t.changes = append(t.changes, now)
	if len(t.changes) >= FlapChanges {
		t.Flapping, t.heldUntil = true, now.Add(FlapHold)
		t.changes = t.changes[len(t.changes)-FlapChanges:]
	}
}

// Next is how long to wait until the next check. random is from 0 to 1.
func (t *Track) Next(r *Rules, random float64) time.Duration {
	pause := r.Interval
	settled := t.raw == Healthy && t.last == Good || t.raw == Degraded && t.last == Weak || t.raw == Unhealthy && t.last == Bad
	switch {
	case !settled:
		pause = r.Fast
	case t.raw == Unhealthy:
		pause = r.Down
	}
	return Spread(r, pause, random)
}

// Spread varies a pause by the jitter. random is from 0 to 1.
func Spread(r *Rules, pause time.Duration, random float64) time.Duration {
	return time.Duration((1 + r.Jitter*(2*random-1)) * float64(pause))
}

// Combine is the verdict of all gateways that check a node: own is this
// gateway's, empty when it does not check it, others counts those of the
// rest. The node is down when all agree, or when one says so and traffic to
// it fails as well.
func Combine(own State, others map[State]int, traffic bool) State {
	down, degraded, well := others[Unhealthy], others[Degraded], others[Healthy]
	switch own {
	case Unhealthy:
		down++
	case Degraded:
		degraded++
	case Healthy:
		well++
	}
	switch {
	case down > 0 && (degraded+well == 0 || traffic):
		return Unhealthy
	case degraded > 0:
		return Degraded
	case well > 0:
		return Healthy
	default:
		return Unknown
	}
}

// Vantages returns which of the gateways check a node: the n with the highest
// hash of both names (rendezvous hashing), so that a gateway that comes or
// goes moves few nodes. All gateways come to the same answer.
func Vantages(gateways []string, node string, n int) []string {
	if len(gateways) <= n {
		return gateways
	}
	type weighed struct {
		gateway string
		weight  uint64
	}
	all := make([]weighed, len(gateways))
	for i, g := range gateways {
		all[i] = weighed{g, xxhash.Sum64String(g + "\x00" + node)}
	}
	slices.SortFunc(all, func(a, b weighed) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		default:
			return 0
		}
	})
	chosen := make([]string, n)
	for i := range chosen {
		chosen[i] = all[i].gateway
	}
	return chosen
}

// SelfCheck tells when the checker, and not the nodes, is likely at fault.
// The zero value is fine.
type SelfCheck struct {
	bad map[string]bool
	// since is when the first of several nodes turned bad, zero when none did
	// lately. seen is what the nodes said that were checked since: whether
	// they turned bad.
	since   time.Time
	seen    map[string]bool
	turned  int // of seen
	crowded bool
	stalled time.Time // until then the checks came too late to be believed
}

const (
	// MinCrowd is how many nodes must turn bad at once before the checker
	// blames itself.
	MinCrowd = 3
	// Witnesses is how many nodes must have been checked since the first
	// turned bad, or all when there are fewer.
	Witnesses = 8
)

// Sample takes in whether a check of a node failed. It tells whether others
// should be asked soon, because this is the first that turned bad.
func (c *SelfCheck) Sample(r *Rules, node string, now time.Time, bad bool) (ask bool) {
	if c.bad == nil {
		c.bad = make(map[string]bool)
	}
	turned := bad && !c.bad[node]
	if bad {
		c.bad[node] = true
	} else {
		delete(c.bad, node)
	}
	if turned && (c.since.IsZero() || !c.crowded && now.Sub(c.since) > r.Interval) {
		c.since, c.seen, c.turned, ask = now, make(map[string]bool), 0, true
	}
	if !c.since.IsZero() && (turned || !bad) {
		c.see(node, bad)
	}
	return ask
}

func (c *SelfCheck) see(node string, bad bool) {
	if c.seen[node] {
		c.turned--
	}
	c.seen[node] = bad
	if bad {
		c.turned++
	}
}

// Forget drops a node that is not checked any more.
func (c *SelfCheck) Forget(node string) {
	delete(c.bad, node)
	if c.seen[node] {
		c.turned--
	}
	delete(c.seen, node)
}

// Lag takes in how late a check began.
func (c *SelfCheck) Lag(r *Rules, now time.Time, lag time.Duration) {
	if lag > 2*r.Interval {
		c.stalled = now.Add(2 * r.Interval)
	}
}

// Frozen tells in words why no node may go down now, or is empty. total is
// how many nodes are checked.
func (c *SelfCheck) Frozen(r *Rules, now time.Time, total int) string {
	if len(c.seen) >= min(total, Witnesses) {
		c.crowded = c.turned >= MinCrowd && 2*c.turned > len(c.seen)
	}
	if !c.crowded && !c.since.IsZero() && now.Sub(c.since) > r.Interval {
		c.since, c.seen, c.turned = time.Time{}, nil, 0
	}
	switch {
	case now.Before(c.stalled):
		return "checks began later than two intervals"
	case c.crowded:
		return "more than half of the nodes turned bad at once"
	default:
		return ""
	}
}
