package fleet

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// RegisterMetrics makes what is known of all federations part of the metrics
// of the config that ctx belongs to. Caddy has a new registry for each config;
// the values are read from what outlives configs, so no counter begins anew.
// Registering twice is harmless.
func RegisterMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	var already prometheus.AlreadyRegisteredError
	if err := registry.Register(collector{}); err != nil && !errors.As(err, &already) {
		return fmt.Errorf("registering the metrics of the federation: %w", err)
	}
	return nil
}

// describe makes the description of a metric of a federation.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_federation_"+name, help, append([]string{"federation"}, labels...), nil)
}

// The metrics of a federation as a whole. docs/metrics.md says more of each.
var (
	descNodes           = describe("nodes", "Nodes by type, admin_state and health.", "type", "admin_state", "health")
	descNodesAvailable  = describe("nodes_available", "Nodes that a call would be sent to now.")
	descStoreUp         = describe("store_up", "Whether the store answered when it was last asked.")
	descStoreChanged    = describe("store_change_timestamp_seconds", "When store_up last changed, on this gateway's clock.")
	descStoreShared     = describe("store_shared", "Whether other gateways can use the same store.")
	descBreakersShared  = describe("breakers_store_up", "Whether circuit breakers are kept together with what is stored.")
	descGateways        = describe("gateways", "Gateways of the federation that are alive, this one included.")
	descDrift           = describe("configuration_drift", "Whether gateways run with different configurations of the federation.")
	descDriftedGateways = describe("configuration_drift_gateways", "Gateways whose configuration differs from this one's.")
	descSkew            = describe("clock_skew_seconds", "How far the store's clock is ahead of this gateway's.")
	descFrozen          = describe("health_checks_frozen", "Whether health checks are not believed, because the fault is more likely the gateway's own.")
	descAlertsFiring    = describe("alerts_firing", "Alerts that are not over.")
	descAlertsPending   = describe("alerts_pending", "Messages that wait for their webhook.")
	descAlertsWaiting   = describe("alerts_waiting_seconds", "For how long a webhook's queue has not been empty, the longest.")
	descAlertsSent      = describe("alerts_deliveries_total", "Messages to webhooks that arrived, and that were given up.", "result")
)

// collector reads the federations when it is asked: those that run then,
// whichever config the registry belongs to. So a registry of a config that
// failed to load, which Caddy's admin endpoint goes on with, tells the truth.
type collector struct{}

// Describe implements [prometheus.Collector].
func (collector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		descNodes, descNodesAvailable, descStoreUp, descStoreChanged, descStoreShared, descBreakersShared, descGateways, descDrift,
		descDriftedGateways, descSkew, descFrozen, descAlertsFiring, descAlertsPending, descAlertsWaiting, descAlertsSent,
	} {
		descriptions <- desc
	}
	describeNodes(descriptions)
}

// Collect implements [prometheus.Collector].
func (collector) Collect(values chan<- prometheus.Metric) {
	for _, name := range RunningNames() {
		if app := Running(name); app != nil {
			app.collect(values)
		}
	}
}

func (a *App) collect(values chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		values <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{a.Name}, labels...)...)
	}
	nodes := a.Snapshot().Nodes
	a.collectTotals(nodes, gauge)
	for _, row := range a.shared.scraped.rows(nodes) {
		row.collect(a.Name, values)
	}
	if state := a.shared.store.state.Load(); state != nil {
		gauge(descStoreUp, number(state.Usable))
		gauge(descStoreChanged, float64(state.Since.UnixMilli())/1000)
		gauge(descStoreShared, number(state.Shared))
	}
	gauge(descBreakersShared, number(!a.shared.circuits.failing.Load()))
	gauge(descFrozen, number(a.prober.isFrozen()))
	members := a.Members()
	gauge(descGateways, float64(members.Count()))
	gauge(descDrift, number(members.Drift))
	gauge(descDriftedGateways, float64(members.differing()))
	gauge(descSkew, members.Skew.Seconds())
	alerts := a.AlertStatus()
	gauge(descAlertsFiring, float64(alerts.Firing))
	gauge(descAlertsPending, float64(alerts.Pending))
	gauge(descAlertsWaiting, alerts.waitingFor().Seconds())
	delivered, failed := a.shared.alerting.deliveries()
	values <- prometheus.MustNewConstMetric(descAlertsSent, prometheus.CounterValue, float64(delivered), a.Name, "delivered")
	values <- prometheus.MustNewConstMetric(descAlertsSent, prometheus.CounterValue, float64(failed), a.Name, "failed")
}

// deliveries counts the messages to all webhooks there ever were.
func (h *alerting) deliveries() (delivered, failed uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delivered, failed = h.delivered, h.failed
	for _, q := range h.queues {
		delivered += q.delivered
		failed += q.failed
	}
	return delivered, failed
}

// nodeKind is what nodes are counted by.
type nodeKind struct {
	kind   string
	state  AdminState
	health Health
}

var (
	allTypes       = []string{TypeChild, TypeMaster}
	allAdminStates = []AdminState{AdminEnabled, AdminDraining, AdminMaintenance, AdminDisabled, AdminPending}
	allHealths     = []Health{HealthUnknown, HealthHealthy, HealthDegraded, HealthUnhealthy}
)

// collectTotals counts the nodes. A combination that no node has is 0, so that
// no series comes and goes.
func (a *App) collectTotals(nodes []*Node, gauge func(*prometheus.Desc, float64, ...string)) {
	count, available := make(map[nodeKind]int), 0
	for _, n := range nodes {
		count[nodeKind{n.Type, n.AdminState, n.Health().State}]++
		if n.Refusal() == "" {
			available++
		}
	}
	gauge(descNodesAvailable, float64(available))
	for _, kind := range allTypes {
		for _, state := range allAdminStates {
			for _, health := range allHealths {
				gauge(descNodes, float64(count[nodeKind{kind, state, health}]), kind, string(state), string(health))
			}
		}
	}
}

// differing counts the gateways whose configuration is another than this one's.
func (m *Members) differing() (n int) {
	own := ""
	for _, g := range m.Gateways {
		if g.ID == m.Self {
			own = g.Config
		}
	}
	for _, g := range m.Gateways {
		if own != "" && g.Config != "" && g.Config != own {
			n++
		}
	}
	return n
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
