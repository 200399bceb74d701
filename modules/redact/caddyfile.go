package redact

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("federation_redact", func(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Handler)
		return handler, handler.UnmarshalCaddyfile(helper.Dispenser)
	})
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	federation_redact [<matcher>] [<header...>]
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation_redact
	h.Headers = d.RemainingArgs()
	if d.NextBlock(0) {
		return d.Err("federation_redact takes no block")
	}
	if err := h.Validate(); err != nil {
		return d.Errf("federation_redact: %v", err)
	}
	return nil
}
