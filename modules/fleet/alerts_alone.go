package fleet

import (
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
)

// alertsAlone names the loss of the store during which this gateway tells of
// an event by itself. Empty: it does not.
func (a *App) alertsAlone(kind string) (outage string) {
	if len(a.alertHooks) == 0 || !alert.Relevant(kind) {
		return ""
	}
	state := a.shared.store.state.Load()
	if state == nil || state.Usable {
		return ""
	}
	return a.shared.circuits.gateway + "/" + strconv.FormatInt(state.Since.UnixMilli(), 10)
}

// breakersAlone raises the events of circuit breakers while the store is lost.
// Else whoever writes a change to the store does, when the gateways have agreed
// on it; until the store is back nobody can. It looks at how they are, because
// what takes the store away often opens breakers before that is noticed.
func (p *alertPlanner) breakersAlone() {
	h := p.home
	lost := p.app.alertsAlone(string(alert.BreakerOpen)) != ""
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

// told tells whether all gateways' alerts have it as told and firing, as last seen.
func (h *alerting) told(a alert.Alert) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shared == nil {
		return false
	}
	known := h.shared.Alerts[a.Key()]
	return known != nil && !known.Told.IsZero() && known.Ended.IsZero()
}

// stepAlone tells what this gateway tells by itself.
func (p *alertPlanner) stepAlone(now time.Time) {
	h := p.home
	state := p.app.shared.store.state.Load()
	usable := state != nil && state.Usable
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alone.Group = time.Duration(p.app.AlertGroup)
	for {
		event, dropped, found := h.inbox.first()
		if dropped > 0 {
			p.app.logger.Warn("events were lost before they could be alerted of", zap.Uint64("lost", dropped))
		}
		if !found {
			break
		}
		e := alertEvent(event)
		delete(e.Data, "outage") // this is where it is told
		h.alone.Apply(e, now, p.app.quietNode)
		h.inbox.done(event)
	}
	if usable { // also when nobody was told of its return
		h.alone.End(alert.Alert{Kind: alert.StoreDown, Gateway: p.app.shared.circuits.gateway}.Key(), now, "", now)
	}
	messages, _ := h.alone.Due(now, p.routes)
	for _, d := range p.render(messages) {
		q := h.queue(d.Webhook)
		d.Created = now
		q.waiting = append(q.waiting, d)
		if extra := len(q.waiting) - store.MaxDeliveries; extra > 0 {
			p.app.logger.Warn("alerts made room for newer ones before they were delivered", zap.Int("lost", extra))
			q.waiting = q.waiting[extra:]
		}
	}
	for _, hook := range p.app.alertHooks {
		h.queue(hook.id).noteWaiting(now)
	}
	if usable { // the rest is told by whoever looks after alerts
		h.alone.Forget(func(kind alert.Kind) bool { return kind == alert.StoreDown })
	}
}
