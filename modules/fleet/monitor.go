package fleet

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/modules/fleet/monitor"
)

// What checking costs at most.
const (
	checksAtOnce  = 256
	factsRefresh  = 5 * time.Minute  // what a node holds
	factsTimeout  = 5 * time.Second  // of asking for it
	factsRetry    = 10 * time.Second // while a node that others check does not tell
	firstCheckGap = 25 * time.Millisecond
)

// prober checks the nodes, learns what they hold, and says how they are. One
// goroutine plans, each check has one of its own.
type prober struct {
	app     *App
	rules   *monitor.Rules
	timeout time.Duration
	judges  bool
	began   time.Time // where the grid of checks begins

	poke   chan struct{}
	places chan struct{}

	mu     sync.Mutex
	plan   plan
	known  map[*member]*planned
	self   monitor.SelfCheck
	frozen string
}

// planned is one node in the plan.
type planned struct {
	node  *Node
	due   time.Time
	index int // in the plan; -1 while its check runs
	began time.Time
	facts time.Time // when it last told what it holds
	asked bool
}

// suspicion is how the breakers tell the prober of failures in traffic.
type suspicion struct {
	suspect atomic.Pointer[func(slug string)]
}

func (s *suspicion) tell(slug string) {
	if suspect := s.suspect.Load(); suspect != nil {
		(*suspect)(slug)
	}
}

func newProber(a *App) *prober {
	p := &prober{app: a, poke: make(chan struct{}, 1), places: make(chan struct{}, checksAtOnce), known: make(map[*member]*planned)}
	p.rules, p.timeout = a.Health.rules()
	p.judges = a.Health == nil || !a.Health.Off
	p.began = time.Now()
	return p
}

// run checks all nodes until ctx ends, and returns when its last check has.
func (p *prober) run(ctx context.Context) {
	suspect := p.suspect
	home := p.app.shared.circuits
	home.suspect.Store(&suspect)
	defer home.suspect.CompareAndSwap(&suspect, nil)
	var checks sync.WaitGroup
	defer checks.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	heard := time.Now()
	for epoch := uint64(0); ; {
		if time.Since(heard) >= gatewayBeat {
			heard = time.Now()
			p.hear()
		}
		if snapshot := p.app.Snapshot(); epoch == 0 || snapshot.Epoch+1 != epoch {
			epoch = snapshot.Epoch + 1
			p.follow(snapshot.Nodes, time.Now())
		}
		wait := p.start(ctx, &checks)
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-p.poke:
		case <-timer.C:
		}
	}
}

// follow takes over the nodes of a snapshot. The first checks of new ones are
// spread, so that a start is no burst.
func (p *prober) follow(nodes []*Node, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stands := make(map[*member]bool, len(nodes))
	var fresh []*planned
	for _, n := range nodes {
		if n.AdminState == AdminDisabled || n.AdminState == AdminPending {
			continue
		}
		m := n.gate.member
		stands[m] = true
		if w := p.known[m]; w != nil {
			w.node = n
			continue
		}
		w := &planned{node: n, index: -1}
		p.known[m] = w
		fresh = append(fresh, w)
	}
	for m, w := range p.known {
		if !stands[m] {
			delete(p.known, m)
			p.self.Forget(w.node.Slug)
			if w.index >= 0 {
				heap.Remove(&p.plan, w.index)
			}
		}
	}
	spread := min(p.rules.Interval, time.Duration(len(fresh))*firstCheckGap)
	for _, w := range fresh {
		w.due = p.slot(now, time.Duration(rand.Float64()*float64(spread)))
		if len(fresh) == 1 {
			w.due = now
		}
		heap.Push(&p.plan, w)
	}
}

// start begins the checks that are due, and returns when the next one is.
func (p *prober) start(ctx context.Context, checks *sync.WaitGroup) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.plan) > 0 {
		first, now := p.plan[0], time.Now()
		if wait := first.due.Sub(now); wait > 0 {
			return min(wait, gatewayBeat)
		}
		select {
		case p.places <- struct{}{}:
		default:
			return firstCheckGap // all places are taken: what waits is late, and that is noticed
		}
		p.self.Lag(p.rules, now, now.Sub(first.due))
		p.freeze(now)
		heap.Pop(&p.plan)
		first.began = now
		checks.Go(func() {
			defer func() { <-p.places }()
			p.check(ctx, first)
		})
	}
	return gatewayBeat
}

// hear takes in what the other gateways say.
func (p *prober) hear() {
	if len(p.app.shared.gateways.alive()) < 2 {
		return
	}
	p.mu.Lock()
	nodes := make([]*Node, 0, len(p.known))
	for _, w := range p.known {
		nodes = append(nodes, w.node)
	}
	p.mu.Unlock()
	for _, n := range nodes {
		mine, first := p.vantage(n.Slug)
		h := &n.gate.member.health
		if !mine || !p.judges {
			h.yield()
		}
		p.settle(n, h, false, first)
	}
}

// suspect has a node checked soon, because traffic to it fails.
func (p *prober) suspect(slug string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	node := p.app.Snapshot().Node(slug)
	if node == nil {
		return
	}
	w, now := p.known[node.gate.member], time.Now()
	if w == nil || w.index < 0 {
		return
	}
	if soon := w.began.Add(p.rules.Fast); w.due.After(soon) && w.due.After(now) {
		w.due = soon
		if soon.Before(now) {
			w.due = now
		}
		heap.Fix(&p.plan, w.index)
		p.nudge()
	}
}

// vantage tells whether this gateway checks the node, and whether it is the
// first of those that do and so the one that tells of it.
func (p *prober) vantage(slug string) (mine, first bool) {
	alive := p.app.shared.gateways.alive()
	if len(alive) < 2 {
		return true, true
	}
	chosen, id := monitor.Vantages(alive, slug, p.rules.Vantage), p.app.shared.circuits.gateway
	return slices.Contains(chosen, id), chosen[0] == id
}

// check checks one node and plans the next check.
func (p *prober) check(ctx context.Context, w *planned) {
	p.mu.Lock()
	node := w.node
	p.mu.Unlock()
	h := &node.gate.member.health
	mine, first := p.vantage(node.Slug)
	all := !w.asked || time.Since(w.facts) >= factsRefresh
	pause := monitor.Spread(p.rules, p.rules.Interval, rand.Float64())
	if judged := mine && p.judges; judged || all {
		timeout := p.timeout
		if all {
			timeout = max(timeout, factsTimeout)
		}
		bounded, cancel := context.WithTimeout(ctx, timeout)
		report, call := p.app.check(bounded, node, all)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if all && report != nil {
			w.asked, w.facts = true, time.Now()
		}
		p.tell(node, h, report, call)
		if judged {
			p.judge(node, h, report, call)
			pause = h.next(p.rules)
		} else if report == nil {
			pause = monitor.Spread(p.rules, max(pause, factsRetry), rand.Float64())
		}
	}
	if !mine || !p.judges {
		h.yield()
	}
	p.settle(node, h, mine && p.judges, first)

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[node.gate.member] != w {
		return // it left meanwhile
	}
	w.due = p.slot(time.Now(), pause)
	heap.Push(&p.plan, w)
	if w.index == 0 {
		p.nudge()
	}
}

// judge takes a check in.
func (p *prober) judge(node *Node, h *health, report *Report, call Call) {
	s, reason, ok := sampleOf(report, call)
	if !ok {
		return
	}
	now := time.Now()
	p.mu.Lock()
	if p.self.Sample(p.rules, node.Slug, now, s == monitor.Bad) {
		p.askOthers(now)
	}
	frozen := p.freeze(now)
	p.mu.Unlock()
	h.sample(p.rules, now, s, reason, frozen)
}

// askOthers brings a few checks forward when a node turned bad: are the nodes
// bad, or is it us? p.mu is held.
func (p *prober) askOthers(now time.Time) {
	for range min(len(p.plan), monitor.Witnesses) {
		w := p.plan[rand.IntN(len(p.plan))]
		if soon := now.Add(time.Duration(rand.Float64() * float64(p.rules.Fast))); w.due.After(soon) {
			w.due = soon
			heap.Fix(&p.plan, w.index)
		}
	}
	p.nudge()
}

// nudge has the planner look again.
func (p *prober) nudge() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// freeze tells whether no node may go down now, and raises an event when that
// changes. p.mu is held.
func (p *prober) freeze(now time.Time) bool {
	why := p.self.Frozen(p.rules, now, len(p.known))
	if (why == "") != (p.frozen == "") {
		if why != "" {
			p.app.logger.Error("health checks are not believed, no node is left out for them", zap.String("reason", why))
			p.app.Emit("prober_unhealthy", "", p.app.ofGateway(map[string]any{"reason": why}))
		} else {
			p.app.logger.Info("health checks are believed again")
			p.app.Emit("prober_healthy", "", p.app.ofGateway(map[string]any{}))
		}
	}
	p.frozen = why
	return why != ""
}

// isFrozen tells whether no node may go down now.
func (p *prober) isFrozen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.frozen != ""
}

// settle makes the verdict of all gateways, and tells of a change.
func (p *prober) settle(node *Node, h *health, checked, first bool) {
	traffic := node.gate.member.circuit.era.Load().state.Phase == breaker.Open || node.gate.failing()
	from, to := h.settle(p.app.shared.gateways.peers(node.Slug), traffic, p.judges, time.Now(), checked)
	if from.State != to.State {
		p.app.shared.circuits.changes.Add(1) // who is available has changed
		p.logChange(node, from, to)
	}
	if !first {
		return
	}
	data := map[string]any{"state": to.State}
	if to.Reason != "" {
		data["reason"] = to.Reason
	}
	switch {
	case to.Flapping && !from.Flapping:
		p.app.Emit("flapping", node.Slug, data)
	case to.State == HealthUnhealthy && from.State != HealthUnhealthy:
		p.app.Emit("node_down", node.Slug, data)
	case from.State == HealthUnhealthy && to.State != HealthUnhealthy:
		p.app.Emit("node_up", node.Slug, data)
	}
}

func (p *prober) logChange(node *Node, from, to HealthStatus) {
	fields := []zap.Field{zap.String("node", node.Slug), zap.String("from", string(from.State)), zap.String("to", string(to.State))}
	if to.Reason != "" {
		fields = append(fields, zap.String("reason", to.Reason))
	}
	if to.State == HealthUnhealthy {
		p.app.logger.Warn("node is unhealthy", fields...)
		return
	}
	p.app.logger.Info("node's health changed", fields...)
}

// tell logs what a node says of itself, each change once.
func (p *prober) tell(node *Node, h *health, report *Report, call Call) {
	said := Describe(call.Err)
	if report != nil {
		said = string(report.Health) + " " + report.Dialect + " " + report.Reason
	}
	h.mu.Lock()
	same := h.told == said
	h.told = said
	h.mu.Unlock()
	if same {
		return
	}
	slug, url := zap.String("node", node.Slug), zap.String("url", node.URL.String())
	switch {
	case report == nil:
		p.app.logger.Warn("node was not understood", slug, url, zap.String("reason", said), zap.NamedError("cause", call.Err))
	case report.Health == HealthHealthy || report.Health == HealthUnknown:
		p.app.logger.Info("node answers", slug, url, zap.String("dialect", report.Dialect), zap.Int("collections", len(report.Collections)))
	default:
		p.app.logger.Warn("node says that it is not healthy", slug, url, zap.String("health", string(report.Health)), zap.String("reason", report.Reason))
	}
}
