// Package redaction keeps what callers prove themselves with out of the logs of
// Caddy's server. That server copies a request for its access and error log
// before any handler runs, and of its headers it hides Authorization and cookies
// alone. For a request that carries a credential elsewhere, [Guard] therefore
// writes these lines in the server's place, to the same loggers.
package redaction

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// credentialHeaders carry a credential of the federation or of a user of its
// nodes, as net/http spells them.
var credentialHeaders = []string{"X-Node-Token", "X-Api-Key", "X-Enrollment-Secret", "X-User-Token", "X-User-Authorization"}

// guarded is the variable of a request with its [handling].
const guarded = "federation_redacted"

// Guard writes the log lines of requests that carry a credential in X-Node-Token,
// X-API-Key, X-Enrollment-Secret, X-User-Token, X-User-Authorization, a header of
// its own, or in the query as api_key or access_token. Their values become
// REDACTED. All other requests are left to the server.
//
// It takes the loggers away from the request (Caddy's variable
// access_logger_names), so that the server writes to none, and when the server
// is done with the request writes the access line. The error that a handler
// returns goes on to the server, which answers as ever; its line is written at
// once, at the level that the server would give it.
type Guard struct {
	headers        []string
	access, errors *zap.Logger
}

// NewGuard makes a guard that hides the values of more headers too. ctx is that
// of a handler's Provision.
func NewGuard(ctx caddy.Context, headers ...string) *Guard {
	// a server without an access log would write its errors to its one logger
	// without asking the request for names
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server.Logs == nil {
		server.Logs = &caddyhttp.ServerLogConfig{SkipUnmappedHosts: true} // and still has none
	}
	server := ctx.Logger(new(caddyhttp.App)) // the names that Caddy's server logs under
	return &Guard{
		headers: append(slices.Clone(credentialHeaders), headers...),
		access:  server.Named("log.access"),
		errors:  server.Named("log.error"),
	}
}

// Serve calls the next handler, and sees to the log lines of a request that
// carries a credential. Of guards behind each other the first one writes, without
// what any of them hides.
func (g *Guard) Serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !g.Concerns(r) {
		return next.ServeHTTP(w, r)
	}
	if first, ok := caddyhttp.GetVar(r.Context(), guarded).(*handling); ok {
		first.hide(g.headers)
		return next.ServeHTTP(w, r)
	}
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	h, w := g.handle(w, r, server)
	defer h.returned(r.Context()) // also when a handler gives up with a panic
	err := next.ServeHTTP(w, r)
	if err != nil {
		h.logError(err)
	}
	return err
}

// Concerns tells whether the request carries a credential that the server would
// log. It is for handlers that would have to make the next one for [Guard.Serve].
func (g *Guard) Concerns(r *http.Request) bool {
	for _, name := range g.headers {
		if _, ok := r.Header[name]; ok {
			return true
		}
	}
	if CredentialInQuery(r.URL.RawQuery) {
		return true
	}
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request) // before it was rewritten
	return ok && original.URL != nil && original.URL.RawQuery != r.URL.RawQuery && CredentialInQuery(original.URL.RawQuery)
}

// Headers are the names of the headers that carry a credential.
func Headers() []string { return slices.Clone(credentialHeaders) }

// redact takes the credentials out of a request that is to be logged.
func redact(shown *http.Request, headers []string) {
	redactHeader(shown.Header, headers)
	if referer := shown.Header["Referer"]; len(referer) > 0 {
		shown.Header["Referer"] = redactAddresses(referer)
	}
	shown.RequestURI = Address(shown.RequestURI)
}

// redactHeader hides the values of headers, which it replaces.
func redactHeader(header http.Header, names []string) {
	for _, name := range names {
		if _, ok := header[name]; ok {
			header[name] = []string{Hidden}
		}
	}
}

// userInfo finds a user and password in an address.
var userInfo = regexp.MustCompile(`://[^/?#@\s]*@`)

// Address is an address, or a text with one, without the credentials in its
// query or fragment and without a user.
func Address(address string) string {
	if strings.Contains(address, "://") && strings.Contains(address, "@") {
		address = userInfo.ReplaceAllString(address, "://"+Hidden+"@")
	}
	start := strings.IndexAny(address, "?#")
	if start < 0 || !CredentialInQuery(address[start+1:]) {
		return address
	}
	return address[:start+1] + Query(address[start+1:])
}

func redactAddresses(addresses []string) []string {
	shown := make([]string, len(addresses))
	for i, address := range addresses {
		shown[i] = Address(address)
	}
	return shown
}
