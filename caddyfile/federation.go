// Package caddyfile is the Caddyfile face of the federation: its global
// option and where its directives stand in the order.
package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("federation", parseFederation)
	httpcaddyfile.RegisterDirectiveOrder("federation_redact", httpcaddyfile.Before, "tracing") // around all others
	httpcaddyfile.RegisterDirectiveOrder("federation_rate_limit", httpcaddyfile.After, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("federation_auth", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("federation_nodes", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterDirectiveOrder("federation_search", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterDirectiveOrder("federation_index", httpcaddyfile.Before, "reverse_proxy")
}

// parseFederation reads the global option `federation [<name>] { ... }`. It
// may stand once: a config is one federation.
func parseFederation(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Errf("federation is set twice; a config is part of one federation")
	}
	app := new(fleet.App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "federation", Value: caddyconfig.JSON(app, nil)}, nil
}
