package policy

import (
	"testing"
	"time"
)

// TestSimulationPeersInFlight is why a gateway counts its own requests in flight
// and its peers' only where it is told to. What they tell is late, and all
// gateways act on it at once: told ten or a hundred times as rarely as a request
// takes, as often as a second is for short ones, the tail grows by more than a
// fifth. The latency, which every gateway measures itself, has the peers' load in
// it already, and gains nothing from counts however fresh. least_conn does, once
// they come more often than requests take.
func TestSimulationPeersInFlight(t *testing.T) {
	for _, c := range []struct {
		name     string
		policy   Policy
		interval time.Duration // a request takes [fastService], or three times that
		least    float64       // bounds of the p99 with the peers' counts, against that without
		most     float64
	}{
		{"latency", Latency{}, time.Second, 1.2, 100},
		{"latency", Latency{}, 10 * fastService, 1.2, 100},
		{"latency", Latency{}, fastService / 20, 1.02, 100},
		{"least_conn", LeastConn{}, time.Second, 1.2, 100},
		{"least_conn", LeastConn{}, 10 * fastService, 1.2, 100},
		{"least_conn", LeastConn{}, fastService / 2, 0, 0.96},
		{"least_conn", LeastConn{}, fastService / 20, 0, 0.96},
	} {
		t.Run(c.name+" "+c.interval.String(), func(t *testing.T) {
			alone := newSimulation(1, false, 6*time.Second).run(func() chooser { return &ours{policy: c.policy} }).p99()
			group := &peering{interval: c.interval}
			told := newSimulation(1, false, 6*time.Second).run(func() chooser {
				p := &peer{ours: ours{policy: c.policy}, group: group}
				group.members = append(group.members, p)
				return p
			}).p99()
			ratio := float64(told) / float64(alone)
			t.Logf("alone %v, told every %v %v: %.2f", alone, c.interval, told, ratio)
			if ratio < c.least || ratio > c.most {
				t.Errorf("the p99 is %.2f of that without, expected %.2f to %.2f", ratio, c.least, c.most)
			}
		})
	}
}

// peering are gateways that tell each other what they have in flight.
type peering struct {
	members  []*peer
	interval time.Duration
}

type peer struct {
	ours
	group   *peering
	telling bool
	others  [simNodes]int
}

func (p *peer) At(i int) (Candidate, bool) {
	return p.meters[i].Candidate(p.now, float64(p.flying[i]+p.others[i]), 1, 0), true
}

func (p *peer) tell(s *simulation) {
	told := p.flying
	s.push(p.group.interval, event{kind: other, action: func() {
		for _, other := range p.group.members {
			if other != p {
				for i := range simNodes {
					other.others[i] += p.flying[i] - told[i]
				}
			}
		}
		if s.now < s.end {
			p.tell(s)
		}
	}})
}

func (p *peer) choose(s *simulation) int {
	if !p.telling {
		p.telling = true
		p.tell(s)
	}
	p.now = s.now
	i := p.policy.Pick(p, s.random)
	p.flying[i]++
	return i
}
