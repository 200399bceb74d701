package policy

import (
	"math"
	"slices"
	"testing"
	"time"
)

// starting are nodes that may be chosen since they joined.
type starting struct {
	meters []Meter
	now    time.Duration
}

const slowStart = 10 * time.Second

func (s *starting) Len() int { return len(s.meters) }

func (s *starting) At(i int) (Candidate, bool) {
	s.meters[i].See(s.now, true)
	return s.meters[i].Candidate(s.now, 0, float64(1+i%2), slowStart), true
}

// TestRotationIsEvenWhileAllStartSlowly: nodes that are all as new as each other
// take turns from the first request on.
func TestRotationIsEvenWhileAllStartSlowly(t *testing.T) {
	for _, c := range []struct {
		name  string
		round []int // how often each node is due
	}{{"round_robin", []int{1, 1, 1, 1}}, {"weighted", []int{1, 2, 1, 2}}} {
		p, random, nodes := New(c.name), seeded(), &starting{meters: make([]Meter, len(c.round))}
		length := 0
		for _, n := range c.round {
			length += n
		}
		for nodes.now = time.Millisecond; nodes.now < 2*slowStart; {
			got := make([]int, len(c.round))
			for range length {
				got[p.Pick(nodes, random)]++
				nodes.now += 7 * time.Millisecond
			}
			if !slices.Equal(got, c.round) {
				t.Fatalf("%s: %v after the start a round was shared out as %v, due are %v", c.name, nodes.now, got, c.round)
			}
		}
	}
}

// TestRotationRampsANewNode: one that joins others starts with a tenth of its
// share, and the others go on in turns.
func TestRotationRampsANewNode(t *testing.T) {
	const newest, each = 3, time.Millisecond
	p, random, nodes := New("round_robin"), seeded(), &starting{meters: make([]Meter, newest+1)}
	for i := range newest {
		nodes.meters[i].See(1, true)
	}
	joined := 3 * slowStart
	nodes.now = joined
	last, seconds := -1, make([]float64, 12)
	for nodes.now < joined+12*time.Second {
		i := p.Pick(nodes, random)
		if i == newest {
			seconds[(nodes.now-joined)/time.Second]++
		} else {
			if last >= 0 && i != (last+1)%newest {
				t.Fatalf("%v after the new one joined, node %d was asked after %d", nodes.now-joined, i, last)
			}
			last = i
		}
		nodes.now += each
	}
	for second, got := range seconds {
		ramp := min(1, max(leastRamp, (float64(second)+0.5)/10))
		due := 1000 * ramp / (newest + ramp)
		if math.Abs(got-due) > 5*math.Sqrt(due) { // five standard deviations
			t.Errorf("in second %d the new node got %.0f of 1000 requests, due are %.0f", second+1, got, due)
		}
	}
	if seconds[11] != 250 {
		t.Errorf("with all of its share it got %.0f of 1000 requests, due are 250", seconds[11])
	}
}

// TestRotationAmongManyThatStart: what an old node gets beside many new ones is no
// more than its share of their ramps, nor is a new one left out.
func TestRotationAmongManyThatStart(t *testing.T) {
	nodes := equal(10)
	for i := range 9 {
		nodes[i].Ramp = 0.1
	}
	for _, name := range []string{"round_robin", "weighted"} {
		got := share(New(name), nodes, 20_000)
		for i, due := range []float64{0.1 / 1.9, 0.1 / 1.9, 0.1 / 1.9, 0.1 / 1.9, 0.1 / 1.9, 0.1 / 1.9, 0.1 / 1.9, 0.1 / 1.9, 0.1 / 1.9, 1 / 1.9} {
			if math.Abs(got[i]-due) > 0.03 {
				t.Errorf("%s: node %d got %.3f of the requests, due are %.3f", name, i, got[i], due)
			}
		}
	}
}
