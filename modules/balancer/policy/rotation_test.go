package policy

import (
	"math"
	"slices"
	"testing"
)

func weighted(weights ...float64) list {
	l := make(list, len(weights))
	for i, w := range weights {
		l[i] = Candidate{Weight: w, Ramp: 1}
	}
	return l
}

// TestRotationIsExact: whatever the weights, every window of one round holds
// each node exactly as often as its weight says.
func TestRotationIsExact(t *testing.T) {
	random := seeded()
	for range 200 {
		nodes := weighted(make([]float64, 1+random(9))...)
		round := 0
		for i := range nodes {
			nodes[i].Weight = float64(1 + random(12))
			round += int(nodes[i].Weight)
		}
		r := &Rotation{Weighted: true} // from anywhere
		for window := range 3 {
			got := make([]float64, len(nodes))
			for range round {
				got[r.Pick(nodes, random)]++
			}
			for i := range nodes {
				if got[i] != nodes[i].Weight {
					t.Fatalf("%v: window %d of %d requests was shared out as %v", nodes, window, round, got)
				}
			}
		}
	}
}

// TestRotationIsExactAfterALoss: 1:1 is due when the third of three is lost;
// Caddy's own weighted round robin gives 86:14 for the weights below.
func TestRotationIsExactAfterALoss(t *testing.T) {
	r, random := &Rotation{Weighted: true}, seeded()
	nodes := weighted(1, 1, 5)
	for range 10 {
		r.Pick(nodes, random)
	}
	nodes[2].Weight = 0
	var got [3]int
	for range 100 {
		got[r.Pick(nodes, random)]++
	}
	if got != [3]int{50, 50, 0} {
		t.Errorf("100 requests were shared out as %v", got)
	}
	// and one that comes and goes all the time does not skew the others
	got = [3]int{}
	for i := range 14_000 {
		nodes[2].Weight = float64(5 * (i % 2))
		got[r.Pick(nodes, random)]++
	}
	if got != [3]int{4500, 4500, 5000} {
		t.Errorf("beside a node that comes and goes, two equal ones got %v", got)
	}
	got = [3]int{}
	for i := range 12_000 { // two take turns in being away
		nodes = weighted(float64(i%2), float64(1-i%2), 1)
		got[r.Pick(nodes, random)]++
	}
	if got != [3]int{3000, 3000, 6000} {
		t.Errorf("beside each other's absence, two equal ones got %v", got)
	}
}

// TestRotationIsSmooth: a node of a hundredth of the weight is not asked twice
// in a row, and no heavier one waits for longer than about twice its turn.
func TestRotationIsSmooth(t *testing.T) {
	nodes := weighted(50, 30, 19, 1)
	r, random := &Rotation{Weighted: true}, seeded()
	last := make([]int, len(nodes))
	longest := make([]int, len(nodes))
	for n := 1; n <= 1000; n++ {
		i := r.Pick(nodes, random)
		longest[i] = max(longest[i], n-last[i])
		last[i] = n
	}
	for i, c := range nodes {
		if due := 100 / c.Weight; float64(longest[i]) > 2.7*due && longest[i] > 100 {
			t.Errorf("node %d of weight %v waited for %d requests", i, c.Weight, longest[i])
		}
	}
	// equal nodes take turns in order
	var order []int
	in := new(Rotation)
	for range 8 {
		order = append(order, in.Pick(equal(4), func(int) int { return 1 }))
	}
	if !slices.Equal(order, []int{1, 2, 3, 0, 1, 2, 3, 0}) {
		t.Errorf("equal nodes were asked in the order %v", order)
	}
}

func TestRotationFractions(t *testing.T) {
	got := share(&Rotation{Weighted: true}, weighted(0.5, 0.25, 0.001), 751)
	for i, due := range []float64{500, 250, 1} {
		if math.Abs(got[i]*751-due) > 0.01 {
			t.Errorf("node %d got %.2f of 751 requests, due are %v", i, got[i]*751, due)
		}
	}
	if got := share(new(Rotation), weighted(1000, 0.001), 100); math.Abs(got[0]-0.5) > 1e-9 {
		t.Errorf("round robin gave %v", got)
	}
}

func TestGoldenStep(t *testing.T) {
	for length := uint64(1); length < 3000; length++ {
		step := goldenStep(length)
		if length > 2 && (step == 0 || step >= length || gcd(step, length) != 1) {
			t.Fatalf("the step of %d is %d", length, step)
		}
		if away := math.Abs(float64(step) - float64(length)/math.Phi); length > 100 && away > 8 {
			t.Errorf("the step of %d is %d, %.0f away", length, step, away)
		}
	}
}
