package main

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(delay{})
	httpcaddyfile.RegisterHandlerDirective("demo_delay", parseDelay)
	httpcaddyfile.RegisterDirectiveOrder("demo_delay", httpcaddyfile.Before, "basic_auth")
}

// delay makes a node of the demo slow. It is in no other build.
type delay struct {
	// Wait is how long a request waits. Default: 0.
	Wait caddy.Duration `json:"wait,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (delay) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.demo_delay", New: func() caddy.Module { return new(delay) }}
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (d delay) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	timer := time.NewTimer(time.Duration(d.Wait))
	defer timer.Stop()
	select {
	case <-timer.C:
		return next.ServeHTTP(w, r)
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// parseDelay reads `demo_delay <duration>`.
func parseDelay(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // demo_delay
	if !h.NextArg() {
		return nil, h.ArgErr()
	}
	wait, err := caddy.ParseDuration(h.Val())
	if err != nil || h.NextArg() {
		return nil, h.Errf("demo_delay takes one duration, as in 300ms")
	}
	return delay{Wait: caddy.Duration(wait)}, nil
}
