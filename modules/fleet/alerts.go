package fleet

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
)

// alerting is what is known of the alerts over config reloads. What the
// gateways of a federation tell together is in the store; here is what this
// gateway tells by itself, about its store and while that is lost.
type alerting struct {
	// turn is held by the config that looks after alerts: of two that overlap
	// in a reload the new one waits for the old one to end.
	turn chan struct{}
	// inbox are the events of this gateway that it tells of by itself.
	inbox *eventQueue

	mu sync.Mutex
	// alone is what this gateway tells while it has no store, until it has
	// handed that over, and handing while it does: see [alertPlanner.handOver].
	alone   *alert.State
	handing bool
	// breakers are the nodes whose open circuit breakers this gateway told of
	// while it had no store, as long as they are open.
	breakers map[string]bool
	// shared is the state of all gateways as last seen, for a store that lost it.
	shared *alert.State
	queues map[string]*alertQueue // by the webhook's id
	// delivered and failed are those of webhooks that are gone.
	delivered, failed uint64
}

// ownDelivery waits in memory, with what it tells.
type ownDelivery struct {
	store.Delivery
	message alert.Message
}

// alertQueue is one webhook: how it goes, and what this gateway tells it by itself.
type alertQueue struct {
	waiting []ownDelivery
	sending bool      // the first of them, just now
	until   time.Time // nothing is sent before, from here or from the store
	asked   time.Time // until when the webhook itself asked this gateway for that, on the clock of the store
	retries int       // attempts that were to be made again, since one that was not
	stored  int       // how many wait in the store
	since   time.Time // when messages began to wait; zero: none does
	// done is the key of the last stored delivery that arrived, which the
	// store may not know yet.
	done              string
	delivered, failed uint64
	failing           bool
	lastError         string
	lastErrorAt       time.Time
}

func newAlerting() *alerting {
	return &alerting{
		turn: make(chan struct{}, 1), inbox: newEventQueue(), alone: new(alert.State),
		breakers: make(map[string]bool), queues: make(map[string]*alertQueue),
	}
}

// queue returns a webhook's. h.mu is held.
func (h *alerting) queue(id string) *alertQueue {
	q := h.queues[id]
	if q == nil {
		q = new(alertQueue)
		h.queues[id] = q
	}
	return q
}

// noteWaiting remembers since when messages wait. h.mu is held.
func (q *alertQueue) noteWaiting(now time.Time) {
	switch {
	case len(q.waiting)+q.stored == 0:
		q.since = time.Time{}
	case q.since.IsZero():
		q.since = now
	}
}

// noteAge remembers that a message has waited since. h.mu is held.
func (q *alertQueue) noteAge(since time.Time) {
	if q.since.IsZero() || since.Before(q.since) {
		q.since = since
	}
}

// idle is said when another gateway sends: how that goes is not known here.
func (h *alerting) idle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.queues {
		q.failing = false
	}
}

// firing counts what is firing, as this gateway knows it. h.mu is held.
func (h *alerting) firing() int {
	n := h.alone.Firing()
	if h.shared == nil {
		return n
	}
	for key, at := range h.shared.Alerts {
		if at.Ended.IsZero() && h.alone.Alerts[key] == nil {
			n++
		}
	}
	return n
}

// keep forgets the webhooks that are no longer configured.
func (h *alerting) keep(hooks []*alertHook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, q := range h.queues {
		if !slices.ContainsFunc(hooks, func(hook *alertHook) bool { return hook.id == id }) {
			h.delivered += q.delivered
			h.failed += q.failed
			delete(h.queues, id)
		}
	}
}

// ActionStuck tells that an action can be neither finished nor undone by
// itself: it raises the event action_stuck, which alerts until
// [App.ActionUnstuck]. id is the action's; reason must be fit for strangers.
func (a *App) ActionStuck(id, reason string) {
	a.Emit("action_stuck", "", map[string]any{"action": id, "reason": reason})
}

// ActionUnstuck tells that a stuck action is one no more.
func (a *App) ActionUnstuck(id string) {
	a.Emit("action_unstuck", "", map[string]any{"action": id})
}

// AlertStatus is how alerts are delivered.
type AlertStatus struct {
	// Firing counts the alerts that are not over.
	Firing int `json:"firing"`
	// Pending counts the messages that wait for their webhook, in the store for
	// all gateways and in the memory of this one. Which are in the store was
	// counted some seconds ago at most.
	Pending int `json:"pending"`
	// Delivered and Failed count the messages that arrived and that were given
	// up, since this process started; it delivers only while it is the gateway
	// that does for all.
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`
	// LastError says in words why the last attempt that failed did, fit for
	// strangers, while a webhook fails. Empty: all went well.
	LastError string `json:"last_error,omitempty"`
	// Webhooks are as they are configured.
	Webhooks []AlertWebhookStatus `json:"webhooks"`
}

// AlertWebhookStatus is how one webhook is.
type AlertWebhookStatus struct {
	// Webhook is its place in the configuration, from 1.
	Webhook int    `json:"webhook"`
	Format  string `json:"format"`
	Pending int    `json:"pending"`
	// Delivered and Failed are as in [AlertStatus].
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`
	// Failing is whether the last attempt failed; LastError and LastErrorAt
	// say why and when the last one did that failed.
	Failing     bool      `json:"failing"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// WaitingSince is since when the queue has not been empty, as this gateway
	// saw it; the one that sends also knows how old the first message is.
	WaitingSince time.Time `json:"waiting_since,omitzero"`
}

// waitingFor is for how long a webhook's queue has not been empty, the longest.
func (s *AlertStatus) waitingFor() (longest time.Duration) {
	for _, w := range s.Webhooks {
		if !w.WaitingSince.IsZero() {
			longest = max(longest, time.Since(w.WaitingSince))
		}
	}
	return longest
}

// AlertStatus returns how alerts are delivered. It asks nobody.
func (a *App) AlertStatus() AlertStatus {
	h := a.shared.alerting
	h.mu.Lock()
	defer h.mu.Unlock()
	status := AlertStatus{Firing: h.firing(), Webhooks: make([]AlertWebhookStatus, 0, len(a.alertHooks))}
	var last time.Time
	for _, hook := range a.alertHooks {
		w := AlertWebhookStatus{Webhook: hook.number, Format: string(hook.format)}
		if q := h.queues[hook.id]; q != nil {
			w.Pending, w.Delivered, w.Failed = len(q.waiting)+q.stored, q.delivered, q.failed
			w.Failing, w.LastError, w.LastErrorAt = q.failing, q.lastError, q.lastErrorAt
			w.WaitingSince = q.since
		}
		if w.Failing && w.LastErrorAt.After(last) {
			last, status.LastError = w.LastErrorAt, w.LastError
		}
		status.Pending += w.Pending
		status.Delivered += w.Delivered
		status.Failed += w.Failed
		status.Webhooks = append(status.Webhooks, w)
	}
	return status
}

// alertEvent is an event as alerts read it.
func alertEvent(event store.Event) alert.Event {
	e := alert.Event{Kind: event.Kind, Node: event.Node, Time: event.Time, Data: make(map[string]any)}
	_ = json.Unmarshal(event.Data, &e.Data) // what cannot be read says no more than its kind
	return e
}

// quietNode tells whether the operator wants to hear nothing of a node.
func (a *App) quietNode(slug string) bool {
	node := a.Snapshot().Node(slug)
	return node != nil && node.AdminState != AdminEnabled && node.AdminState != AdminDraining
}

// alertOverAfter is how long something must have been well for an alert to be
// over of which no event tells: its gateway was stopped in between. And how
// long a node must have been down to alert of it without an event.
const alertOverAfter = 30 * time.Second

func downEvent(slug string, since time.Time, h HealthStatus) alert.Event {
	kind := alert.NodeDown
	if h.Flapping {
		kind = alert.Flapping
	}
	return alert.Event{Kind: string(kind), Node: slug, Time: since, Data: map[string]any{"reason": h.Reason}}
}

// untoldAlerts are the events that are missing for nodes that are down: the
// gateway that was to raise one died with its node, or it was before there
// were alerts.
// after is for how long they must have been down.
func (a *App) untoldAlerts(known *alert.State, after time.Duration) (events []alert.Event) {
	if len(known.Alerts) >= alert.MaxFollowed {
		return nil // they were counted when they began
	}
	for _, node := range a.Snapshot().Nodes {
		h := node.Health()
		if h.State != HealthUnhealthy || time.Since(h.Since) < after {
			continue
		}
		told := false
		for _, kind := range []alert.Kind{alert.NodeDown, alert.Flapping} {
			stands := known.Alerts[alert.Alert{Kind: kind, Node: node.Slug}.Key()]
			told = told || stands != nil && stands.Ended.IsZero()
		}
		if !told {
			events = append(events, downEvent(node.Slug, a.shared.circuits.at(h.Since), h))
		}
	}
	return events
}

// alertOver tells whether an alert is over although no event said so: what it
// is about has been well for a while.
func (a *App) alertOver(at alert.Alert, now time.Time, after time.Duration) bool {
	if now.Sub(at.Began) < after {
		return false
	}
	if at.Kind == alert.ProberUnhealthy {
		members := a.Members()
		if at.Gateway == members.Self {
			return !a.prober.isFrozen() // a reload began anew
		}
		return !members.Stale &&
			!slices.ContainsFunc(members.Gateways, func(g Gateway) bool { return g.ID == at.Gateway })
	}
	if at.Node == "" || at.Kind == alert.RefreshReplayed {
		return false
	}
	node := a.Snapshot().Node(at.Node)
	if node == nil || a.quietNode(at.Node) {
		return true
	}
	switch at.Kind {
	case alert.NodeDown, alert.Flapping:
		if a.Health != nil && a.Health.Off {
			return true
		}
		h := node.Health()
		return (h.State == HealthHealthy || h.State == HealthDegraded) && time.Since(h.Since) >= after
	case alert.BreakerOpen:
		b := node.Breaker()
		return (b.State == breaker.Closed || b.State == breaker.ForcedClosed) && (b.Since.IsZero() || now.Sub(b.Since) >= after)
	default:
		return false
	}
}
