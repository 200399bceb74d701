package fleet

import (
	"context"
	"encoding/json"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
)

// A webhook that asks not to be called asks all gateways. The one that hears it
// puts that into the state of all at once, and each that has read it heeds it
// also when the store is lost and it tells alone.

// pause keeps a webhook from being called for a while. h.mu is held.
func (q *alertQueue) pause(left time.Duration) {
	if left <= 0 {
		return
	}
	if until := time.Now().Add(min(left, alert.MaxRetryAfter)); until.After(q.until) {
		q.until = until
	}
}

// asked is until when the webhooks have asked this gateway not to be called, by
// their ids, on the clock of the store.
func (p *alertPlanner) asked() map[string]time.Time {
	h, asked := p.home, make(map[string]time.Time)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hook := range p.app.alertHooks {
		if q := h.queue(hook.id); !q.asked.IsZero() {
			asked[hook.id] = q.asked
		}
	}
	return asked
}

// heed keeps to what webhooks asked of any gateway. h.mu is held.
func (p *alertPlanner) heed(state *alert.State) {
	now := p.app.shared.circuits.now()
	for _, hook := range p.app.alertHooks {
		if until := state.Pauses[hook.id]; !until.IsZero() {
			p.home.queue(hook.id).pause(until.Sub(now))
		}
	}
}

// asked is for how long the webhook has asked not to be called, when it did so
// of another gateway a moment ago: of one that had no store, and has handed that
// over with its messages, or of the one that sent before.
func (s *alertSender) asked(ctx context.Context) (wait time.Duration, err error) {
	bounded, cancel := context.WithTimeout(ctx, alertSettleTime)
	defer cancel()
	stored, err := s.alerts.State(bounded)
	if err != nil || stored.Revision == 0 {
		return 0, err
	}
	var state struct {
		Pauses map[string]time.Time `json:"pauses"`
	}
	_ = json.Unmarshal(stored.Data, &state) // what cannot be read is begun anew elsewhere
	wait = min(max(state.Pauses[s.hook.id].Sub(s.app.shared.circuits.now()), 0), alert.MaxRetryAfter)
	s.record(func(q *alertQueue) { q.pause(wait) })
	return wait, nil
}

// paused tells whether the webhook is not to be called now.
func (s *alertSender) paused() bool {
	s.home.mu.Lock()
	defer s.home.mu.Unlock()
	return s.home.queue(s.hook.id).until.After(time.Now())
}
