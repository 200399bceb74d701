package search

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// statusCallerLeft is what nobody is answered with: the caller left first.
const statusCallerLeft = 499

// searchesTotal counts over reloads; the labels have a fixed set of values.
var (
	searchesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "federation", Name: "search_requests_total",
		Help: "Searches by the HTTP status of the answer, 499 when the caller left first, and by whether it was partial.",
	}, []string{"status", "partial"})
	wholeSearches   = searchesTotal.WithLabelValues("200", "false")
	partialSearches = searchesTotal.WithLabelValues("200", "true")
)

// registerMetrics makes the counter part of the config's metrics.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	var already prometheus.AlreadyRegisteredError
	if err := registry.Register(searchesTotal); err != nil && !errors.As(err, &already) {
		return fmt.Errorf("registering the metrics of searches: %w", err)
	}
	return nil
}

// countSearch counts a search that was answered, refused, or left by its
// caller. One of found and refused may be nil.
func countSearch(r *http.Request, found *result, refused *problem.Problem) {
	switch {
	case r.Context().Err() != nil:
		searchesTotal.WithLabelValues(strconv.Itoa(statusCallerLeft), "false").Inc()
	case refused != nil:
		searchesTotal.WithLabelValues(strconv.Itoa(refused.Status), "false").Inc()
	case found.partial:
		partialSearches.Inc()
	default:
		wholeSearches.Inc()
	}
}
