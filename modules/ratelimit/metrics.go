package ratelimit

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store"
)

// decision is a label of the metrics.
type decision int

// The decisions.
const (
	decisionAllowed decision = iota
	decisionRefused
	// decisionShadowed: it would have been refused.
	decisionShadowed
	// decisionUnchecked: let through, because the store is lost.
	decisionUnchecked
	// decisionUnavailable: refused, because the store is lost.
	decisionUnavailable
	decisions
)

var decisionNames = [decisions]string{"allowed", "refused", "shadowed", "unchecked", "unavailable"}

// Every config has a registry of its own; the collectors outlive them all, so
// that no counter begins anew. No label is a key.
var (
	decisionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "federation", Name: "rate_limit_decisions_total",
		Help: "Requests by the policy they were held to and its decision.",
	}, []string{"policy", "decision"})

	limitersState = limitersCollector{
		keys: prometheus.NewDesc("caddy_federation_rate_limit_keys",
			"Keys that are remembered.", []string{"federation"}, nil),
		operations: prometheus.NewDesc("caddy_federation_rate_limit_store_operations_total",
			"Steps in the store that gateways share.", []string{"federation"}, nil),
		lost: prometheus.NewDesc("caddy_federation_rate_limit_store_lost",
			"Whether the store that gateways share cannot be used.", []string{"federation"}, nil),
	}
)

// metrics are the counters of one handler's policies.
type metrics struct {
	counters [][decisions]prometheus.Counter
}

func newMetrics(registry *prometheus.Registry, policies []*Policy) (*metrics, error) {
	for _, collector := range []prometheus.Collector{decisionsTotal, limitersState} {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(collector); err != nil && !errors.As(err, &already) {
			return nil, err
		}
	}
	m := &metrics{counters: make([][decisions]prometheus.Counter, len(policies))}
	for i, p := range policies {
		for d, name := range decisionNames {
			m.counters[i][d] = decisionsTotal.WithLabelValues(p.Name, name)
		}
	}
	return m, nil
}

// count counts a decision: for a refusal by those policies that refused, else
// by all. states is nil when there are none.
func (m *metrics) count(d decision, states []store.LimitState) {
	for i := range m.counters {
		if states == nil || d == decisionAllowed || states[i].RetryAfter != 0 {
			m.counters[i][d].Inc()
		}
	}
}

// limitersCollector reads the limiters when it is asked.
type limitersCollector struct {
	keys, operations, lost *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (c limitersCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.keys
	descriptions <- c.operations
	descriptions <- c.lost
}

// Collect implements [prometheus.Collector].
func (c limitersCollector) Collect(values chan<- prometheus.Metric) {
	for name, l := range fleet.Limiters() {
		lost := 0.0
		if l.Lost() {
			lost = 1
		}
		values <- prometheus.MustNewConstMetric(c.keys, prometheus.GaugeValue, float64(l.Keys()), name)
		values <- prometheus.MustNewConstMetric(c.operations, prometheus.CounterValue, float64(l.Operations()), name)
		values <- prometheus.MustNewConstMetric(c.lost, prometheus.GaugeValue, lost, name)
	}
}
