package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
	"github.com/caddy-federation/caddy-federation/store"
)

// Limits are the rate limits of one federation. They outlive a reload, and
// gateways with one shared store have them in common.
type Limits struct {
	app      *App // nil without a federation
	shared   *shared
	limiter  *limiter.Limiter
	failure  limiter.Failure
	started  <-chan struct{} // nil: at once
	policies []string        // that were declared
	release  func()
}

// LoadLimits returns the limits of the federation that the config of ctx is
// part of, until Release is called. A config without one has those of the
// federation "default", which count in this process alone; no store is opened
// for them.
func LoadLimits(ctx caddy.Context) (*Limits, error) {
	l := new(Limits)
	module, err := ctx.AppIfConfigured("federation")
	switch {
	case err == nil:
		l.app = module.(*App)
		l.shared, l.failure, l.started = l.app.shared, l.app.failure, l.app.started
	case !errors.Is(err, caddy.ErrNotConfigured):
		return nil, fmt.Errorf("loading the federation: %w", err)
	default:
		if l.shared, err = loadShared(defaultName); err != nil {
			return nil, err
		}
	}
	l.limiter = l.shared.limiter
	l.release = sync.OnceFunc(func() {
		l.shared.policies.remove(l.policies)
		if l.app == nil {
			_, _ = pool.Delete(defaultName)
		}
	})
	return l, nil
}

// Release gives up the limits. Requests that still run go on with them.
func (l *Limits) Release() { l.release() }

// OnStoreFailure is what the federation does when the store is lost.
func (l *Limits) OnStoreFailure() limiter.Failure { return l.failure }

// Declare tells of a policy, and what it does while the store cannot be used. Call it
// while provisioning.
func (l *Limits) Declare(policy string, failure limiter.Failure) {
	l.policies = append(l.policies, policy)
	l.shared.policies.add(policy)
	if l.app != nil {
		l.app.DeclareStoreMode("rate_limit "+policy, failure.String())
	}
}

// Take is [limiter.Limiter.Take]. It waits for the federation's start, which
// Caddy may serve a moment before.
func (l *Limits) Take(ctx context.Context, charges []limiter.Charge, states []store.LimitState, failure limiter.Failure) limiter.Decision {
	if l.started != nil {
		select {
		case <-l.started:
		default:
			select {
			case <-l.started:
			case <-ctx.Done():
				return limiter.Left
			}
		}
	}
	return l.limiter.Take(ctx, charges, states, failure)
}

// Limiters are the limiters of this process by the names of their federations.
func Limiters() map[string]*limiter.Limiter {
	all := make(map[string]*limiter.Limiter)
	pool.Range(func(name, value any) bool {
		all[name.(string)] = value.(*shared).limiter
		return true
	})
	return all
}

// provisionLimits reads what the limits are to do when the store is lost.
func (a *App) provisionLimits() (err error) {
	if a.OnStoreFailure == "" {
		return nil
	}
	if a.failure, err = limiter.ParseFailure(a.OnStoreFailure); err != nil {
		return fmt.Errorf("on_store_failure: %w", err)
	}
	return nil
}

// attachLimits lets the limits count in a store that other gateways share. A
// store of this process alone could tell them nothing that they do not know.
func (a *App) attachLimits(opened store.Store) (detach func()) {
	if !opened.Shared() {
		return func() {}
	}
	return a.shared.limiter.Attach(opened.Limits(), a.gateways, func(err error) {
		if err != nil {
			a.logger.Warn("rate limits cannot be counted in the store and go on as on_store_failure says", zap.Error(err))
			return
		}
		a.logger.Info("rate limits are counted in the store again")
	})
}

// gateways is how many gateways were last seen alive, this one included.
func (a *App) gateways() int {
	if members := a.shared.membership.current.Load(); members != nil {
		return members.Count()
	}
	return 1
}
