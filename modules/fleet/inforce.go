package fleet

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// Caddy starts the apps of a config in any order, and refuses the config when
// one of them fails. What a federation that has started by then has done to the
// registry would stay, although the config before it goes on. So nobody loses a
// name to a Caddyfile before that is in force.

// isActive tells whether the config of the federation is the one that Caddy runs.
func (a *App) isActive() bool {
	module, err := caddy.ActiveContext().AppIfConfigured("federation")
	return err == nil && module == any(a)
}

// Caddy tells nobody when a config is in force, so it is asked.
const (
	firstForceCheck = 5 * time.Millisecond
	lastForceCheck  = 500 * time.Millisecond
)

// awaitForce waits until the config is in force, or ctx ends, and then tells the
// registry which of its nodes the Caddyfile has.
func (a *App) awaitForce(ctx context.Context, nodes store.Nodes) {
	for wait := firstForceCheck; !a.inForce(); wait = min(2*wait, lastForceCheck) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
	a.registry.inForce.Store(true)
	for failed := false; ; failed = true {
		err := a.registry.read(ctx, nodes)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !failed {
			a.logger.Warn("the registry cannot be told which nodes the Caddyfile has", zap.Error(err))
		}
		select {
		case <-time.After(registryRetry):
		case <-ctx.Done():
			return
		}
	}
}
