// Package redact keeps what callers prove themselves with out of logs: with the
// handler http.handlers.federation_redact out of what Caddy's server writes about
// a site's requests, and with the format caddy.logging.encoders.federation_redact
// out of a log.
package redact

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/modules/fleet/redaction"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler calls the next handler, and for a request with a credential in
// X-Node-Token, X-API-Key, X-Enrollment-Secret, X-User-Token or in the query as
// api_key or access_token writes the lines of the access and the error log
// itself, with REDACTED in its place. Caddy hides Authorization and cookies.
// federation_auth and federation_nodes do the same for the requests that reach
// them; this handler is for what stands before and beside them.
type Handler struct {
	// Headers are more headers whose values are hidden. Default: none.
	Headers []string `json:"headers,omitempty"`

	guard *redaction.Guard
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.federation_redact", New: func() caddy.Module { return new(Handler) }}
}

// Provision finds the server's loggers.
func (h *Handler) Provision(ctx caddy.Context) error {
	headers := make([]string, len(h.Headers))
	for i, name := range h.Headers {
		headers[i] = http.CanonicalHeaderKey(name)
	}
	h.guard = redaction.NewGuard(ctx, headers...)
	return nil
}

// Validate checks the names of the headers.
func (h *Handler) Validate() error { return checkHeaders(h.Headers) }

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return h.guard.Serve(w, r, next)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
