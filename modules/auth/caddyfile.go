package auth

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("federation_auth", func(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Handler)
		return handler, handler.UnmarshalCaddyfile(helper.Dispenser)
	})
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	federation_auth [<matcher>] {
//	    capability     <c...>
//	    allow          jwt | api_key | shared_secret ...
//	    api_key_header <name>
//	    compat         laravel
//	    optional
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation_auth
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("federation_auth", "capability", "allow", "api_key_header", "compat", "optional")
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "capability":
			h.Capabilities, err = block.Values(d)
		case "allow":
			h.Allow, err = block.Values(d)
		case "api_key_header":
			h.APIKeyHeader, err = block.Value(d)
		case "compat":
			h.Compat, err = block.Value(d)
		case "optional":
			h.Optional, err = true, block.Flag(d)
		default:
			err = block.Unknown(d)
		}
		if err != nil {
			return err
		}
		// checked line by line, so that the error has the line
		if err := h.check(); err != nil {
			return d.Errf("federation_auth: %v", err)
		}
	}
	return nil
}
