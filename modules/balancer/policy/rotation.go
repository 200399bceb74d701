package policy

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// Rotation gives every node its exact share, in turns: over any run of as many
// requests as all weights together (divided by their greatest common divisor),
// each node gets as many as its weight. Every set of nodes that can be chosen
// from has a counter of its own and nothing else, so when a node leaves or comes
// back, the shares are exact from the next request on, and a node that comes and
// goes does not skew the others.
//
// The turns are spread evenly, which classic smooth weighted round robin does
// by keeping a balance per node: here the counter walks over all turns of a
// round in steps of the golden ratio of its length, a step that shares no
// divisor with it, so that every turn is taken once and a node's turns are as
// far apart as they can be (the three-distance theorem; Knuth, TAOCP volume 3,
// section 6.4).
//
// A node that starts slowly lets some of its turns pass, chosen at random, for
// as long as others have come further than it has.
type Rotation struct {
	// Weighted takes the nodes' weights into account. Default: all alike.
	Weighted bool

	rounds [32]atomic.Pointer[round]
}

// round is the turns of one set of nodes.
type round struct {
	set, length, step uint64
	turn              atomic.Uint64
}

// Pick implements [Policy].
func (r *Rotation) Pick(nodes Candidates, random func(n int) int) int {
	total, divisor, alike, count, set := uint64(0), uint64(0), true, uint64(0), uint64(fnvOffset)
	full := 0.0 // nodes that all start slowly are even: the others' ramp is measured by the highest
	for i := range nodes.Len() {
		c, ok := nodes.At(i)
		if !ok {
			continue
		}
		full = max(full, c.Ramp)
		turns := r.turns(c)
		if count > 0 && turns*count != total {
			alike = false
		}
		total, count = total+turns, count+1
		if divisor != 1 {
			divisor = gcd(turns, divisor)
		}
		set = (set ^ uint64(i)<<32 ^ turns) * fnvPrime
	}
	if total == 0 {
		return -1
	}
	turn := r.round(set, total/divisor, alike, random)
	last := -1
	for range drawTries {
		var c Candidate
		if c, last = r.at(nodes, turn.next(), divisor); last < 0 {
			return last
		}
		// a node that starts slowly lets as many of its turns pass as its ramp
		// says, so that the others go on in theirs while it rises
		if c.Ramp >= full || float64(random(rampGrain)) < c.Ramp/full*rampGrain {
			return last
		}
	}
	for k := range nodes.Len() { // the next with its full share
		i := (last + 1 + k) % nodes.Len()
		if c, ok := nodes.At(i); ok && c.Ramp >= full {
			return i
		}
	}
	return last
}

// at returns the node that has a turn of the round.
func (r *Rotation) at(nodes Candidates, turn, divisor uint64) (Candidate, int) {
	last, lastIndex := Candidate{}, -1
	for i := range nodes.Len() {
		c, ok := nodes.At(i)
		if !ok {
			continue
		}
		turns := r.turns(c) / divisor
		if turn < turns {
			return c, i
		}
		// what a node lost between the two passes is the last one's
		turn, last, lastIndex = turn-turns, c, i
	}
	return last, lastIndex
}

// FNV-1a, over words, to tell sets of nodes apart.
const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x100000001b3
)

// round returns the turns of a set of nodes.
func (r *Rotation) round(set, length uint64, alike bool, random func(n int) int) *round {
	slot := &r.rounds[(set>>32^set)%uint64(len(r.rounds))]
	for {
		now := slot.Load()
		if now != nil && now.set == set && now.length == length {
			return now
		}
		fresh := &round{set: set, length: length, step: 1}
		if !alike {
			fresh.step = goldenStep(length)
		}
		// from anywhere: gateways that start together must not walk in step
		fresh.turn.Store(uint64(random(int(min(length, math.MaxInt32)))))
		if slot.CompareAndSwap(now, fresh) { // else somebody else has begun
			return fresh
		}
	}
}

// next takes the next turn.
func (r *round) next() uint64 {
	high, low := bits.Mul64((r.turn.Add(1)-1)%r.length, r.step)
	return bits.Rem64(high, low, r.length)
}

// grain is how finely weights are told apart: 1/1000.
const grain = 1000

// turns is a node's weight as a whole number of turns.
func (r *Rotation) turns(c Candidate) uint64 {
	if !r.Weighted {
		return grain
	}
	return max(1, uint64(math.Round(c.Weight*grain)))
}

// goldenStep is the number nearest to length/φ that shares no divisor with it.
func goldenStep(length uint64) uint64 {
	if length < 3 {
		return 1
	}
	golden := uint64(math.Round(float64(length) / math.Phi))
	for away := uint64(0); ; away++ {
		if golden+away < length && gcd(golden+away, length) == 1 {
			return golden + away
		}
		if golden > away && gcd(golden-away, length) == 1 {
			return golden - away // 1 at the latest
		}
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
