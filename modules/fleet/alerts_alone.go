package fleet

import (
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
)

// storeOutage names the loss of the store that goes on. Empty: there is none.
func (a *App) storeOutage() string {
	state := a.shared.store.state.Load()
	if state == nil || state.Usable {
		return ""
	}
	return a.shared.circuits.gateway + "/" + strconv.FormatInt(state.Since.UnixMilli(), 10)
}

// alertsAlone names the loss of the store during which this gateway tells of
// an event by itself. Empty: it does not.
func (a *App) alertsAlone(kind string) (outage string) {
	if len(a.alertHooks) == 0 || !alert.Relevant(kind) {
		return ""
	}
	return a.storeOutage()
}

// breakersAlone raises the events of circuit breakers while the store is lost.
// Else whoever writes a change to the store does, when the gateways have agreed
// on it; until the store is back nobody can. It looks at how they are, because
// what takes the store away often opens breakers before that is noticed.
func (p *alertPlanner) breakersAlone(lost bool) {
	h := p.home
	if !lost && len(h.breakers) == 0 {
		return
	}
	now := p.app.shared.circuits.now()
	open := make(map[string]bool)
	for _, node := range p.app.Snapshot().Nodes {
		if node.gate.rules == nil {
			continue
		}
		phase := node.gate.member.circuit.era.Load().phase(now)
		if phase == breaker.Closed || phase == breaker.ForcedClosed {
			continue
		}
		open[node.Slug] = true
		if lost && !h.breakers[node.Slug] && !p.app.quietNode(node.Slug) && !h.told(alert.Alert{Kind: alert.BreakerOpen, Node: node.Slug}) {
			h.breakers[node.Slug] = true
			status := node.Breaker()
			p.app.raiseBreaker(node.Slug, breaker.State{
				Phase: status.State, Reason: status.Reason, Cause: status.Cause, Actor: status.Actor, Until: status.Until,
			}, string(alert.BreakerOpen))
		}
	}
	for slug := range h.breakers {
		if open[slug] {
			continue
		}
		delete(h.breakers, slug)
		if node := p.app.Snapshot().Node(slug); lost && node != nil {
			status := node.Breaker()
			p.app.raiseBreaker(slug, breaker.State{Phase: status.State, Reason: status.Reason, Actor: status.Actor}, string(alert.BreakerClosed))
		}
	}
}

// told tells whether this gateway, which has no store, knows it as told and firing.
func (h *alerting) told(a alert.Alert) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.alone.Alerts[a.Key()]
	return known != nil && !known.Told.IsZero() && known.Ended.IsZero()
}

// beginAlone goes on alone with what all gateways knew, and with what was on
// its way to them, when the store is lost.
func (p *alertPlanner) beginAlone(outage string, now time.Time) {
	h := p.home
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.alone.Outage != "" {
		return // also when it was back for so short a time that nothing was handed over
	}
	h.alone = alert.Lone(h.shared, outage, time.Duration(p.app.AlertGroup), func(at *alert.Alert) (mine, over bool) {
		mine = at.Gateway == "" || at.Gateway == p.app.shared.circuits.gateway // others tell of themselves
		return mine, mine && p.app.alertOver(*at, now, 0)
	}, now)
	for _, event := range p.app.shared.events.all() {
		if e := alertEvent(event); e.Outage() == "" && alert.Relevant(e.Kind) && !alert.OfGateway(e.Kind) {
			h.alone.Apply(e, now, p.app.quietNode)
		}
	}
}

// stepAlone tells what this gateway tells by itself, while it has no store.
func (p *alertPlanner) stepAlone() {
	h, outage, now := p.home, p.app.storeOutage(), p.app.shared.circuits.now()
	lost := outage != ""
	if lost {
		p.beginAlone(outage, now)
	}
	p.breakersAlone(lost)
	h.mu.Lock()
	defer h.mu.Unlock()
	p.takeInAlone(lost, now)
	if lost {
		p.lookAlone(now)
		p.withdraw()
		messages, _ := h.alone.Due(now, p.routes)
		for _, m := range messages {
			for _, d := range p.render([]alert.Message{m}) {
				q := h.queue(d.Webhook)
				d.Created = now
				q.waiting = append(q.waiting, ownDelivery{d, m})
			}
		}
		for _, hook := range p.app.alertHooks {
			q := h.queue(hook.id)
			if extra := len(q.waiting) - store.MaxDeliveries; extra > 0 {
				p.app.logger.Warn("alerts made room for newer ones before they were delivered", zap.Int("lost", extra))
				q.waiting = q.waiting[extra:]
			}
		}
	}
	for _, hook := range p.app.alertHooks {
		h.queue(hook.id).noteWaiting(time.Now())
	}
}

// withdraw takes out of the messages in memory what is over by now. The key
// stays: a receiver that took an earlier attempt knows all of it. h.mu is held.
func (p *alertPlanner) withdraw() {
	h := p.home
	for _, hook := range p.app.alertHooks {
		q := h.queue(hook.id)
		kept := q.waiting[:0]
		for i, d := range q.waiting {
			if i == 0 && q.sending {
				kept = append(kept, d)
				continue
			}
			left, changed := h.alone.Withdraw(d.message, hook.route.Webhook)
			if changed && len(left.Notices) > 0 {
				if body, ok := p.write(hook, left); ok {
					d.Body, d.message = body, left
				}
			}
			if len(left.Notices) > 0 {
				kept = append(kept, d)
			}
		}
		clear(q.waiting[len(kept):])
		q.waiting = kept
	}
}

// takeInAlone reads the events that this gateway tells of by itself. h.mu is held.
func (p *alertPlanner) takeInAlone(lost bool, now time.Time) {
	h := p.home
	h.alone.Group = time.Duration(p.app.AlertGroup)
	for {
		event, dropped, found := h.inbox.first()
		if dropped > 0 {
			p.app.logger.Warn("events were lost before they could be alerted of", zap.Uint64("lost", dropped))
		}
		if !found || h.alone.Outage == "" && p.app.storeOutage() != "" { // it was lost just now: the next step begins with that
			break
		}
		if h.alone.Outage != "" { // else it was lost for less than a moment
			h.alone.Apply(alertEvent(event), now, p.app.quietNode)
		}
		h.inbox.done(event)
	}
	if !lost { // also when nobody was told of its return
		h.alone.End(alert.Alert{Kind: alert.StoreDown, Gateway: p.app.shared.circuits.gateway}.Key(), now, now)
	}
}

// lookAlone finds what this gateway sees and no event told of, and what it sees
// no more. h.mu is held.
func (p *alertPlanner) lookAlone(now time.Time) {
	alone := p.home.alone
	for key, at := range alone.Alerts {
		if at.Ended.IsZero() && p.app.alertOver(*at, now, alertOverAfter) {
			alone.End(key, now, now)
		}
	}
	events := p.app.untoldAlerts(alone, 0)
	if frozen := (alert.Alert{Kind: alert.ProberUnhealthy, Gateway: p.app.shared.circuits.gateway}); p.app.prober.isFrozen() && alone.Alerts[frozen.Key()] == nil {
		events = append(events, alert.Event{Kind: string(alert.ProberUnhealthy), Time: now, Data: p.app.ofGateway(make(map[string]any))})
	}
	for _, e := range events {
		alone.Apply(e, now, p.app.quietNode)
	}
}
