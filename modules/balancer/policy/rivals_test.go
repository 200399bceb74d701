package policy

import (
	"math"
	"slices"
	"time"
)

// rivals are the field's policies, as their papers and sources describe them.
var rivals = []struct {
	name string
	make func() chooser
}{
	{"least_conn", func() chooser { return new(leastConnRival) }},
	{"p2c_peak_ewma", func() chooser { return new(peakEWMARival) }},
	{"leasttime", func() chooser { return new(leastTimeRival) }},
	{"prequal", func() chooser { return new(prequalRival) }},
}

// scan returns the lowest cost, ties at random.
func scan(s *simulation, cost func(i int) float64) int {
	best, bestCost, ties := -1, math.Inf(1), 0
	for i := range simNodes {
		switch c := cost(i); {
		case c < bestCost:
			best, bestCost, ties = i, c, 1
		case c == bestCost:
			if ties++; s.random(ties) == 0 {
				best = i
			}
		}
	}
	return best
}

// leastConnRival: the fewest requests in flight, as Caddy's and nginx' do.
type leastConnRival struct{ inFlight [simNodes]int }

func (l *leastConnRival) choose(s *simulation) int {
	i := scan(s, func(i int) float64 { return float64(l.inFlight[i]) })
	l.inFlight[i]++
	return i
}

func (l *leastConnRival) answered(_ *simulation, node int, _ time.Duration, _ bool) {
	l.inFlight[node]--
}

// peakEWMARival: Finagle's and Linkerd's default. Two nodes at random, the lower
// (pending + 1) × peak EWMA; the average jumps to peaks and decays over 10 s.
type peakEWMARival struct {
	pending [simNodes]int
	cost    [simNodes]float64
	stamp   [simNodes]time.Duration
}

const peakDecay = 10 * time.Second

func (p *peakEWMARival) load(s *simulation, i int) float64 {
	p.observe(s, i, 0)
	if p.cost[i] == 0 && p.pending[i] > 0 {
		return math.MaxFloat32 + float64(p.pending[i]) // Finagle's penalty
	}
	return p.cost[i] * float64(p.pending[i]+1)
}

func (p *peakEWMARival) observe(s *simulation, i int, took time.Duration) {
	age := s.now - p.stamp[i]
	p.stamp[i] = s.now
	w := math.Exp(-float64(age) / float64(peakDecay))
	if sample := took.Seconds(); sample > p.cost[i] {
		p.cost[i] = sample
	} else {
		p.cost[i] = p.cost[i]*w + sample*(1-w)
	}
}

func (p *peakEWMARival) choose(s *simulation) int {
	a := s.random(simNodes)
	b := s.random(simNodes - 1)
	if b >= a {
		b++
	}
	if p.load(s, b) < p.load(s, a) {
		a = b
	}
	p.pending[a]++
	return a
}

func (p *peakEWMARival) answered(s *simulation, node int, took time.Duration, _ bool) {
	p.pending[node]--
	p.observe(s, node, took)
}

// leastTimeRival: Traefik's leasttime. The mean of the last 100 response times
// × (1 + in flight), over all nodes.
type leastTimeRival struct {
	inFlight [simNodes]int
	ring     [simNodes][]time.Duration
	next     [simNodes]int
	sum      [simNodes]time.Duration
}

func (l *leastTimeRival) choose(s *simulation) int {
	i := scan(s, func(i int) float64 {
		if len(l.ring[i]) == 0 {
			return 0
		}
		return l.sum[i].Seconds() / float64(len(l.ring[i])) * float64(1+l.inFlight[i])
	})
	l.inFlight[i]++
	return i
}

func (l *leastTimeRival) answered(_ *simulation, node int, took time.Duration, _ bool) {
	l.inFlight[node]--
	l.sum[node] += took
	if len(l.ring[node]) < 100 {
		l.ring[node] = append(l.ring[node], took)
		return
	}
	l.sum[node] -= l.ring[node][l.next[node]]
	l.ring[node][l.next[node]] = took
	l.next[node] = (l.next[node] + 1) % 100
}

// prequalRival: Wydrowski et al., "Load is not what you should balance:
// Introducing Prequal", NSDI 2024. Three probes per request in the background
// learn a node's requests in flight and its latency at about that number; the
// pool holds 16 for a second. A node whose number is above the 84th percentile
// is hot; the cold one with the lowest latency is chosen, or the hot one with
// the lowest number.
type prequalRival struct {
	pool   []prequalProbe
	recent []int
	worst  bool
}

type prequalProbe struct {
	node, rif, uses int
	latency, at     time.Duration
}

const (
	prequalProbes   = 3
	prequalPool     = 16
	prequalAge      = time.Second
	prequalQuantile = 0.84
)

// probed is what a node answers to a probe: its requests in flight, and the
// median of its latest latencies at the nearest such number.
func (n *simNode) probed() (int, time.Duration) {
	nearest, distance := -1, math.MaxInt
	for rif := range n.byRIF {
		d := max(rif-n.rif-1, n.rif+1-rif)
		if d < distance || d == distance && rif < nearest {
			nearest, distance = rif, d
		}
	}
	if nearest < 0 {
		return n.rif, 0
	}
	times := slices.Clone(n.byRIF[nearest])
	slices.Sort(times)
	return n.rif, times[len(times)/2]
}

// reuse is how often a probe may be used: equation 1 of the paper with δ = 1 and
// one probe removed per request.
func prequalReuse() int {
	const m, n, r = prequalPool, simNodes, prequalProbes
	return int(math.Max(1, math.Ceil((1+1)/((1-float64(m)/n)*r-1))))
}

func (p *prequalRival) choose(s *simulation) int {
	for range prequalProbes {
		node := s.random(simNodes)
		s.push(wire, event{kind: other, action: func() {
			rif, latency := s.nodes[node].probed()
			s.push(wire, event{kind: other, action: func() {
				p.pool = append(p.pool, prequalProbe{node: node, rif: rif, latency: latency, at: s.now})
				if len(p.pool) > prequalPool {
					p.pool = p.pool[1:]
				}
				if p.recent = append(p.recent, rif); len(p.recent) > 128 {
					p.recent = p.recent[1:]
				}
			}})
		}})
	}
	p.pool = slices.DeleteFunc(p.pool, func(probe prequalProbe) bool { return s.now-probe.at > prequalAge })
	if len(p.pool) < 2 {
		return s.random(simNodes)
	}
	sorted := slices.Clone(p.recent)
	slices.Sort(sorted)
	hot := sorted[int(float64(len(sorted)-1)*prequalQuantile)]
	worse := func(a, b prequalProbe) bool {
		switch aHot, bHot := a.rif > hot, b.rif > hot; {
		case aHot != bHot:
			return aHot
		case aHot:
			return a.rif > b.rif
		default:
			return a.latency > b.latency
		}
	}
	best := 0
	for i := range p.pool {
		if worse(p.pool[best], p.pool[i]) {
			best = i
		}
	}
	node := p.pool[best].node
	for i := range p.pool {
		if p.pool[i].node == node {
			p.pool[i].rif++ // the request that is sent now
		}
	}
	if p.pool[best].uses++; p.pool[best].uses >= prequalReuse() {
		p.pool = slices.Delete(p.pool, best, best+1)
	}
	if len(p.pool) > 0 { // one is removed: the worst and the oldest in turns
		remove := 0
		if p.worst = !p.worst; p.worst {
			for i := range p.pool {
				if worse(p.pool[i], p.pool[remove]) {
					remove = i
				}
			}
		}
		p.pool = slices.Delete(p.pool, remove, remove+1)
	}
	return node
}

func (p *prequalRival) answered(*simulation, int, time.Duration, bool) {}
