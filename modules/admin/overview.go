package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func stats(x *exchange) error { return x.answer(http.StatusOK, x.app.Statistics()) }

// Health is the health document (draft-inadarei-api-health-check-06) with what
// an operator wants to know.
type Health struct {
	// Status is pass, warn or fail.
	Status string `json:"status"`
	// Federation is its name.
	Federation string `json:"serviceId"`
	// Output says in words what is wrong, or is empty.
	Output string `json:"output,omitempty"`
	// Checks are by what they look at: store, nodes:available, with alert
	// webhooks alerts:deliveries, and node:<slug> for each node that is not well.
	Checks map[string][]Check `json:"checks"`
}

// Check is one thing that was looked at.
type Check struct {
	ComponentType string `json:"componentType"`
	ObservedValue any    `json:"observedValue,omitempty"`
	ObservedUnit  string `json:"observedUnit,omitempty"`
	Status        string `json:"status"`
	Time          string `json:"time"`
	Output        string `json:"output,omitempty"`
}

// The states of a health document, the better ones first.
const (
	Pass = "pass"
	Warn = "warn"
	Fail = "fail"
)

// storeTimeout bounds the question to the store.
const storeTimeout = 2 * time.Second

// health answers 200 with pass or warn, and 503 with fail.
func health(x *exchange) error {
	h := examine(x.Context(), x.app)
	status := http.StatusOK
	if h.Status == Fail {
		status = http.StatusServiceUnavailable
	}
	return x.answerAs("application/health+json", status, h)
}

func examine(ctx context.Context, app *fleet.App) Health {
	h := Health{Status: Pass, Federation: app.Name, Checks: make(map[string][]Check)}
	h.add("store", checkStore(ctx, app))
	counts := app.Statistics().Nodes
	nodes := Check{ComponentType: "component", ObservedValue: counts.Available, ObservedUnit: "nodes", Status: Pass}
	switch {
	case counts.Total > 0 && counts.Available == 0:
		nodes.Status, nodes.Output = Fail, "no node is available"
	case counts.Available < counts.Total:
		nodes.Status, nodes.Output = Warn, fmt.Sprintf("%d of %d nodes are not available", counts.Total-counts.Available, counts.Total)
	}
	h.add("nodes:available", nodes)
	if alerts := app.AlertStatus(); len(alerts.Webhooks) > 0 {
		h.add("alerts:deliveries", checkAlerts(alerts))
	}
	for _, node := range app.Snapshot().Nodes {
		view := node.View()
		check := Check{ComponentType: "component", ObservedValue: view.Health, Status: Warn}
		switch {
		case view.AdminState == fleet.AdminPending:
			check.Output = "waits for approval"
		case view.AdminState != fleet.AdminEnabled:
			continue // the operator knows
		case !view.Available:
			check.Output = "is not called: " + view.Refusal
		case view.Health == fleet.HealthDegraded || view.Health == fleet.HealthUnhealthy:
			check.Output = view.HealthReason
		default:
			continue
		}
		h.add("node:"+node.Slug, check)
	}
	return h
}

// add notes a check; the worst one decides.
func (h *Health) add(name string, check Check) {
	check.Time = time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00")
	h.Checks[name] = append(h.Checks[name], check)
	if check.Status == Fail && h.Status != Fail || check.Status == Warn && h.Status == Pass {
		h.Status = check.Status
		h.Output = check.Output
	}
}

func checkStore(ctx context.Context, app *fleet.App) Check {
	check := Check{ComponentType: "datastore", ObservedUnit: "ms", Status: Pass}
	opened := app.Store()
	if opened == nil {
		check.Status, check.Output = Fail, "the gateway is still starting"
		return check
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	start := time.Now()
	if err := opened.Ping(ctx); err != nil {
		// what the gateway does then is a declared mode, and goes on
		check.Status, check.Output = Warn, "the store does not answer; the gateway goes on with what it knows"
	}
	check.ObservedValue = float64(time.Since(start).Microseconds()) / 1000
	return check
}
