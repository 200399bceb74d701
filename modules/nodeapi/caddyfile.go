package nodeapi

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("federation_nodes", func(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Handler)
		return handler, handler.UnmarshalCaddyfile(helper.Dispenser)
	})
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	federation_nodes [<matcher>] {
//	    compat laravel
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation_nodes
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("federation_nodes", "compat")
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "compat":
			if h.Compat, err = block.Value(d); err == nil && h.Compat != "laravel" {
				err = d.Errf("federation_nodes: compat: unknown %s%s", h.Compat, subdirective.Hint(h.Compat, []string{"laravel"}))
			}
		default:
			err = block.Unknown(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
