// Command caddy is Caddy with this plugin compiled in, for `go run` from a checkout.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-federation/caddy-federation"
)

func main() {
	caddycmd.Main()
}
