// Package ratelimit is the handler that says whether a caller may, now:
// http.handlers.federation_rate_limit.
package ratelimit

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
	"github.com/caddy-federation/caddy-federation/store"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler lets requests through to the next handler while all its policies
// agree, and answers 429 otherwise. It needs no other directive of ours: a
// config without a federation counts in the process. Where gateways share a
// store they share the counts. Policies of one name share their counts, in
// whatever site they stand, and keep them over a reload.
type Handler struct {
	// Policies must all agree to a request, and are then all debited, in one
	// step. Required: 1 to 16.
	Policies []*Policy `json:"policies,omitempty"`
	// OnStoreFailure is what happens when a store that gateways share cannot
	// be used: local (each gateway admits its share of the limit), open
	// (everything passes) or closed (nothing does, with status 503).
	// Default: what the federation says, else local.
	OnStoreFailure string `json:"on_store_failure,omitempty"`
	// OnRefusal is who writes the answer to a request that is refused: answer
	// (this handler, as application/problem+json or as the old fleet reads it)
	// or error (the site's handle_errors, with status 429 or 503, the header
	// fields set, and the placeholders of the refusal). Default: answer.
	OnRefusal string `json:"on_refusal,omitempty"`
	// Headers tells callers how they stand: draft (RateLimit-Policy and
	// RateLimit), legacy (X-RateLimit-Limit and X-RateLimit-Remaining), both
	// or off. Default: both.
	Headers string `json:"headers,omitempty"`
	// Shadow counts and reports what would be refused, and refuses nothing; it
	// sends no headers either. Default: false.
	Shadow bool `json:"shadow,omitempty"`

	limits  *fleet.Limits
	failure limiter.Failure
	headers headers
	metrics *metrics
	events  *caddyevents.App
	ctx     caddy.Context
	logger  *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.federation_rate_limit", New: func() caddy.Module { return new(Handler) }}
}

// Provision reads the configuration. It opens no file and no connection.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.ctx, h.logger = ctx, ctx.Logger()
	if len(h.Policies) < 1 || len(h.Policies) > limiter.MaxCharges {
		return fmt.Errorf("there must be 1 to %d policies, not %d", limiter.MaxCharges, len(h.Policies))
	}
	names := make(map[string]bool, len(h.Policies))
	for _, p := range h.Policies {
		if err := p.provision(); err != nil {
			return fmt.Errorf("policy %q: %w", p.Name, err)
		}
		if names[p.Name] {
			return fmt.Errorf("policy %q is configured twice", p.Name)
		}
		names[p.Name] = true
	}
	err := checkOnRefusal(h.OnRefusal)
	if err != nil {
		return err
	}
	if h.headers, err = newHeaders(h.Headers, h.Policies); err != nil {
		return err
	}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events: %w", err)
	}
	h.events = events.(*caddyevents.App)
	if h.metrics, err = newMetrics(ctx.GetMetricsRegistry(), h.Policies); err != nil {
		return fmt.Errorf("registering the metrics: %w", err)
	}
	if h.limits, err = fleet.LoadLimits(ctx); err != nil {
		return err
	}
	h.failure = h.limits.OnStoreFailure()
	if h.OnStoreFailure != "" {
		if h.failure, err = limiter.ParseFailure(h.OnStoreFailure); err != nil {
			return fmt.Errorf("on_store_failure: %w", err)
		}
	}
	for _, p := range h.Policies {
		h.limits.Declare(p.Name, h.failure)
	}
	return nil
}

// Cleanup releases what Provision took. It also runs after a Provision that failed.
func (h *Handler) Cleanup() error {
	if h.limits != nil {
		h.limits.Release()
	}
	return nil
}

// scratch is what one decision needs, used again by the next.
type scratch struct {
	text    []byte // the keys, one after the other
	ends    [limiter.MaxCharges]int
	charges [limiter.MaxCharges]limiter.Charge
	states  [limiter.MaxCharges]store.LimitState
}

var scratches = sync.Pool{New: func() any { return &scratch{text: make([]byte, 0, 256)} }}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	s := scratches.Get().(*scratch)
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	decision := h.decide(r.Context(), s, r, repl)
	states := s.states[:len(h.Policies)]
	switch decision {
	case limiter.Allowed:
		h.metrics.count(decisionAllowed, states)
		if !h.Shadow && h.headers.any() {
			w = h.headers.begin(w, states)
		}
	case limiter.Unchecked:
		h.metrics.count(decisionUnchecked, nil)
	case limiter.Unavailable:
		if h.Shadow {
			h.metrics.count(decisionShadowed, nil)
			break
		}
		h.metrics.count(decisionUnavailable, nil)
		scratches.Put(s)
		return h.refuse(w, r, unavailable(r))
	case limiter.Left:
		scratches.Put(s)
		return caddyhttp.Error(statusClientClosed, context.Cause(r.Context()))
	case limiter.Refused:
		refusal := h.refusal(s)
		h.report(repl, refusal)
		if h.Shadow {
			h.metrics.count(decisionShadowed, states)
			break
		}
		h.metrics.count(decisionRefused, states)
		h.headers.refused(w.Header(), states)
		scratches.Put(s)
		if h.OnRefusal != refusalError && compatible(r) {
			return refusal.writeCompatible(w)
		}
		return h.refuse(w, r, refusal.problem())
	}
	scratches.Put(s)
	return next.ServeHTTP(w, r)
}

// statusClientClosed is what Caddy logs for a caller that left.
const statusClientClosed = 499

// decide charges the request by all policies.
func (h *Handler) decide(ctx context.Context, s *scratch, r *http.Request, repl *caddy.Replacer) limiter.Decision {
	s.text = s.text[:0]
	for i, p := range h.Policies {
		s.text = p.appendKey(s.text, r, repl)
		s.ends[i] = len(s.text)
	}
	begin := 0
	for i, p := range h.Policies {
		s.charges[i] = limiter.Charge{Policy: p.policy, Key: s.text[begin:s.ends[i]], Cost: p.cost(repl)}
		begin = s.ends[i]
	}
	n := len(h.Policies)
	return h.limits.Take(ctx, s.charges[:n], s.states[:n], h.failure)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
