package balancer

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() { caddy.RegisterModule(new(CircuitBreaker)) }

// CircuitBreaker fills the place that Caddy has for a circuit breaker, for
// configurations in JSON. Caddy asks one object for all upstreams of a handler
// and tells it of answers only, so it has limits that `transport federation`
// does not have:
//
//   - it opens for all upstreams of the handler at once, and while it is open the
//     handler answers 503;
//   - it never hears of refused connections, timeouts and answers that break off;
//   - it does not see Retry-After, so any 503 is a hard failure;
//   - Caddy asks whether it is closed and does not say that a request follows, so
//     in half-open all requests are let through, and when it closes, without a ramp.
//
// Its state is kept over config reloads that leave the handler's upstreams as
// they are, and shared by handlers with the same.
type CircuitBreaker struct {
	fleet.BreakerConfig

	gates *fleet.Gates
	gate  *fleet.Gate
}

// CaddyModule returns the Caddy module information.
func (*CircuitBreaker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.circuit_breakers.federation", New: func() caddy.Module { return new(CircuitBreaker) }}
}

// Provision sets the breaker up.
func (c *CircuitBreaker) Provision(ctx caddy.Context) (err error) {
	var addresses []string
	source := ""
	if handler := handlerOf(ctx); handler != nil {
		for _, upstream := range handler.Upstreams {
			addresses = append(addresses, upstream.Dial)
		}
		source = string(handler.DynamicUpstreamsRaw) // Caddy loads it after this
	}
	slices.Sort(addresses)
	// the last upstream is never taken out; what stands behind this breaker is
	// all there is, so it counts as one of two
	config := c.BreakerConfig
	config.MaxEjected = -1
	if c.gates, err = fleet.LoadGates("handler of "+strings.Join(addresses, " ")+source, &config, 0); err != nil {
		return err
	}
	c.gate = c.gates.Gate("handler")
	c.gates.Gate("nobody")
	return nil
}

// Cleanup releases what Provision took.
func (c *CircuitBreaker) Cleanup() error {
	if c.gates == nil {
		return nil
	}
	return c.gates.Close()
}

// OK implements [reverseproxy.CircuitBreaker].
func (c *CircuitBreaker) OK() bool { return c.gate.Refusal() == "" }

// RecordMetric implements [reverseproxy.CircuitBreaker].
func (c *CircuitBreaker) RecordMetric(status int, latency time.Duration) {
	// the call is over: it passes the gate now to be counted, or to be the trial
	ticket, err := c.gate.AdmitChosen(context.Background(), time.Now().Add(-latency))
	if err != nil {
		return
	}
	ticket.Done(fleet.ResultOfResponse(&http.Response{StatusCode: status}, latency))
}

// Interface guards
var (
	_ caddy.Provisioner           = (*CircuitBreaker)(nil)
	_ caddy.CleanerUpper          = (*CircuitBreaker)(nil)
	_ reverseproxy.CircuitBreaker = (*CircuitBreaker)(nil)
)
