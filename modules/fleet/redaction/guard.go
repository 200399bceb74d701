// Package redaction keeps what callers prove themselves with out of the logs of
// Caddy's server. That server copies a request for its access and error log
// before any handler runs, and of its headers it hides Authorization and cookies
// alone. For a request that carries a credential elsewhere, [Guard] therefore
// writes these lines in the server's place, to the same loggers.
package redaction

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// credentialHeaders carry a credential of the federation or of a user of its
// nodes, as net/http spells them.
var credentialHeaders = []string{"X-Node-Token", "X-Api-Key", "X-Enrollment-Secret", "X-User-Token"}

// begun is the variable of a request whose lines are already taken care of.
const begun = "federation_redacted"

// Guard writes the log lines of requests that carry a credential in X-Node-Token,
// X-API-Key, X-Enrollment-Secret, X-User-Token, a header of its own, or in the
// query as api_key or access_token. Their values become REDACTED. All other
// requests are left to the server.
//
// Of the fields of an access line one is less: what Caddy's log_append adds
// after the guard has returned. An error that a handler returns ends at the
// guard, which runs the error routes of the server; routes for errors of a
// subroute around it, which only JSON can have, do not see it.
type Guard struct {
	headers        []string
	access, errors *zap.Logger
}

// NewGuard makes a guard that hides the values of more headers too.
func NewGuard(ctx caddy.Context, headers ...string) *Guard {
	server := ctx.Logger(new(caddyhttp.App)) // the names that Caddy's server logs under
	return &Guard{
		headers: append(slices.Clone(credentialHeaders), headers...),
		access:  server.Named("log.access"),
		errors:  server.Named("log.error"),
	}
}

// Serve calls the next handler. When the request carries a credential, it logs
// the request when that has returned, and returns no error, because the server
// would write one with the request as it came. Guards may stand behind each
// other: the first one logs.
func (g *Guard) Serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !g.Concerns(r) {
		return next.ServeHTTP(w, r)
	}
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || caddyhttp.GetVar(r.Context(), begun) != nil {
		return next.ServeHTTP(w, r)
	}
	caddyhttp.SetVar(r.Context(), begun, true)
	h := g.handle(w, r, server)
	defer h.logAccess() // also when a handler gives up with a panic
	if err := next.ServeHTTP(h.writer, r); err != nil {
		h.answerError(err)
	}
	return nil
}

// Concerns tells whether the request carries a credential that the server would
// log. It is for handlers that would have to make the next one for [Guard.Serve].
func (g *Guard) Concerns(r *http.Request) bool {
	for _, name := range g.headers {
		if _, ok := r.Header[name]; ok {
			return true
		}
	}
	return CredentialInQuery(r.URL.RawQuery)
}

// redacted is the request as it may be logged: as it was before handlers changed
// it, as far as Caddy keeps that, without its credentials.
func (g *Guard) redacted(r *http.Request) *http.Request {
	shown := r.Clone(r.Context())
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		shown.Method, shown.RemoteAddr, shown.RequestURI = original.Method, original.RemoteAddr, original.RequestURI
	}
	for _, name := range g.headers {
		if _, ok := shown.Header[name]; ok {
			shown.Header[name] = []string{hidden}
		}
	}
	if path, query, ok := strings.Cut(shown.RequestURI, "?"); ok {
		shown.RequestURI = path + "?" + redactQuery(query)
	}
	return shown
}
