package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The simulation: requests come at random (Poisson) to gateways at random, each
// gateway chooses a node from what it alone has seen, each node works on four
// requests at once and queues the rest, and an answer takes a random time (log-
// normal or exponential). Everything is seeded, so a run is repeatable.
const (
	simNodes    = 20
	simSlow     = 4 // of them, three times slower
	simGateways = 4
	simWorkers  = 4
	simLoad     = 0.8 // of what all nodes together can do
	fastService = 10 * time.Millisecond
	wire        = 200 * time.Microsecond // one way
	warmUp      = 2 * time.Second
)

// chooser is one gateway's balancer in the simulation.
type chooser interface {
	choose(s *simulation) int
	answered(s *simulation, node int, took time.Duration, failed bool)
}

type eventKind uint8

const (
	arrival  eventKind = iota
	reached            // the request is at the node
	finished           // the node is done with it
	returned           // the answer is at the gateway
	other              // an action of a chooser
)

type event struct {
	at            time.Duration
	kind          eventKind
	failed        bool
	gateway, node int
	sent          time.Duration
	rif           int // how many requests the node had when this one came
	action        func()
}

type simNode struct {
	service time.Duration // mean
	failing bool          // answers with an error, at once
	busy    int
	queue   []event
	rif     int
	// what the node itself knows of its latency, for Prequal's probes
	byRIF map[int][]time.Duration
}

type simulation struct {
	now       time.Duration
	end       time.Duration
	heap      []event
	nodes     []*simNode
	gateways  []chooser
	draw      *rand.Rand // of the choosers
	arrivals  *rand.Rand
	services  *rand.Rand
	lognormal bool
	rate      float64

	latencies []time.Duration
	requests  int
	failures  int
	chosen    [simNodes]int
}

func newSimulation(seed uint64, lognormal bool, length time.Duration) *simulation {
	s := &simulation{
		draw: rand.New(rand.NewPCG(seed, 1)), arrivals: rand.New(rand.NewPCG(seed, 2)), services: rand.New(rand.NewPCG(seed, 3)),
		lognormal: lognormal, end: length,
	}
	for i := range simNodes {
		n := &simNode{service: fastService, byRIF: make(map[int][]time.Duration)}
		if i < simSlow {
			n.service *= 3
		}
		s.nodes = append(s.nodes, n)
		s.rate += simLoad * simWorkers / n.service.Seconds()
	}
	return s
}

func (s *simulation) random(n int) int { return s.draw.IntN(n) }

func (s *simulation) push(after time.Duration, e event) {
	e.at = s.now + after
	s.heap = append(s.heap, e)
	for i := len(s.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if s.heap[parent].at <= s.heap[i].at {
			break
		}
		s.heap[parent], s.heap[i] = s.heap[i], s.heap[parent]
		i = parent
	}
}

func (s *simulation) pop() event {
	top := s.heap[0]
	last := len(s.heap) - 1
	s.heap[0] = s.heap[last]
	s.heap = s.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && s.heap[child+1].at < s.heap[child].at {
			child++
		}
		if s.heap[i].at <= s.heap[child].at {
			break
		}
		s.heap[i], s.heap[child] = s.heap[child], s.heap[i]
		i = child
	}
	return top
}

func (s *simulation) run(newChooser func() chooser) *simulation {
	for range simGateways {
		s.gateways = append(s.gateways, newChooser())
	}
	s.push(0, event{kind: arrival})
	for len(s.heap) > 0 {
		e := s.pop()
		s.now = e.at
		switch e.kind {
		case arrival:
			s.arrive()
		case reached:
			s.reach(e)
		case finished:
			s.finish(e)
		case returned:
			s.gateways[e.gateway].answered(s, e.node, s.now-e.sent, e.failed)
			if e.sent >= warmUp {
				s.requests++
				s.latencies = append(s.latencies, s.now-e.sent)
				if e.failed {
					s.failures++
				}
			}
		case other:
			e.action()
		}
	}
	slices.Sort(s.latencies)
	return s
}

func (s *simulation) arrive() {
	e := event{kind: reached, gateway: s.arrivals.IntN(simGateways), sent: s.now}
	e.node = s.gateways[e.gateway].choose(s)
	if s.now >= warmUp {
		s.chosen[e.node]++
	}
	s.push(wire, e)
	if s.now < s.end {
		s.push(time.Duration(s.arrivals.ExpFloat64()/s.rate*float64(time.Second)), event{kind: arrival})
	}
}

func (s *simulation) reach(e event) {
	n := s.nodes[e.node]
	n.rif++
	e.rif = n.rif
	if n.failing {
		e.failed = true
		n.busy++
		e.kind = finished
		s.push(time.Millisecond, e)
		return
	}
	if n.busy == simWorkers {
		n.queue = append(n.queue, e)
		return
	}
	s.work(n, e)
}

func (s *simulation) work(n *simNode, e event) {
	n.busy++
	e.kind = finished
	factor := s.services.ExpFloat64()
	if s.lognormal {
		factor = math.Exp(s.services.NormFloat64() - 0.5) // mean 1
	}
	s.push(time.Duration(factor*float64(n.service)), e)
}

func (s *simulation) finish(e event) {
	n := s.nodes[e.node]
	n.busy--
	n.rif--
	if times := append(n.byRIF[e.rif], s.now-e.sent-wire); len(times) > 16 {
		n.byRIF[e.rif] = times[1:]
	} else {
		n.byRIF[e.rif] = times
	}
	if len(n.queue) > 0 && n.busy < simWorkers {
		next := n.queue[0]
		n.queue = n.queue[1:]
		s.work(n, next)
	}
	e.kind = returned
	s.push(wire, e)
}

func (s *simulation) p99() time.Duration { return s.latencies[len(s.latencies)*99/100] }

// ours is a gateway with a policy of this package.
type ours struct {
	policy Policy
	meters [simNodes]Meter
	flying [simNodes]int
	weight func(node int) float64
	away   [simNodes]bool
	// blind leaves the failures out of the accounts
	blind bool
	now   time.Duration
}

func (o *ours) Len() int { return simNodes }
func (o *ours) At(i int) (Candidate, bool) {
	weight := 1.0
	if o.weight != nil {
		weight = o.weight(i)
	}
	return o.meters[i].Candidate(o.now, float64(o.flying[i]), weight, 0), !o.away[i]
}

func (o *ours) choose(s *simulation) int {
	o.now = s.now
	i := o.policy.Pick(o, s.random)
	o.flying[i]++
	return i
}

func (o *ours) answered(s *simulation, node int, took time.Duration, failed bool) {
	o.flying[node]--
	switch {
	case !failed || o.blind:
		o.meters[node].Success(s.now, took)
	default:
		o.meters[node].Failure(s.now, took, 0)
	}
}

// TestSimulationTail: the p99 of the default policy is within 2 % of the best
// of the field's, averaged over seeds.
func TestSimulationTail(t *testing.T) {
	for _, lognormal := range []bool{false, true} {
		name := "exponential"
		if lognormal {
			name = "lognormal"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p99 := func(newChooser func() chooser) float64 {
				const seeds = 4 // others than the policy was tuned on
				sum := 0.0
				for seed := range uint64(seeds) {
					sum += newSimulation(seed+101, lognormal, 10*time.Second).run(newChooser).p99().Seconds() * 1000 / seeds
				}
				return sum
			}
			best, bestName := math.Inf(1), ""
			for _, r := range rivals {
				took := p99(r.make)
				t.Logf("%-16s p99 %.1f ms", r.name, took)
				if took < best {
					best, bestName = took, r.name
				}
			}
			got := p99(func() chooser { return &ours{policy: Latency{}} })
			t.Logf("%-16s p99 %.1f ms, %.3f of the best (%s)", "latency", got, got/best, bestName)
			if got > 1.02*best {
				t.Errorf("the p99 is %.1f ms, that of %s %.1f ms", got, bestName, best)
			}
		})
	}
}

// TestSimulationFastFailure: a node that fails at once gets at most 0.1 % of the
// requests. Without the charge for failures it gets a large part of them.
func TestSimulationFastFailure(t *testing.T) {
	share := func(newChooser func() chooser) float64 {
		s := newSimulation(1, false, 10*time.Second)
		s.nodes[7].failing = true
		s.run(newChooser)
		return float64(s.failures) / float64(s.requests)
	}
	got := share(func() chooser { return &ours{policy: Latency{}} })
	t.Logf("with the charge %.4f %% of the requests fail", 100*got)
	if got > 0.001 {
		t.Errorf("%.4f of the requests failed", got)
	}
	if without := share(func() chooser { return &ours{policy: Latency{}, blind: true} }); without < 0.1 {
		t.Errorf("without the charge only %.4f of the requests failed: the simulation shows nothing", without)
	}
}

// TestSimulationSharesAfterALoss: weighted shares are within 1 % of what is due
// after a node was lost.
func TestSimulationSharesAfterALoss(t *testing.T) {
	weight := func(node int) float64 { return float64(1 + node%3) }
	s := newSimulation(1, false, 10*time.Second)
	s.run(func() chooser {
		o := &ours{policy: &Rotation{Weighted: true}, weight: weight}
		s.push(warmUp-s.now, event{kind: other, action: func() { o.away[5], o.away[6] = true, true }})
		return o
	})
	total := 0.0
	for i := range simNodes {
		if i != 5 && i != 6 {
			total += weight(i)
		}
	}
	for i, n := range s.chosen {
		due := weight(i) / total
		if i == 5 || i == 6 {
			due = 0
		}
		if got := float64(n) / float64(s.requests); math.Abs(got-due) > 0.01*due {
			t.Errorf("node %d got %.4f of the requests, due are %.4f", i, got, due)
		}
	}
}

// TestSimulationIsRepeatable: without that, none of the numbers above means much.
func TestSimulationIsRepeatable(t *testing.T) {
	var runs []string
	for range 2 {
		s := newSimulation(3, true, 5*time.Second).run(func() chooser { return &ours{policy: Latency{}} })
		runs = append(runs, fmt.Sprint(s.p99(), s.requests, s.chosen))
	}
	if runs[0] != runs[1] {
		t.Errorf("%s\n%s", runs[0], runs[1])
	}
}
