package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// list is a choice among fixed candidates; a weight of 0 may not be chosen.
type list []Candidate

func (l list) Len() int                   { return len(l) }
func (l list) At(i int) (Candidate, bool) { return l[i], l[i].Weight > 0 }

func seeded() func(int) int { return rand.New(rand.NewPCG(1, 2)).IntN }

// equal are n idle nodes that are alike.
func equal(n int) list {
	l := make(list, n)
	for i := range l {
		l[i] = Candidate{Latency: 0.01, Weight: 1, Ramp: 1}
	}
	return l
}

func share(p Policy, nodes Candidates, picks int) []float64 {
	shares := make([]float64, nodes.Len())
	random := seeded()
	for range picks {
		shares[p.Pick(nodes, random)] += 1 / float64(picks)
	}
	return shares
}

func TestNobodyToChoose(t *testing.T) {
	for _, name := range Names {
		for _, nodes := range []list{nil, make(list, 3), make(list, ScanLimit+1)} {
			if i := New(name).Pick(nodes, seeded()); i != -1 {
				t.Errorf("%s chose %d of %d nodes that may not be chosen", name, i, len(nodes))
			}
		}
		for _, size := range []int{4, ScanLimit * 2} {
			one := make(list, size)
			one[2] = Candidate{Weight: 1, Ramp: 0.1}
			for range 20 {
				if i := New(name).Pick(one, seeded()); i != 2 {
					t.Errorf("%s chose %d of %d, expected the only one, 2", name, i, size)
				}
			}
		}
	}
	if New("nonsense") != nil {
		t.Error("there is no policy of that name")
	}
}

func TestCosts(t *testing.T) {
	for _, c := range []struct {
		name     string
		nodes    list
		policy   Policy
		expected int
	}{
		{"fast", list{{0.02, 0, 1, 1}, {0.01, 0, 1, 1}}, Latency{}, 1},
		{"fast but busy", list{{0.02, 0, 1, 1}, {0.01, 2, 1, 1}}, Latency{}, 0},
		{"slow but large", list{{0.02, 0, 5, 1}, {0.01, 0, 1, 1}}, Latency{}, 0},
		{"large but starting", list{{0.02, 0, 5, 0.1}, {0.01, 0, 1, 1}}, Latency{}, 1},
		{"the unknown goes first", list{{0.02, 0, 1, 1}, {0, 0, 1, 1}, {0.01, 0, 1, 1}}, Latency{}, 1},
		{"one request at a time", list{{0.02, 0, 1, 1}, {0, 1, 1, 1}, {0.01, 0, 1, 1}}, Latency{}, 2},
		{"and while it starts slowly, less", list{{0.02, 2, 1, 1}, {0, 0, 1, 0.1}}, Latency{}, 0},
		{"nothing known", list{{0, 1, 1, 1}, {0, 0, 1, 1}}, Latency{}, 1},
		{"fewest", list{{0.001, 2, 1, 1}, {9, 1, 1, 1}}, LeastConn{}, 1},
		{"fewest for its weight", list{{0.001, 1, 1, 1}, {9, 2, 2, 1}}, LeastConn{}, 1},
	} {
		if got := c.policy.Pick(c.nodes, seeded()); got != c.expected {
			t.Errorf("%s: chose %d, expected %d", c.name, got, c.expected)
		}
	}
}

func TestTiesAreBrokenAtRandom(t *testing.T) {
	for _, name := range []string{"latency", "least_conn", "random"} {
		for _, size := range []int{5, ScanLimit + 10} {
			const picks = 50_000
			for i, got := range share(New(name), equal(size), picks) {
				due := 1 / float64(size)
				// five standard deviations
				if math.Abs(got-due) > 5*math.Sqrt(due/picks) {
					t.Errorf("%s: node %d of %d got %.4f of the requests, due are %.4f", name, i, size, got, due)
				}
			}
		}
	}
}

// counting counts how many nodes were looked at.
type counting struct {
	list
	asked int
}

func (c *counting) At(i int) (Candidate, bool) { c.asked++; return c.list.At(i) }

func TestManyNodesCostNoMore(t *testing.T) {
	random := seeded()
	for _, name := range []string{"latency", "least_conn", "random"} {
		nodes := &counting{list: equal(10_000)}
		for range 100 {
			New(name).Pick(nodes, random)
		}
		if nodes.asked > 400 {
			t.Errorf("%s looked at %d nodes for 100 requests", name, nodes.asked)
		}
	}
	// of two, the better: half of the nodes are busy, a quarter of the pairs has only such
	nodes := equal(1000)
	for i := range 500 {
		nodes[i].InFlight = 10
	}
	busy := 0.0
	for _, s := range share(Latency{}, nodes, 40_000)[:500] {
		busy += s
	}
	if math.Abs(busy-0.25) > 0.01 {
		t.Errorf("the busy half got %.3f of the requests, expected a quarter", busy)
	}
}

func TestSlowStartShare(t *testing.T) {
	for _, name := range Names[2:] { // the others follow the load
		nodes := equal(4)
		nodes[3].Ramp = 0.1
		if got := share(New(name), nodes, 40_000)[3]; math.Abs(got-0.1/3.1) > 0.005 {
			t.Errorf("%s: a node at a tenth of its share got %.4f of the requests, due are %.4f", name, got, 0.1/3.1)
		}
	}
}

// oldNode is a node of the old master's load balancer.
type oldNode struct {
	Slug              string
	AvgResponseTime   *float64 `json:"avg_response_time"`
	ActiveConnections float64  `json:"active_connections"`
	Weight            float64
	LoadScore         float64 `json:"load_score"`
}

// TestOldFleet holds the policies beside what the old master's did with the same
// nodes, and says where they differ on purpose.
func TestOldFleet(t *testing.T) {
	text, err := os.ReadFile("../../../testdata/contract/vec_load_balancer.json")
	if err != nil {
		t.Fatal(err)
	}
	var old struct {
		Nodes  []oldNode
		Select []struct {
			Strategy string
			Count    *int
			Selected []string
		}
		Distribute10 map[string]struct {
			Allocated int `json:"allocated_requests"`
		} `json:"distribute_10"`
		Distribute100 map[string]struct {
			Allocated int `json:"allocated_requests"`
		} `json:"distribute_100"`
	}
	if err := json.Unmarshal(text, &old); err != nil {
		t.Fatal(err)
	}
	var nodes list
	var weights []float64
	for _, n := range old.Nodes {
		latency := 0.0
		if n.AvgResponseTime != nil {
			latency = *n.AvgResponseTime
		}
		nodes = append(nodes, Candidate{latency, n.ActiveConnections, n.Weight, 1})
		weights = append(weights, n.Weight)
	}
	slug := func(i int) string { return old.Nodes[i].Slug }

	// its default compared the same product; only a latency of 0, which always
	// won there, is unknown here
	known := nodes[:0:0]
	var scores []float64
	for i, n := range old.Nodes {
		if nodes[i].Latency > 0 {
			known, scores = append(known, nodes[i]), append(scores, n.LoadScore)
		}
	}
	best := slices.Index(scores, slices.Min(scores))
	if got := (Latency{}).Pick(known, seeded()); got != best {
		t.Errorf("latency chose %d, the lowest load score has %d", got, best)
	}

	// its least_connections ignored weights: with equal ones the choice is the same
	alike := slices.Clone(nodes)
	for i := range alike {
		alike[i].Weight = 1
	}
	idle := map[string]bool{}
	for _, s := range old.Select {
		if s.Strategy == "least_connections" && s.Count != nil && *s.Count == 3 {
			for _, name := range s.Selected {
				idle[name] = true // the three that have nothing in flight
			}
		}
	}
	random := seeded()
	for range 100 {
		if got := slug(LeastConn{}.Pick(alike, random)); !idle[got] {
			t.Errorf("least_conn chose %s, expected one of %v", got, idle)
		}
	}

	// its weighted always put the heaviest first; ours gives each its share
	counts := make([]float64, len(nodes))
	weighted := &Rotation{Weighted: true}
	for range 19 {
		counts[weighted.Pick(nodes, random)]++
	}
	if !slices.Equal(counts, weights) {
		t.Errorf("19 requests were shared out as %v, the weights are %v", counts, weights)
	}

	// its shares did not add up to what was to be shared out
	for n, theirs := range map[int]map[string]struct {
		Allocated int `json:"allocated_requests"`
	}{10: old.Distribute10, 100: old.Distribute100} {
		sum := 0
		for i, got := range fleet.Distribute(n, weights) {
			sum += got
			if was := theirs[slug(i)].Allocated; got < was-1 || got > was+1 {
				t.Errorf("%s gets %d of %d, the old master gave %d", slug(i), got, n, was)
			}
		}
		if sum != n {
			t.Errorf("%d were shared out as %d", n, sum)
		}
	}
}

func TestPickingAllocatesNothing(t *testing.T) {
	var nodes Candidates = equal(20)
	for _, name := range Names {
		p, random := New(name), rand.IntN
		if n := testing.AllocsPerRun(100, func() { p.Pick(nodes, random) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, name := range Names {
		for _, size := range []int{8, 64, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				p := New(name)
				meters := make(metered, size)
				for i := range meters {
					meters[i].Success(1, time.Duration(i+1)*time.Millisecond)
				}
				var nodes Candidates = meters
				b.ReportAllocs()
				for b.Loop() {
					p.Pick(nodes, rand.IntN)
				}
			})
		}
	}
}

// metered are nodes with what was learnt of them.
type metered []Meter

func (m metered) Len() int { return len(m) }
func (m metered) At(i int) (Candidate, bool) {
	return m[i].Candidate(time.Second, 1, 1, 0), true
}
