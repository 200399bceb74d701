package auth

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/modules/fleet/redaction"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler lets callers through who prove who they are and have the
// capabilities that are asked for. The others get 401 with a challenge
// (RFC 6750), 403 when they are known and may not, or 400 when what they show
// is ambiguous. It sets {http.auth.user.id}, .federation_id, .name, .type,
// .capabilities and .method.
type Handler struct {
	Rules
	// Optional lets requests through that show no credential, without an
	// identity and without looking at the capabilities. One that shows a bad
	// credential is refused all the same. Default: false.
	Optional bool `json:"optional,omitempty"`

	guard *redaction.Guard
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.federation_auth", New: func() caddy.Module { return new(Handler) }}
}

// Provision reads the configuration.
func (h *Handler) Provision(ctx caddy.Context) error {
	registerMetrics(ctx)
	if err := h.provision(ctx); err != nil {
		return err
	}
	h.guard = redaction.NewGuard(ctx, h.APIKeyHeader)
	return nil
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !h.guard.Concerns(r) {
		return h.serve(w, r, next)
	}
	return h.guard.Serve(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return h.serve(w, r, next)
	}))
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	identity, denied := h.authenticate(r)
	switch {
	case denied == nil:
		accept(r, identity)
	case denied.missing && h.Optional:
	default:
		h.note(r, denied)
		return denied.write(w, r)
	}
	return next.ServeHTTP(w, r)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
