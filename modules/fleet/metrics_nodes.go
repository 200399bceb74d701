package fleet

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// maxNamedNodes is how many nodes of a federation have series of their own.
// Those that come later share the label [otherNodes], so that nodes which
// register cannot fill the memory of whoever scrapes.
const maxNamedNodes = 256

// otherNodes is no slug, so no node can have it.
const otherNodes = "_other"

// The metrics of a node. Under [otherNodes] they are sums.
var (
	descNodeUp        = describe("node_up", "Whether a call would be sent to the node now.", "node")
	descNodeHealth    = describe("node_health", "Whether this is the node's health as observed.", "node", "state")
	descNodeCalls     = describe("node_calls_total", "Finished calls to the node by outcome, health checks apart.", "node", "outcome")
	descNodeInFlight  = describe("node_calls_in_flight", "Calls to the node that are running.", "node")
	descNodeDuration  = describe("node_call_duration_seconds", "How long the calls took that succeeded.", "node")
	descNodeBreaker   = describe("node_breaker_state", "Whether this is the state of the node's circuit breaker.", "node", "state")
	descNodeOpens     = describe("node_breaker_opens_total", "How often the node's circuit breaker opened.", "node")
	descNodeRefused   = describe("node_breaker_refused_calls_total", "Calls that the node's circuit breaker did not let through.", "node")
	descNodeGuarded   = describe("node_breaker_guarded_total", "Openings of the node's circuit breaker that a guard prevented.", "node")
	descNodeFlaps     = describe("node_flaps_total", "How often the node began to flap.", "node")
	descNodePause     = describe("node_pause_seconds", "How much longer the node asked not to be called; the longest pause of several.", "node")
	descNodeOverspent = describe("node_budget_refused_calls_total", "Calls that the node's budget had no room for.", "node")
)

func describeNodes(descriptions chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		descNodeUp, descNodeHealth, descNodeCalls, descNodeInFlight, descNodeDuration, descNodeBreaker, descNodeOpens, descNodeRefused,
		descNodeGuarded, descNodeFlaps, descNodePause, descNodeOverspent,
	} {
		descriptions <- desc
	}
}

var allPhases = []breaker.Phase{breaker.Closed, breaker.Open, breaker.HalfOpen, breaker.ForcedOpen, breaker.ForcedClosed}

// scraped is which nodes have a label of their own. A node keeps what it has
// as long as it is there.
type scraped struct {
	mu     sync.Mutex
	named  map[string]bool // by slug
	others map[*member]bool
	gone   nodeCounters // of others that are not there any more: no counter falls
}

// nodeRow is what the metrics say of one node, or of several together.
type nodeRow struct {
	label    string
	up       int
	health   map[Health]int
	phases   map[breaker.Phase]int
	inFlight int64
	pause    time.Duration
	nodeCounters
}

// nodeCounters are the parts that never fall.
type nodeCounters struct {
	calls                                     [len(loadMeter{}.calls)]uint64
	durations                                 [len(durationBounds) + 1]uint64
	duration                                  time.Duration
	opens, refused, guarded, flaps, overspent uint64
}

// rows reads the nodes.
func (s *scraped) rows(nodes []*Node) []*nodeRow {
	s.mu.Lock()
	defer s.mu.Unlock()
	stand, named := make(map[*member]bool, len(nodes)), make(map[string]bool, len(nodes))
	for _, n := range nodes {
		m := n.gate.member
		stand[m] = true
		if s.named[n.Slug] && !s.others[m] {
			named[n.Slug] = true
		}
	}
	s.named = named
	for m := range s.others {
		if !stand[m] {
			s.gone.add(m)
			delete(s.others, m)
		}
	}
	var rows []*nodeRow
	rest := newNodeRow(otherNodes)
	rest.nodeCounters = s.gone
	for _, n := range nodes {
		m := n.gate.member
		switch {
		case s.others[m]:
			rest.add(n)
			continue
		case !s.named[n.Slug] && len(s.named) >= maxNamedNodes:
			if s.others == nil {
				s.others = make(map[*member]bool)
			}
			s.others[m] = true
			rest.add(n)
			continue
		}
		s.named[n.Slug] = true
		row := newNodeRow(n.Slug)
		row.add(n)
		rows = append(rows, row)
	}
	if len(s.others) > 0 || s.gone != (nodeCounters{}) {
		rows = append(rows, rest)
	}
	return rows
}

func newNodeRow(label string) *nodeRow {
	return &nodeRow{label: label, health: make(map[Health]int), phases: make(map[breaker.Phase]int)}
}

func (r *nodeRow) add(n *Node) {
	m := n.gate.member
	if n.Refusal() == "" {
		r.up++
	}
	r.health[m.health.read().State]++
	phase := breaker.Closed
	if n.gate.rules != nil {
		phase = m.circuit.era.Load().phase(m.circuit.home.now())
	}
	r.phases[phase]++
	r.inFlight += m.load.inFlight.Load()
	r.pause = max(r.pause, n.PausedFor())
	r.nodeCounters.add(m)
}

func (c *nodeCounters) add(m *member) {
	for i := range c.calls {
		c.calls[i] += m.load.calls[i].Load()
	}
	for i := range c.durations {
		c.durations[i] += m.load.durations[i].Load()
	}
	c.duration += time.Duration(m.load.duration.Load())
	c.opens += m.circuit.opened.Load()
	c.refused += m.circuit.refused.Load()
	c.guarded += m.circuit.guarded.Load()
	c.flaps += m.health.read().Flaps
	c.overspent += m.spent.Load()
}

func (c *nodeCounters) succeeded() (n uint64) {
	for _, count := range c.durations {
		n += count
	}
	return n
}

func (r *nodeRow) collect(federation string, values chan<- prometheus.Metric) {
	put := func(kind prometheus.ValueType, desc *prometheus.Desc, value float64, labels ...string) {
		values <- prometheus.MustNewConstMetric(desc, kind, value, slices.Concat([]string{federation, r.label}, labels)...)
	}
	put(prometheus.GaugeValue, descNodeUp, float64(r.up))
	for _, health := range allHealths {
		put(prometheus.GaugeValue, descNodeHealth, float64(r.health[health]), string(health))
	}
	for _, phase := range allPhases {
		put(prometheus.GaugeValue, descNodeBreaker, float64(r.phases[phase]), string(phase))
	}
	put(prometheus.GaugeValue, descNodeInFlight, float64(r.inFlight))
	put(prometheus.GaugeValue, descNodePause, r.pause.Seconds())
	put(prometheus.CounterValue, descNodeCalls, float64(r.succeeded()), string(OutcomeOK))
	for i, outcome := range countedOutcomes {
		put(prometheus.CounterValue, descNodeCalls, float64(r.calls[i]), string(outcome))
	}
	put(prometheus.CounterValue, descNodeOpens, float64(r.opens))
	put(prometheus.CounterValue, descNodeRefused, float64(r.refused))
	put(prometheus.CounterValue, descNodeGuarded, float64(r.guarded))
	put(prometheus.CounterValue, descNodeFlaps, float64(r.flaps))
	put(prometheus.CounterValue, descNodeOverspent, float64(r.overspent))
	buckets, total := make(map[float64]uint64, len(durationBounds)), uint64(0)
	for i, n := range r.durations {
		total += n
		if i < len(durationBounds) {
			buckets[durationBounds[i].Seconds()] = total
		}
	}
	values <- prometheus.MustNewConstHistogram(descNodeDuration, total, r.duration.Seconds(), buckets, federation, r.label)
}
