package auth

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// reasonAccepted is the reason of those who are let in.
const reasonAccepted = "accepted"

// requests counts over reloads; the labels have a fixed set of values.
var requests = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "federation", Name: "auth_requests_total",
	Help: "Requests that federation_auth let in (reason accepted, by method) or refused (by reason).",
}, []string{"method", "reason"})

// registerMetrics makes the counter part of the config's metrics.
func registerMetrics(ctx caddy.Context) {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return
	}
	var already prometheus.AlreadyRegisteredError
	if err := registry.Register(requests); err != nil && !errors.As(err, &already) {
		caddy.Log().Named("http.handlers.federation_auth").Warn("the metrics of authentication are missing: " + err.Error())
	}
}

func count(method, reason string) { requests.WithLabelValues(method, reason).Inc() }

// accepted are the counters of those who are let in, which is what most requests
// are, by method.
var accepted = map[string]prometheus.Counter{
	"jwt":           requests.WithLabelValues("jwt", reasonAccepted),
	"api_key":       requests.WithLabelValues("api_key", reasonAccepted),
	"shared_secret": requests.WithLabelValues("shared_secret", reasonAccepted),
}

func countAccepted(method string) {
	if counter := accepted[method]; counter != nil {
		counter.Inc()
	} else {
		count(method, reasonAccepted)
	}
}
