package balancer

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/balancer/policy"
)

func init() { caddy.RegisterModule(new(Selection)) }

// Selection is the policy `lb_policy federation`: it chooses which upstream a
// request goes to.
//
// Beside `transport federation` it knows the latency of each upstream and
// whether its circuit breaker is open, counts a request as in flight until its
// answer's body has ended, and sends the one trial request to an upstream that
// recovers. With another transport it knows the requests in flight that Caddy
// counts, and `latency` is `least_conn`. With `dynamic federation` it knows the
// nodes' weights.
//
// A retry goes to an upstream that the request has not tried, if there is one.
type Selection struct {
	// Algorithm is latency, least_conn, round_robin, weighted or random.
	//
	//   - latency: the lowest latency × (in flight + 1) / weight, ties at random.
	//     The latency is a moving average over successes; a failure is charged
	//     what it took, its Retry-After, or one second doubled with each failure
	//     up to five, whichever is most.
	//   - least_conn: the lowest (in flight + 1) / weight, ties at random.
	//   - round_robin: each in turn, whatever its weight.
	//   - weighted: exact shares by weight, spread evenly.
	//   - random: any, whatever its weight.
	//
	// Of more than 64 upstreams, latency and least_conn compare two drawn at
	// random. Default: latency.
	Algorithm string `json:"algorithm,omitempty"`
	// SlowStart is how long an upstream that joins or comes back takes to get
	// its full share, from a tenth on. -1: it gets it at once. Default: 10s.
	SlowStart caddy.Duration `json:"slow_start,omitempty"`
	// Peers has least_conn add what the other gateways of the federation have in
	// flight to each node, which they tell once a second. It pays where requests
	// take longer than that, and costs where they are shorter. The latency, which
	// each gateway measures, has the others' load in it already, so latency takes
	// no such count. For nodes of `dynamic federation`. Default: false.
	Peers bool `json:"peers,omitempty"`

	policy    policy.Policy
	slowStart time.Duration
	transport *Transport // ours, in the same handler; nil: another
	upstreams *upstreams
	release   func() error
	aligned   atomic.Pointer[[]*target]
}

const defaultSlowStart = 10 * time.Second

// CaddyModule returns the Caddy module information.
func (*Selection) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.federation", New: func() caddy.Module { return new(Selection) }}
}

// Provision sets the policy up.
func (s *Selection) Provision(ctx caddy.Context) error {
	name := s.Algorithm
	if name == "" {
		name = policy.Names[0]
	}
	if s.policy = policy.New(name); s.policy == nil {
		return fmt.Errorf("unknown algorithm %q%s", name, subdirective.Hint(name, policy.Names))
	}
	if s.Peers && name != "least_conn" {
		return fmt.Errorf("peers is for the algorithm least_conn, not for %s", name)
	}
	switch {
	case s.SlowStart == 0:
		s.slowStart = defaultSlowStart
	case s.SlowStart > 0:
		s.slowStart = time.Duration(s.SlowStart)
	case s.SlowStart != -1:
		return fmt.Errorf("slow_start %v is not a duration above 0, or -1", time.Duration(s.SlowStart))
	}
	// Caddy loads a handler's transport before its policy
	if handler := handlerOf(ctx); handler != nil {
		s.transport, _ = handler.Transport.(*Transport)
	}
	if s.transport != nil {
		s.upstreams = s.transport.upstreams
		s.transport.chosen = true
		return nil
	}
	if name == "latency" {
		ctx.Logger().Info("latencies are known with `transport federation` only; balancing by requests in flight")
	}
	memory, release, err := holdMemory(originUpstreams)
	if err != nil {
		return err
	}
	s.release = release
	s.upstreams = newUpstreams(memory, nil)
	return nil
}

// Cleanup releases what Provision took.
func (s *Selection) Cleanup() error {
	if s.release == nil {
		return nil
	}
	return s.release()
}

// handlerOf returns the reverse_proxy that a guest is loaded for, or nil.
func handlerOf(ctx caddy.Context) *reverseproxy.Handler {
	modules := ctx.Modules()
	for i := len(modules) - 1; i >= 0; i-- {
		if handler, ok := modules[i].(*reverseproxy.Handler); ok {
			return handler
		}
	}
	return nil
}

// Select implements [reverseproxy.Selector].
func (s *Selection) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	a := attemptsOf(r.Context(), r.URL)
	a.writes(w)
	if a != nil && a.decided && len(pool) == 1 && pool[0] == a.upstreams[0] {
		return pool[0]
	}
	var targets []*target
	if a != nil && len(a.upstreams) == len(pool) && len(pool) > 0 && a.upstreams[0] == pool[0] {
		targets = a.targets // of `dynamic federation`
	} else {
		targets = s.align(pool)
	}
	i := s.choose(pool, targets, a, r)
	if i < 0 {
		if a == nil {
			a = beginAttempts(r)
			a.writes(w)
		}
		if len(pool) == 0 {
			targets = a.refusing
		}
		a.wait(availableAfter(targets, s.transport.spending(r)))
		return nil
	}
	if s.transport == nil { // nobody else will know, should Caddy ask again
		if a == nil {
			a = beginAttempts(r)
		}
		a.avoid(targets[i].meter)
	}
	return pool[i]
}

// align returns the targets of a pool in its order. A pool is nearly always
// the one of the request before.
func (s *Selection) align(pool reverseproxy.UpstreamPool) []*target {
	if last := s.aligned.Load(); last != nil && len(*last) == len(pool) {
		same := true
		for i, upstream := range pool {
			if (*last)[i].dial != upstream.Dial {
				same = false
				break
			}
		}
		if same {
			return *last
		}
	}
	targets := make([]*target, len(pool))
	for i, upstream := range pool {
		targets[i] = s.upstreams.target(upstream.Dial)
	}
	s.aligned.Store(&targets)
	return targets
}

// choose returns the index of the target that the request goes to, or -1. pool
// may be nil, when nothing but the targets' own state decides. What the node
// lets us do is spent here: it may turn out to be used up, and then another one
// is chosen.
func (s *Selection) choose(pool reverseproxy.UpstreamPool, targets []*target, a *attempts, r *http.Request) int {
	spending := s.transport.spending(r)
	for range len(targets) {
		i := s.pick(pool, targets, a, r, spending)
		if i < 0 || spending == nil || a.spend(targets[i], r) {
			return i
		}
	}
	return -1
}

// pick is choose without spending anything.
func (s *Selection) pick(pool reverseproxy.UpstreamPool, targets []*target, a *attempts, r, spending *http.Request) int {
	c := choices.Get().(*choice)
	defer choices.Put(c)
	now := time.Now()
	*c = choice{
		pool: pool, targets: targets, tried: a, now: sinceEpoch(now), slowStart: s.slowStart,
		gated: s.transport != nil, peers: s.Peers, spending: spending, trial: -1,
	}
	i := s.policy.Pick(c, rand.IntN)
	if i < 0 && a != nil && len(a.tried) > 0 { // better the same again than none
		c.tried = nil
		i = s.policy.Pick(c, rand.IntN)
	}
	if i < 0 && c.gated { // or one whose breaker is open
		c.tried, c.lastResort = a, true
		if i = s.policy.Pick(c, rand.IntN); i >= 0 {
			if a == nil {
				a = beginAttempts(r)
			}
			a.last = targets[i].meter
		}
	}
	if t := c.trial; t >= 0 && (c.lastResort || safe(r) || rand.IntN(unsafeTrial) == 0) {
		// the one request that finds out whether the node is back
		if ticket, err := targets[t].admit(r.Context(), now, admitChosen); err == nil {
			if a == nil {
				a = beginAttempts(r)
			}
			a.holdTrial(r.Context(), targets[t], ticket)
			i = t
		}
	}
	*c = choice{}
	return i
}

// unsafeTrial: one in so many requests that cannot be repeated may be the one
// that tries a recovering node, for fleets that get no others.
const unsafeTrial = 16

// safe tells whether a request can be sent again after it failed.
func safe(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Body == nil && r.Header["Upgrade"] == nil
}

// choice is one choice; it implements [policy.Candidates].
type choice struct {
	pool      reverseproxy.UpstreamPool
	targets   []*target
	tried     *attempts
	now       time.Duration
	slowStart time.Duration
	gated     bool // the transport is ours
	peers     bool // count what other gateways have in flight
	trial     int  // a target that waits for a trial request, or -1
	// spending is the request, when it is taken from the budgets of nodes.
	spending *http.Request
	// lastResort: nobody is left but those whose breakers are open.
	lastResort bool
}

var choices = sync.Pool{New: func() any { return new(choice) }}

// Len implements [policy.Candidates].
func (c *choice) Len() int { return len(c.targets) }

// At implements [policy.Candidates].
func (c *choice) At(i int) (policy.Candidate, bool) {
	t := c.targets[i]
	if c.tried.hasTried(t.meter) {
		return policy.Candidate{}, false
	}
	inFlight := 0.0
	if c.pool != nil {
		upstream := c.pool[i]
		if !upstream.Healthy() {
			t.meter.See(c.now, false)
			return policy.Candidate{}, false
		}
		if upstream.Full() {
			return policy.Candidate{}, false
		}
		if upstream.Host != nil {
			inFlight = float64(upstream.NumRequests())
		}
	}
	if t.usedUp(c.spending) > 0 {
		return policy.Candidate{}, false
	}
	if refusal := t.refusal(); refusal != "" {
		if c.lastResort && refusal == "open" && t.gate != nil && t.gate.LastResort() {
			return t.meter.Candidate(c.now, float64(t.gate.InFlight()), t.weight, 0), true
		}
		if refusal != "bulkhead" { // a busy node is not one that was away
			t.meter.See(c.now, false)
		}
		return policy.Candidate{}, false
	}
	ramp := 1.0
	if t.gate != nil {
		if t.gate.TrialDue() {
			if c.gated { // else nobody would tell how it went
				c.trial = i
			}
			return policy.Candidate{}, false
		}
		ramp = t.gate.Share()
		if c.gated {
			inFlight = float64(t.gate.InFlight())
		}
	}
	if c.peers && t.node != nil {
		inFlight += float64(t.node.PeersInFlight())
	}
	t.meter.See(c.now, true)
	candidate := t.meter.Candidate(c.now, inFlight, t.weight, c.slowStart)
	candidate.Ramp = max(min(candidate.Ramp, ramp), leastShare)
	return candidate, true
}

// leastShare keeps what an upstream gets above nothing.
const leastShare = 0.01

// Interface guards
var (
	_ caddy.Provisioner     = (*Selection)(nil)
	_ caddy.CleanerUpper    = (*Selection)(nil)
	_ reverseproxy.Selector = (*Selection)(nil)
	_ policy.Candidates     = (*choice)(nil)
)
