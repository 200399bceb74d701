// Package policy chooses one of many nodes for a request: pure functions over
// plain values, without a server and without a clock of their own. What is
// learnt of a node's answers is kept in a [Meter].
package policy

import "math"

// Candidate is a node at the moment of a choice.
type Candidate struct {
	// Latency is what an answer is expected to take, in seconds, what the node
	// is charged for failures included; 0 when nothing is known.
	Latency float64
	// InFlight is how many requests the node is working on: this gateway's
	// own, and what the other gateways have there on average.
	InFlight float64
	// Weight is the node's share, above 0.
	Weight float64
	// Ramp is the part of its share that the node gets while it starts slowly,
	// above 0 and at most 1.
	Ramp float64
}

// Candidates are the nodes of one choice. A policy asks only for those that it
// compares, so that a large fleet costs no more than a small one.
type Candidates interface {
	Len() int
	// At returns a node, and whether it may be chosen now.
	At(i int) (Candidate, bool)
}

// Policy chooses. It may be used by many goroutines at once.
type Policy interface {
	// Pick returns the index of the chosen node, or -1 when none may be chosen.
	// random returns a number from 0 to n-1.
	Pick(nodes Candidates, random func(n int) int) int
}

// Names are the names that [New] knows; the first is the default.
var Names = []string{"latency", "least_conn", "round_robin", "weighted", "random"}

// New returns a policy of its own by its name, or nil.
func New(name string) Policy {
	switch name {
	case "latency":
		return Latency{}
	case "least_conn":
		return LeastConn{}
	case "round_robin":
		return new(Rotation)
	case "weighted":
		return &Rotation{Weighted: true}
	case "random":
		return Random{}
	default:
		return nil
	}
}

// ScanLimit is how many nodes are compared one by one. Of more, two drawn at
// random are compared (the power of two choices: Mitzenmacher, "The power of
// two choices in randomized load balancing", IEEE TPDS 2001), which costs the
// same for any number.
const ScanLimit = 64

// Latency is the default: the node with the lowest
//
//	latency × (in flight + 1) / weight
//
// is chosen, ties at random. The requests in flight keep a fast node from being
// flooded by everybody who just learnt that it is fast. A node of which nothing
// is known counts as the fastest of the others, and goes first.
type Latency struct{}

// Pick implements [Policy].
func (Latency) Pick(nodes Candidates, random func(int) int) int {
	return lowest(nodes, random, true)
}

// LeastConn chooses the node with the fewest requests in flight for its weight:
// the lowest (in flight + 1) / weight, ties at random.
type LeastConn struct{}

// Pick implements [Policy].
func (LeastConn) Pick(nodes Candidates, random func(int) int) int {
	return lowest(nodes, random, false)
}

// lowest returns the node with the lowest cost, ties at random.
func lowest(nodes Candidates, random func(int) int, byLatency bool) int {
	if nodes.Len() > ScanLimit {
		if i := betterOfTwo(nodes, random, byLatency); i >= 0 {
			return i
		}
	}
	var known, unknown cheapest // each of them by its own measure
	fastest := math.Inf(1)
	for i := range nodes.Len() {
		c, ok := nodes.At(i)
		switch {
		case !ok:
		case !byLatency:
			known.offer(i, c.busy(), random)
		case c.Latency > 0:
			known.offer(i, c.busy()*c.Latency, random)
			fastest = min(fastest, c.Latency)
		default:
			unknown.offer(i, c.busy(), random)
		}
	}
	if unknown.ties > 0 && (known.ties == 0 || unknown.cost*fastest <= known.cost) {
		return unknown.index
	}
	if known.ties > 0 {
		return known.index
	}
	return -1
}

// betterOfTwo returns the better of two nodes drawn at random, or -1 when no
// two were found soon.
func betterOfTwo(nodes Candidates, random func(int) int, byLatency bool) int {
	first, a, found := draw(nodes, random, -1)
	second, b, both := draw(nodes, random, a)
	if !found || !both {
		return -1
	}
	costA, costB := first.busy(), second.busy()
	if byLatency && first.Latency > 0 && second.Latency > 0 {
		costA, costB = costA*first.Latency, costB*second.Latency
	}
	if costB < costA {
		return b
	}
	return a // which of the two came first was chance already
}

// busy is how full the node is for its share.
func (c Candidate) busy() float64 { return (c.InFlight + 1) / (c.Weight * c.Ramp) }

// cheapest is the best of those that were offered.
type cheapest struct {
	index, ties int
	cost        float64
}

func (b *cheapest) offer(index int, cost float64, random func(int) int) {
	switch {
	case b.ties == 0 || cost < b.cost:
		*b = cheapest{index, 1, cost}
	case cost == b.cost:
		// each of k equal nodes is kept with probability 1/k
		if b.ties++; random(b.ties) == 0 {
			b.index = index
		}
	}
}

// drawTries is how often a node is drawn before giving up: with half of the
// nodes away, all 16 miss once in 65,536 times.
const drawTries = 16

// rampGrain is how finely a ramp decides.
const rampGrain = 1 << 16

// draw returns a random node that may be chosen, other than one, if it finds
// one soon.
func draw(nodes Candidates, random func(int) int, other int) (Candidate, int, bool) {
	for range drawTries {
		i := random(nodes.Len())
		if i == other {
			continue
		}
		if c, ok := nodes.At(i); ok {
			return c, i, true
		}
	}
	return Candidate{}, -1, false
}

// Random gives every node the same chance, whatever its weight.
type Random struct{}

// Pick implements [Policy].
func (Random) Pick(nodes Candidates, random func(int) int) int {
	// a node that starts slowly is refused as often as its ramp says
	if nodes.Len() == 0 {
		return -1
	}
	for range drawTries {
		i := random(nodes.Len())
		c, ok := nodes.At(i)
		if ok && (c.Ramp >= 1 || float64(random(rampGrain)) < c.Ramp*rampGrain) {
			return i
		}
	}
	chosen, seen := -1, 0
	for i := range nodes.Len() {
		if _, ok := nodes.At(i); ok {
			if seen++; random(seen) == 0 {
				chosen = i
			}
		}
	}
	return chosen
}
