package redact

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
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

// UnmarshalCaddyfile reads the format of a log. Syntax:
//
//	format federation_redact {
//	    headers <name...>
//	    wrap    <format> ...
//	}
func (e *Encoder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation_redact
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("format federation_redact", "headers", "wrap")
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "headers":
			if e.Headers, err = block.Values(d); err == nil {
				if wrong := e.Validate(); wrong != nil {
					err = d.Errf("format federation_redact: %v", wrong)
				}
			}
		case "wrap":
			err = e.unmarshalWrap(d)
		default:
			err = block.Unknown(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Encoder) unmarshalWrap(d *caddyfile.Dispenser) error {
	if e.WrappedRaw != nil {
		return d.Err("format federation_redact: wrap is set twice")
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "caddy.logging.encoders."+name)
	if err != nil {
		return err
	}
	encoder, ok := module.(zapcore.Encoder)
	if !ok {
		return d.Errf("format federation_redact: wrap: %s is no format", name)
	}
	e.WrappedRaw = caddyconfig.JSONModuleObject(encoder, "format", name, nil)
	return nil
}
