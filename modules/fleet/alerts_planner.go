package fleet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
	"github.com/caddy-federation/caddy-federation/store"
)

// How alerts are looked after. One gateway does for all, whichever holds the
// lease; that each is told once does not depend on it, for every step changes
// the state that it has read or nothing.
const (
	alertLease      = "alerts"
	alertLeaseTTL   = 6 * time.Second
	alertLeaseRenew = 2 * time.Second
	alertTick       = time.Second
	alertLook       = 5 * time.Second // between two looks at what waits, and at what is over
	alertReturn     = 3 * time.Second // for events that waited for the store
	alertTimeout    = 5 * time.Second // of one step in the store
	alertPage       = 500             // events at once
)

// alertPlanner turns events into messages, in one goroutine.
type alertPlanner struct {
	app     *App
	home    *alerting
	store   store.Store
	routes  []alert.Route
	senders []*alertSender
	paused  chan struct{} // a webhook has asked a sender for a pause
	// leads is whether this gateway looks after the alerts of all.
	leads   atomic.Bool
	renewed time.Time
	looked  time.Time
	// state is what is stored with the revision, and the cursor moved on; nil:
	// to be read.
	state    *alert.State
	revision uint64
	lost     bool // the store, when it was last looked at
	failing  bool
}

// startAlerts begins to look after alerts, until background ends.
func (a *App) startAlerts(background context.Context, opened store.Store) {
	if len(a.alertHooks) == 0 {
		return
	}
	p := &alertPlanner{app: a, home: a.shared.alerting, store: opened, paused: make(chan struct{}, 1)}
	for _, hook := range a.alertHooks {
		p.routes = append(p.routes, hook.route)
		p.senders = append(p.senders, &alertSender{
			app: a, home: p.home, hook: hook, alerts: opened.Alerts(), leads: &p.leads, wake: make(chan struct{}, 1), asks: p.paused,
		})
	}
	a.running.Go(func() { p.run(background) })
}

func (p *alertPlanner) run(ctx context.Context) {
	defer func() {
		for _, hook := range p.app.alertHooks {
			hook.client.CloseIdleConnections()
		}
	}()
	select {
	case p.home.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-p.home.turn }()
	p.home.keep(p.app.alertHooks)
	var sending sync.WaitGroup
	for _, s := range p.senders {
		sending.Go(func() { s.run(ctx) })
	}
	defer p.release(ctx)
	defer sending.Wait()
	ticker := time.NewTicker(alertTick)
	defer ticker.Stop()
	for {
		p.stepAlone()
		p.note(ctx, p.step(ctx))
		for _, s := range p.senders {
			s.nudge()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C: // soon enough: what happens is grouped for longer
		case <-p.home.inbox.wake:
		case <-p.paused:
		case <-time.After(p.grouped(p.app.shared.circuits.now())):
		}
	}
}

// grouped is how long the changes that are grouped still wait, if that is less
// than a tick.
func (p *alertPlanner) grouped(now time.Time) time.Duration {
	wait := alertTick
	sooner := func(window time.Time) {
		if left := window.Sub(now); left > 0 {
			wait = min(wait, left)
		}
	}
	p.home.mu.Lock()
	sooner(p.home.alone.Window)
	p.home.mu.Unlock()
	if p.state != nil && p.leads.Load() {
		sooner(p.state.Window)
	}
	return wait
}

// release lets another gateway take over at once.
func (p *alertPlanner) release(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), alertLeaseRenew)
	defer cancel()
	p.leave(last)
	if !p.store.Shared() || !p.leads.Load() {
		return
	}
	_ = p.store.Leases().Release(last, alertLease, p.app.shared.circuits.gateway) // else it lapses
}

// note logs once when alerts cannot be looked after, and once when they can.
// That the store is lost is told elsewhere.
func (p *alertPlanner) note(ctx context.Context, err error) {
	if (err != nil) == p.failing || ctx.Err() != nil {
		return
	}
	if p.failing = err != nil; p.failing {
		p.app.logger.Error("alerts cannot be looked after in the store", zap.Error(err))
	} else {
		p.app.logger.Info("alerts are looked after again")
	}
}

// render writes messages. One that cannot be written is logged and left out.
func (p *alertPlanner) render(messages []alert.Message) (deliveries []store.Delivery) {
	for _, m := range messages {
		hook := p.app.alertHooks[m.Route]
		if body, ok := p.write(hook, m); ok {
			deliveries = append(deliveries, store.Delivery{Webhook: hook.id, Key: rand.Text(), Body: body})
		}
	}
	return deliveries
}

func (p *alertPlanner) write(hook *alertHook, m alert.Message) (body []byte, ok bool) {
	body, err := m.Render(hook.format, alert.About{Federation: p.app.Name, Repeat: hook.route.Repeat})
	if err != nil {
		p.app.logger.Error("an alert cannot be written", zap.Int("webhook", hook.number), zap.Error(err))
	}
	return body, err == nil
}

// step looks after the alerts of all gateways, when this one is to.
func (p *alertPlanner) step(ctx context.Context) error {
	state := p.app.shared.store.state.Load()
	switch {
	case state == nil || !state.Usable:
		p.leads.Store(false)
		p.state, p.lost, p.looked = nil, true, time.Time{}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, alertTimeout)
	defer cancel()
	if done, err := p.handOver(ctx); !done {
		return err
	}
	if p.lost && time.Since(state.Since) < alertReturn {
		return nil
	}
	p.lost = false
	if err := p.lead(ctx); err != nil {
		return err
	}
	if !p.leads.Load() {
		p.home.idle()
	}
	look := time.Since(p.looked) >= alertLook
	var err error
	switch {
	case look || p.state == nil && p.leads.Load():
		p.looked = time.Now()
		err = p.load(ctx, p.leads.Load())
	case !p.leads.Load(): // so that it knows what was told, should the store be lost now
		err = p.read(ctx, false)
	}
	if err != nil {
		p.state = nil
		return err
	}
	if !p.leads.Load() || p.state == nil {
		return nil
	}
	work := p.state.Clone()
	work.Group = time.Duration(p.app.AlertGroup)
	now := p.app.shared.circuits.now()
	changed, err := p.takeIn(ctx, work, now)
	if err != nil {
		return err
	}
	changed = work.Pause(p.asked(), now) || changed
	if look {
		for key, at := range work.Alerts {
			if p.app.alertOver(*at, now, alertOverAfter) {
				changed = work.End(key, now, now) || changed
			}
		}
		for _, e := range p.app.untoldAlerts(work, alertOverAfter) {
			changed = work.Apply(e, now, p.app.quietNode) || changed
		}
		changed = work.Muster(p.present(), now) || changed
	}
	messages, noted := work.Due(now, p.routes)
	if !changed && !noted {
		p.state = work // it has read on
		return nil
	}
	return p.commit(ctx, work, p.render(messages))
}

// lead takes or renews the lease. Where nobody shares the store nobody asks.
func (p *alertPlanner) lead(ctx context.Context) error {
	if !p.store.Shared() {
		p.leads.Store(true)
		return nil
	}
	if time.Since(p.renewed) < alertLeaseRenew {
		return nil
	}
	_, err := p.store.Leases().Acquire(ctx, alertLease, p.app.shared.circuits.gateway, alertLeaseTTL)
	p.leads.Store(err == nil)
	if err != nil && !errors.Is(err, store.ErrHeld) {
		return err
	}
	p.renewed = time.Now()
	return nil
}

// takeIn reads the events since the last one that was.
func (p *alertPlanner) takeIn(ctx context.Context, work *alert.State, now time.Time) (changed bool, err error) {
	for {
		page, err := p.store.Events().Since(ctx, work.Cursor, alertPage)
		if err != nil {
			return false, err
		}
		for _, event := range page {
			work.Cursor = event.Sequence
			if !alert.Relevant(event.Kind) || alert.OfGateway(event.Kind) {
				continue
			}
			e := alertEvent(event)
			if e.Outage() != "" { // its gateway hands over what it told of it
				continue
			}
			changed = work.Apply(e, now, p.app.quietNode) || changed
			if down, is := p.stillDown(e); is {
				changed = work.Apply(down, now, p.app.quietNode) || changed
			}
		}
		if len(page) < alertPage {
			return changed, nil
		}
	}
}

// stillDown is the event that a node is down that an operator puts to work
// again: it went down while nobody wanted to hear of it.
func (p *alertPlanner) stillDown(e alert.Event) (alert.Event, bool) {
	to, _ := e.Data["to"].(string)
	if e.Kind != "node_admin_state" || to != string(AdminEnabled) && to != string(AdminDraining) {
		return e, false
	}
	node := p.app.Snapshot().Node(e.Node)
	if node == nil || node.Health().State != HealthUnhealthy {
		return e, false
	}
	return downEvent(e.Node, e.Time, node.Health()), true
}

// commit stores the state with what it has to tell. When another gateway was
// first, the state is read again with the next step.
func (p *alertPlanner) commit(ctx context.Context, work *alert.State, deliveries []store.Delivery) error {
	data, err := json.Marshal(work)
	if err != nil {
		return fmt.Errorf("writing the alerts: %w", err)
	}
	next, lost, err := p.store.Alerts().Commit(ctx, store.AlertState{Revision: p.revision, Data: data}, deliveries)
	if err != nil {
		p.state = nil
		if errors.Is(err, store.ErrConflict) {
			return nil
		}
		return err
	}
	if lost > 0 {
		p.app.logger.Warn("alerts made room for newer ones before they were delivered", zap.Int("lost", lost))
	}
	p.remember(work, next.Revision)
	for _, hook := range p.app.alertHooks {
		if err := p.count(ctx, hook); err != nil {
			return err
		}
	}
	return nil
}
