package policy

import (
	"testing"
	"time"
)

// TestSimulationPeersInFlight is why a gateway counts its own requests in
// flight and not its peers': what they tell is late, all gateways act on it at
// once, and the tail grows. Told every second it costs more than a fifth of the
// p99; told as an average, or ten times as often, no less. The latency, which
// every gateway measures itself, already has the peers' load in it.
func TestSimulationPeersInFlight(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
	}{{"latency", Latency{}}, {"least_conn", LeastConn{}}} {
		t.Run(c.name, func(t *testing.T) {
			alone := newSimulation(1, false, 6*time.Second).run(func() chooser { return &ours{policy: c.policy} }).p99()
			for _, interval := range []time.Duration{100 * time.Millisecond, time.Second} {
				group := &peering{interval: interval}
				told := newSimulation(1, false, 6*time.Second).run(func() chooser {
					p := &peer{ours: ours{policy: c.policy}, group: group}
					group.members = append(group.members, p)
					return p
				}).p99()
				t.Logf("alone %v, told every %v %v", alone, interval, told)
				if told < alone*12/10 {
					t.Errorf("told every %v the p99 is %v, alone %v: count the peers' requests too", interval, told, alone)
				}
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
