package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
	"github.com/caddy-federation/caddy-federation/store"
)

// handOver gives all gateways what this one told alone, and its messages that
// have not arrived, once the store is back: from then on there is one queue per
// webhook, in which no message about something overtakes another one about it.
// done is false while that has to wait, and nothing else is to be told before it.
func (p *alertPlanner) handOver(ctx context.Context) (done bool, err error) {
	h, self := p.home, p.app.shared.circuits.gateway
	h.mu.Lock()
	if h.alone.Outage == "" {
		h.mu.Unlock()
		return true, nil
	}
	// what came since it last looked, and that the store is back
	p.takeInAlone(false, p.app.shared.circuits.now())
	var waiting []store.Delivery
	for _, hook := range p.app.alertHooks {
		q := h.queue(hook.id)
		if q.sending {
			h.mu.Unlock()
			return false, nil
		}
	}
	p.withdraw()
	lone := h.alone.Clone()
	for _, hook := range p.app.alertHooks {
		for _, d := range h.queue(hook.id).waiting {
			waiting = append(waiting, d.Delivery)
		}
	}
	h.handing = true
	h.mu.Unlock()
	handed := false
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.handing = false; !handed {
			return
		}
		h.alone = new(alert.State)
		for _, hook := range p.app.alertHooks {
			h.queue(hook.id).waiting = nil
		}
	}()
	p.state = nil
	if err := p.load(ctx, true); err != nil || p.state == nil {
		return false, err
	}
	if member := p.state.Gateways[self]; member != nil && member.Outage == lone.Outage {
		handed = true // and the answer was lost
		return true, nil
	}
	older := make(map[int]bool) // the routes for which there are messages in the store
	h.mu.Lock()
	pauses, now := make(map[string]time.Time), p.app.shared.circuits.now()
	for i, hook := range p.app.alertHooks {
		q := h.queue(hook.id)
		older[i] = q.stored > 0
		if left := time.Until(q.until); left > 0 {
			pauses[hook.id] = now.Add(left)
		}
	}
	h.mu.Unlock()
	// with the first message that is handed over: another gateway may send it
	work := p.state.Clone()
	work.Pause(pauses, now)
	for ; len(waiting) > handedAtOnce; waiting = waiting[handedAtOnce:] {
		part := waiting[:handedAtOnce]
		if err := p.commit(ctx, work, part); err != nil || p.state == nil {
			return false, err
		}
		h.gaveAway(part)
		work = p.state.Clone()
	}
	work.Group = time.Duration(p.app.AlertGroup)
	again := lone.Again(now, p.routes, older)
	member := work.Gateways[self]
	work.Muster(p.present(), now)
	work.Adopt(lone, self, member != nil, now)
	work.Gateways[self].Outage = lone.Outage
	if err := p.commit(ctx, work, append(waiting, p.render(again)...)); err != nil || p.state == nil {
		return false, err
	}
	handed = true
	return true, nil
}

// handedAtOnce is how many messages are handed over in one step of the store,
// which each take some KiB.
const handedAtOnce = 100

// gaveAway takes messages that are in the store out of memory.
func (h *alerting) gaveAway(deliveries []store.Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range deliveries {
		q := h.queue(d.Webhook)
		q.waiting = slices.DeleteFunc(q.waiting, func(w ownDelivery) bool { return w.Key == d.Key })
	}
}

// present is which gateways are there, as far as is known here.
func (p *alertPlanner) present() alert.Present {
	members, self := p.app.Members(), p.app.shared.circuits.gateway
	present := alert.Present{Hosts: map[string]string{self: hostName()}, Shared: p.store.Shared(), Sure: !p.store.Shared() || !members.Stale && len(members.Gateways) > 0}
	if !members.Stale {
		for _, g := range members.Gateways {
			present.Hosts[g.ID] = g.Host
		}
	}
	return present
}

// leave takes this gateway off those that look after alerts. One that has told
// something alone stays: nobody but it, or its absence, ends that.
func (p *alertPlanner) leave(ctx context.Context) {
	h, self := p.home, p.app.shared.circuits.gateway
	h.mu.Lock()
	alone := h.alone.Outage != ""
	h.mu.Unlock()
	for range leaveAttempts {
		if alone || p.app.storeOutage() != "" || p.load(ctx, false) != nil || p.state == nil || p.state.Gateways[self] == nil {
			return
		}
		work := p.state.Clone()
		delete(work.Gateways, self)
		if p.commit(ctx, work, nil) == nil && p.state != nil {
			return
		}
	}
}

// leaveAttempts is how often a gateway that stops tries to leave, when others
// change the state at the same time.
const leaveAttempts = 3
