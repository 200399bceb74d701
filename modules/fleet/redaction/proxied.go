package redaction

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Proxied is for a transport of reverse_proxy, which logs the request that it
// handed over once the transport returns. When that has a credential, Proxied
// hides it there and returns a copy that still has it, for the node; otherwise
// it returns the request. The request's header, which other attempts share, is
// left as it is. A [Guard] that the request passed tells of more headers.
func Proxied(r *http.Request) *http.Request {
	names := credentialHeaders
	if first, ok := caddyhttp.GetVar(r.Context(), guarded).(*handling); ok {
		names = first.headers
	}
	found := Address(r.RequestURI) != r.RequestURI
	for _, name := range names {
		if _, has := r.Header[name]; has {
			found = true
			break
		}
	}
	if !found {
		return r
	}
	sent := *r
	r.Header = r.Header.Clone()
	redact(r, names)
	return &sent
}
