package dialects

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() { caddy.RegisterModule(new(Auto)) }

// Auto finds out which dialect its node speaks: laravel or gateway. It asks
// for health, remembers the answer, and asks again when answers stop fitting.
// A node that speaks another JSON needs the json dialect, said by name.
type Auto struct {
	laravel *Laravel
	gateway *Gateway

	detected atomic.Pointer[detection]
	// detecting is a lock that gives up with its caller.
	detecting chan struct{}
}

// detection is a dialect and when it was found.
type detection struct {
	dialect fleet.Dialect
	at      time.Time
}

// redetectAfter is the shortest time between two detections of a node whose
// answers do not fit.
const redetectAfter = 30 * time.Second

// CaddyModule returns the Caddy module information.
func (*Auto) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: fleet.DialectNamespace + ".auto", New: func() caddy.Module { return new(Auto) }}
}

// Provision makes the dialects that can be found.
func (a *Auto) Provision(ctx caddy.Context) error {
	a.detecting = make(chan struct{}, 1)
	a.laravel, a.gateway = new(Laravel), new(Gateway)
	return errors.Join(a.laravel.Provision(ctx), a.gateway.Provision(ctx))
}

// Search implements [fleet.Dialect].
func (a *Auto) Search(ctx context.Context, node fleet.Caller, query *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
	found, err := a.detect(ctx, node)
	if err != nil {
		return nil, err
	}
	answer, err := found.dialect.Search(ctx, node, query)
	if !misfit(err) || time.Since(found.at) < redetectAfter {
		return answer, err
	}
	a.detected.CompareAndSwap(found, nil)
	again, detectErr := a.detect(ctx, node)
	if detectErr != nil || again.dialect == found.dialect {
		return nil, err // the first error says more
	}
	return again.dialect.Search(ctx, node, query)
}

// Budget implements [fleet.Budgeted]: that of the dialect that was found.
func (a *Auto) Budget() *fleet.Budget {
	if found := a.detected.Load(); found != nil {
		if budgeted, ok := found.dialect.(fleet.Budgeted); ok {
			return budgeted.Budget()
		}
	}
	return nil
}

// Probe implements [fleet.Dialect].
func (a *Auto) Probe(ctx context.Context, node fleet.Caller) (*fleet.Report, error) {
	found, err := a.detect(ctx, node)
	if err != nil {
		return nil, err
	}
	report, err := found.dialect.Probe(ctx, node)
	a.doubt(found, err)
	return report, err
}

// Check implements [fleet.Checker].
func (a *Auto) Check(ctx context.Context, node fleet.Caller) (*fleet.Report, error) {
	found, err := a.detect(ctx, node)
	if err != nil {
		return nil, err
	}
	ask := found.dialect.Probe
	if checker, ok := found.dialect.(fleet.Checker); ok {
		ask = checker.Check
	}
	report, err := ask(ctx, node)
	a.doubt(found, err)
	return report, err
}

// doubt has the dialect of a node that was not understood detected again.
func (a *Auto) doubt(found *detection, err error) {
	if misfit(err) && time.Since(found.at) >= redetectAfter {
		a.detected.CompareAndSwap(found, nil)
	}
}

// misfit tells whether a node may speak another dialect by now.
func misfit(err error) bool {
	var payload *fleet.PayloadError
	var status *fleet.StatusError
	return errors.As(err, &payload) ||
		errors.As(err, &status) && (status.Status == http.StatusNotFound || status.Status == http.StatusMethodNotAllowed)
}

// detect returns the node's dialect. One caller asks, the others wait for it
// or for their own end; a caller that leaves takes nothing from the others.
func (a *Auto) detect(ctx context.Context, node fleet.Caller) (*detection, error) {
	if found := a.detected.Load(); found != nil {
		return found, nil
	}
	select {
	case a.detecting <- struct{}{}:
		defer func() { <-a.detecting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if found := a.detected.Load(); found != nil {
		return found, nil
	}
	_, err := a.laravel.health(ctx, node)
	if err == nil {
		return a.remember(a.laravel), nil
	}
	if !misfit(err) {
		return nil, err // down, or refusing us: that says nothing of its dialect
	}
	_, err = a.gateway.Probe(ctx, node)
	if err == nil {
		return a.remember(a.gateway), nil
	}
	if !misfit(err) {
		return nil, err
	}
	return nil, fleet.BadPayload("the node speaks no dialect that can be detected; name one, as in dialect json")
}

func (a *Auto) remember(dialect fleet.Dialect) *detection {
	found := &detection{dialect, time.Now()}
	a.detected.Store(found)
	return found
}

// UnmarshalCaddyfile reads `dialect auto`, which takes nothing.
func (*Auto) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // auto
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(d.Nesting()) {
		return d.Errf("dialect auto takes no block; name the dialect to set %s", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ fleet.Dialect         = (*Auto)(nil)
	_ fleet.Checker         = (*Auto)(nil)
	_ caddy.Provisioner     = (*Auto)(nil)
	_ caddyfile.Unmarshaler = (*Auto)(nil)
)
