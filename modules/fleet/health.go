package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/monitor"
)

// HealthStatus is how a node is, as observed. It is never the operator's word.
type HealthStatus struct {
	// State is unknown, healthy, degraded or unhealthy. No new call goes to
	// an unhealthy node.
	State Health `json:"state"`
	// Since is when the state began.
	Since time.Time `json:"since,omitzero"`
	// Reason says in words why the node is not healthy, fit for strangers.
	Reason string `json:"reason,omitempty"`
	// Flapping is set while the node is left out for going up and down too often.
	Flapping bool `json:"flapping,omitempty"`
	// Checked is when this gateway last checked it; zero when others do.
	Checked time.Time `json:"checked,omitzero"`
	// Flaps counts the times it began to flap.
	Flaps uint64 `json:"flaps,omitempty"`
}

// health is what is observed of one node's health. It outlives config reloads.
type health struct {
	status atomic.Pointer[HealthStatus]

	mu     sync.Mutex
	track  monitor.Track
	mine   bool // this gateway checks it
	reason string
	told   string // what was last logged
}

func (h *health) read() HealthStatus {
	if s := h.status.Load(); s != nil {
		return *s
	}
	return HealthStatus{State: HealthUnknown}
}

// down tells whether the node is left out for its health.
func (h *health) down() bool {
	s := h.status.Load()
	return s != nil && s.State == HealthUnhealthy
}

// own is this gateway's verdict, for the others; empty when it does not check the node.
func (h *health) own() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.mine || h.track.State == monitor.Unknown {
		return ""
	}
	return Health(h.track.State)
}

// sample takes a check of this gateway in.
func (h *health) sample(r *monitor.Rules, now time.Time, s monitor.Sample, reason string, frozen bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.mine { // it takes the node over: what was known goes on
		h.track = monitor.Resume(monitor.State(h.read().State))
	}
	h.mine, h.reason = true, reason
	h.track.Observe(r, now, s, frozen)
}

// next is how long to wait until this gateway's next check.
func (h *health) next(r *monitor.Rules) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.track.Next(r, rand.Float64())
}

// yield forgets this gateway's own verdict: others check the node now.
func (h *health) yield() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mine {
		h.mine, h.track, h.reason = false, monitor.Track{}, ""
	}
}

// settle makes the verdict of this gateway and the others, and returns the
// state before and after. While health is judged, a verdict holds until there is
// another one.
func (h *health) settle(peers peersOfNode, traffic, judged bool, now time.Time, checked bool) (from, to HealthStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	own, others := h.track.State, make(map[monitor.State]int, len(peers.health))
	for state, n := range peers.health {
		others[monitor.State(state)] = n
	}
	if !h.mine {
		own = ""
	}
	from = h.read()
	to = HealthStatus{State: Health(monitor.Combine(own, others, traffic)), Since: from.Since, Checked: from.Checked, Flaps: from.Flaps}
	silent := judged && to.State == HealthUnknown && from.State != HealthUnknown
	if silent { // who checked it is gone, and nobody knows better yet
		to.State, to.Reason = from.State, from.Reason
	}
	if to.State != from.State {
		to.Since = now
	}
	if checked {
		to.Checked = now
	}
	if to.Flapping = h.mine && h.track.Flapping && to.State == HealthUnhealthy; to.Flapping && !from.Flapping {
		to.Flaps++
	}
	switch {
	case silent:
	case to.State == HealthHealthy || to.State == HealthUnknown && own == "":
	case to.Flapping:
		to.Reason = "it goes up and down too often"
	case own == "" || Health(own) != to.State && to.State != HealthUnknown:
		to.Reason = "other gateways say so"
	default:
		to.Reason = h.reason
	}
	h.status.Store(&to)
	return from, to
}

// sampleOf is what a check says: whether the node is there, and how it says
// it is. A node that answers and refuses us, or speaks otherwise, is there and
// somebody should look. When the check tells nothing, ok is false.
func sampleOf(report *Report, call Call) (s monitor.Sample, reason string, ok bool) {
	if report != nil {
		switch report.Health {
		case HealthUnhealthy:
			return monitor.Bad, or(report.Reason, "the node says that it is unhealthy"), true
		case HealthDegraded:
			return monitor.Weak, or(report.Reason, "the node says that it is degraded"), true
		default:
			return monitor.Good, "", true
		}
	}
	var status *StatusError
	answered := errors.As(call.Err, &status)
	switch call.Outcome {
	case OutcomeHard, OutcomeSoft:
		return monitor.Bad, Describe(call.Err), true
	case OutcomeBadPayload:
		return monitor.Weak, Describe(call.Err), true
	case OutcomeThrottled:
		if answered && status.Status == http.StatusServiceUnavailable {
			return monitor.Bad, Describe(call.Err), true // down for maintenance, with a Retry-After
		}
		return monitor.Good, "", false // it limits us, which says nothing
	default:
		if answered {
			return monitor.Weak, refusalInWords(status.Status), true
		}
		return monitor.Good, "", false
	}
}

// refusalInWords says what a 4xx to a health check means for the operator.
func refusalInWords(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("the node refuses our credentials (HTTP %d)", status)
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		return fmt.Sprintf("the node answers, and has nothing where its health is asked for (HTTP %d)", status)
	default:
		return fmt.Sprintf("the node refuses health checks (HTTP %d)", status)
	}
}

// check asks a node how it is: all it tells when its facts are old, else no
// more than its health, where the dialect can tell them apart.
func (a *App) check(ctx context.Context, node *Node, all bool) (*Report, Call) {
	checker, light := node.dialect.(Checker)
	facts := node.Facts()
	if all || !light || facts == nil {
		return a.Probe(ctx, node)
	}
	var report *Report
	call := a.call(ctx, node, kindCheck, func(ctx context.Context, c Caller) (err error) {
		report, err = checker.Check(ctx, c)
		if err == nil && report == nil {
			err = BadPayload("the dialect returned no report")
		}
		return err
	})
	if call.Err != nil {
		return nil, call
	}
	report.withoutEcho(node.secrets)
	if report.Version != "" && report.Version != facts.Version || report.Dialect != facts.Dialect {
		return a.Probe(ctx, node) // it changed: what it holds may have too
	}
	fresh := *facts
	fresh.Health, fresh.Reason = report.Health, report.Reason
	node.gate.member.facts.CompareAndSwap(facts, &fresh)
	return report, call
}
