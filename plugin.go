// Package federation compiles all modules of caddy-federation into Caddy.
//
//	xcaddy build --with github.com/caddy-federation/caddy-federation
package federation

import (
	_ "github.com/caddy-federation/caddy-federation/caddyfile"
	_ "github.com/caddy-federation/caddy-federation/modules/admin"
	_ "github.com/caddy-federation/caddy-federation/modules/admin/command"
	_ "github.com/caddy-federation/caddy-federation/modules/auth"
	_ "github.com/caddy-federation/caddy-federation/modules/balancer"
	_ "github.com/caddy-federation/caddy-federation/modules/dialects"
	_ "github.com/caddy-federation/caddy-federation/modules/fleet"
	_ "github.com/caddy-federation/caddy-federation/modules/index"
	_ "github.com/caddy-federation/caddy-federation/modules/nodeapi"
	_ "github.com/caddy-federation/caddy-federation/modules/ratelimit"
	_ "github.com/caddy-federation/caddy-federation/modules/redact"
	_ "github.com/caddy-federation/caddy-federation/modules/search"
	_ "github.com/caddy-federation/caddy-federation/store/bolt"
	_ "github.com/caddy-federation/caddy-federation/store/memory"
	_ "github.com/caddy-federation/caddy-federation/store/redis"
)
