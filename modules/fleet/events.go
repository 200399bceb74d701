package fleet

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
	"github.com/caddy-federation/caddy-federation/store"
)

// EventPrefix begins the name of each event that Caddy's own event handlers
// see: `federation.node_down`.
const EventPrefix = "federation."

// Events that were raised and not yet stored wait in memory.
const (
	eventQueueLimit = 1024
	eventTimeout    = 5 * time.Second // for storing one
	eventRetry      = time.Second
)

// eventQueue are the events on their way to the store. It outlives a reload,
// so that none is lost between two configs.
type eventQueue struct {
	mu      sync.Mutex
	waiting []store.Event
	dropped uint64
	wake    chan struct{}
}

func newEventQueue() *eventQueue { return &eventQueue{wake: make(chan struct{}, 1)} }

func (q *eventQueue) add(event store.Event) {
	q.mu.Lock()
	if len(q.waiting) >= eventQueueLimit { // the newest say most about now
		q.waiting = q.waiting[1:]
		q.dropped++
	}
	q.waiting = append(q.waiting, event)
	q.mu.Unlock()
	q.signal()
}

func (q *eventQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// first returns the oldest event without taking it.
func (q *eventQueue) first() (event store.Event, dropped uint64, found bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return store.Event{}, 0, false
	}
	dropped, q.dropped = q.dropped, 0
	return q.waiting[0], dropped, true
}

// all returns the events that wait, the oldest first, without taking them.
func (q *eventQueue) all() []store.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.waiting)
}

// done takes the event that first returned, unless it was dropped meanwhile.
func (q *eventQueue) done(event store.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 && q.waiting[0].Time.Equal(event.Time) && q.waiting[0].Kind == event.Kind {
		q.waiting = q.waiting[1:]
	}
}

// Emit raises an event: it is stored behind, for all gateways to see, and
// handed to Caddy's event handlers as `federation.<kind>`. node may be empty.
// The values of data must be fit for strangers: no secret, no token. Emit
// never waits for the store, and before Start the event waits for it. What
// begins or ends an alert while the store is lost has "alone": true and the
// "outage", which names this loss, and is told to the alert webhooks by this
// gateway: what begins at once, what ends when the store is back.
func (a *App) Emit(kind, node string, data map[string]any) {
	outage := a.alertsAlone(kind)
	if outage != "" {
		data = maps.Clone(data)
		if data == nil {
			data = make(map[string]any)
		}
		data["alone"], data["outage"] = true, outage
	}
	text, err := json.Marshal(data)
	if err != nil || data == nil {
		text = []byte("{}")
	}
	event := store.Event{Kind: kind, Node: node, Time: time.Now(), Data: text}
	a.shared.events.add(event)
	a.raised.add(event)
	if len(a.alertHooks) > 0 && (outage != "" || alert.OfGateway(kind)) {
		a.shared.alerting.inbox.add(event)
	}
}

// ofGateway adds which gateway an event is about.
func (a *App) ofGateway(data map[string]any) map[string]any {
	data["gateway"], data["host"] = a.shared.circuits.gateway, hostName()
	return data
}

// raiseEvents hands events to Caddy's event handlers until ctx ends. A slow
// handler of the operator's holds up nothing but the next event.
func (a *App) raiseEvents(ctx context.Context) {
	for {
		event, dropped, found := a.raised.first()
		if dropped > 0 {
			a.logger.Warn("event handlers are too slow, events passed them by", zap.Uint64("lost", dropped))
		}
		if !found {
			select {
			case <-ctx.Done():
				return
			case <-a.raised.wake:
				continue
			}
		}
		seen := make(map[string]any)
		_ = json.Unmarshal(event.Data, &seen) // we made it
		seen["federation"] = a.Name
		if event.Node != "" {
			seen["node"] = event.Node
		}
		a.caddyEvents.Emit(a.eventContext, EventPrefix+event.Kind, seen)
		a.raised.done(event)
	}
}

// provisionEvents finds Caddy's own event handlers.
func (a *App) provisionEvents(ctx caddy.Context) error {
	module, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.eventContext, a.caddyEvents = ctx, module.(*caddyevents.App)
	return nil
}

// storeEvents hands events to the store until ctx ends. What is left then
// waits for the next config, or is lost with the process.
func (a *App) storeEvents(ctx context.Context, events store.Events) {
	queue := a.shared.events
	failing := false
	for {
		event, dropped, found := queue.first()
		if dropped > 0 {
			a.logger.Warn("events were lost before they could be stored", zap.Uint64("lost", dropped))
		}
		if !found {
			select {
			case <-ctx.Done():
				return
			case <-queue.wake:
				continue
			}
		}
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventTimeout)
		_, err := events.Append(attempt, event)
		cancel()
		if (err != nil) != failing {
			failing = err != nil
			if failing {
				a.logger.Error("events cannot be stored, they wait in memory", zap.Error(err))
			} else {
				a.logger.Info("events are stored again")
			}
		}
		if err == nil {
			queue.done(event)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(eventRetry):
		}
	}
}
