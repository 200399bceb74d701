package nodeapi

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
	"github.com/caddy-federation/caddy-federation/store"
)

// oldMoment is how the old fleet writes a moment of its database.
const oldMoment = "2006-01-02 15:04:05"

// oldStatus is what GET status says of the node that asks.
type oldStatus struct {
	Node struct {
		oldNode
		Status string `json:"status"`
	} `json:"node"`
	Health struct {
		IsHealthy           bool    `json:"is_healthy"`
		SuccessRate         float64 `json:"success_rate"` // percent, of the last hour
		AverageResponseTime *int64  `json:"avg_response_time"`
		PingFailures        int     `json:"ping_failures"`
		LastPingAt          *string `json:"last_ping_at"`
	} `json:"health"`
	CircuitBreaker struct {
		State           string  `json:"state"`
		FailureCount    int     `json:"failure_count"`
		SuccessCount    int     `json:"success_count"`
		FailureRate     float64 `json:"failure_rate"`
		LastFailureAt   *string `json:"last_failure_at"`
		LastSuccessAt   *string `json:"last_success_at"`
		OpenedAt        *string `json:"opened_at"`
		NextRetryAt     *string `json:"next_retry_at"`
		IsOpen          bool    `json:"is_open"`
		IsReadyForRetry bool    `json:"is_ready_for_retry"`
	} `json:"circuit_breaker"`
	Load struct {
		ActiveConnections int64   `json:"active_connections"`
		LoadScore         float64 `json:"load_score"`
		Weight            float64 `json:"weight"`
	} `json:"load"`
}

// status answers GET status: how the gateway sees the node that asks.
func (h *Handler) status(x *exchange) error {
	if x.caller == nil {
		return x.unauthorized()
	}
	node := h.fleet.Snapshot().Node(x.caller.ID)
	if node == nil || x.caller.NodeID == 0 {
		return x.refuse(&problem.Problem{Status: http.StatusNotFound, Code: fleet.CodeNodeUnknown, Error: "Not Found",
			Detail: "the caller is not a node, so there is no status of it"})
	}
	past, err := h.past(x.Context(), node.Slug)
	if err != nil {
		return h.fail(x, err)
	}
	view := node.View()
	var s oldStatus
	s.Node.oldNode, s.Node.Status = oldNode{node.ID, node.Slug, node.Name}, stateOfOld(view)
	s.Health.IsHealthy = view.Available && (view.Health == fleet.HealthHealthy || view.Health == fleet.HealthDegraded)
	s.Health.SuccessRate = past.successRate()
	if view.Load.Latency > 0 {
		mean := int64(math.Round(view.Load.Latency))
		s.Health.AverageResponseTime = &mean
	}
	s.Health.PingFailures, s.Health.LastPingAt = past.pingFailures, past.lastPing
	b := &s.CircuitBreaker
	b.FailureCount, b.SuccessCount = past.failuresInARow, past.succeeded
	switch circuit := node.Breaker(); circuit.State {
	case breaker.Open, breaker.ForcedOpen:
		b.State, b.IsOpen = "open", true
		b.OpenedAt, b.NextRetryAt = oldMomentOf(circuit.Since), oldMomentOf(circuit.Until)
	case breaker.HalfOpen:
		b.State, b.IsReadyForRetry = "half_open", true
		b.OpenedAt, b.NextRetryAt = oldMomentOf(circuit.Since), oldMomentOf(circuit.Until)
	default:
		b.State = "closed"
	}
	b.FailureRate, b.LastFailureAt, b.LastSuccessAt = percent(past.failed, past.failed+past.succeeded), past.lastFailure, past.lastSuccess
	s.Load.ActiveConnections, s.Load.Weight = view.Load.InFlight, view.Weight
	mean := view.Load.Latency
	if mean == 0 {
		mean = 100
	}
	s.Load.LoadScore = rounded(mean * float64(view.Load.InFlight+1) / view.Weight)
	return x.bare(http.StatusOK, s)
}

func oldMomentOf(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format(oldMoment)
	return &text
}

// stateOfOld puts the operator's word and what was observed into one, as the
// old fleet has it.
func stateOfOld(view fleet.NodeView) string {
	switch view.AdminState {
	case fleet.AdminMaintenance:
		return "maintenance"
	case fleet.AdminDisabled, fleet.AdminPending:
		return "inactive"
	default:
		if view.Health == fleet.HealthUnhealthy {
			return "error"
		}
		return "active"
	}
}

// past sums up the last hour of the request log.
type past struct {
	succeeded, failed        int
	failuresInARow           int // up to now
	pingFailures             int
	lastPing                 *string // that succeeded
	lastSuccess, lastFailure *string
}

func (h *Handler) past(ctx context.Context, slug string) (p past, err error) {
	opened := h.fleet.Store()
	if opened == nil {
		return p, &fleet.NodeError{Code: fleet.CodeRegistryDown, Detail: "the gateway is still starting"}
	}
	records, err := opened.Requests().Last(ctx, slug, store.MaxRequests)
	if err != nil {
		return p, err
	}
	hour := time.Now().Add(-time.Hour)
	for _, r := range records { // the newest first
		if r.Time.Before(hour) {
			break
		}
		p.count(r)
	}
	return p, nil
}

func (p *past) count(r store.RequestRecord) {
	at := r.Time.UTC().Format(oldMoment)
	switch fleet.Outcome(r.Outcome) {
	case fleet.OutcomeNeutral:
		return
	case fleet.OutcomeOK:
		p.succeeded++
		if p.lastSuccess == nil {
			p.lastSuccess = &at
		}
		if r.Kind == "probe" && p.lastPing == nil {
			p.lastPing = &at
		}
	default:
		p.failed++
		if p.lastFailure == nil {
			p.lastFailure = &at
		}
		if p.lastSuccess == nil {
			p.failuresInARow++
		}
		if r.Kind == "probe" && p.lastPing == nil {
			p.pingFailures++
		}
	}
}

func (p *past) successRate() float64 {
	if p.succeeded+p.failed == 0 {
		return 100
	}
	return percent(p.succeeded, p.succeeded+p.failed)
}

func percent(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return rounded(100 * float64(part) / float64(whole))
}

func rounded(n float64) float64 { return math.Round(100*n) / 100 }
