package fleet

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// nodesAsFellows are the enabled nodes, for the guards.
func (a *App) nodesAsFellows() *fellows {
	return &fellows{
		home: a.shared.circuits,
		each: func(yield func(*Gate)) {
			for _, n := range a.Snapshot().Nodes {
				if n.AdminState == AdminEnabled {
					yield(n.gate)
				}
			}
		},
		version: func() uint64 { return a.Snapshot().Epoch },
	}
}

// startBreakers takes over the breakers that are stored, and keeps them
// together until background ends. A store that cannot be read then is read
// again later: breakers are no reason not to start.
func (a *App) startBreakers(ctx, background context.Context) {
	home := a.shared.circuits
	if a.breakerRules == nil {
		return
	}
	tell, ask := a.breakerChanged, a.electorate
	home.watching.Store(&tell)
	home.electorate.Store(&ask)
	s := &sharer{
		home: home, store: a.store, rules: a.breakerRules, logger: a.logger, written: a.breakerWritten,
		list: func() []*circuit {
			nodes := a.Snapshot().Nodes
			circuits := make([]*circuit, len(nodes))
			for i, n := range nodes {
				circuits[i] = n.gate.member.circuit
			}
			return circuits
		},
	}
	// watched before they are read, so that no change falls in between
	changes, err := a.store.Breakers().Watch(background)
	if err != nil {
		a.logger.Warn("circuit breakers of other gateways are seen a second late", zap.Error(err))
	}
	if err := s.attach(ctx); err != nil {
		home.failing.Store(true)
		a.logger.Error("circuit breakers cannot be read, each gateway goes on alone", zap.Error(err))
	}
	a.running.Go(func() {
		defer s.detach()
		s.run(background, changes)
	})
}

// electorate is how many gateways have traffic to a node, this one included,
// and whether active checks agree that it is down.
func (a *App) electorate(slug string) (gateways int, confirmed bool) {
	node := a.Snapshot().Node(slug)
	return 1 + a.shared.gateways.peers(slug).traffic, node != nil && node.gate.member.health.down()
}

// breakerWritten raises an event, on the one gateway that wrote the change.
func (a *App) breakerWritten(slug string, from, to breaker.State) {
	out := func(s breaker.State) bool { return s.Phase == breaker.Open || s.Phase == breaker.ForcedOpen }
	kind := "breaker_open"
	switch {
	case out(from) == out(to):
		return
	case out(from):
		kind = "breaker_closed"
	}
	a.raiseBreaker(slug, to, kind)
}

// raiseBreaker raises breaker_open or breaker_closed.
func (a *App) raiseBreaker(slug string, to breaker.State, kind string) {
	data := map[string]any{"state": to.Phase, "reason": to.Reason}
	if to.Cause != "" {
		data["cause"] = to.Cause
	}
	if to.Actor != "" {
		data["actor"] = to.Actor
	}
	if !to.Until.IsZero() {
		data["until"] = to.Until
	}
	a.Emit(kind, slug, data)
}

// breakerChanged tells of a change, on each gateway that sees it.
func (a *App) breakerChanged(c *circuit, from, to breaker.State) {
	fields := []zap.Field{
		zap.String("node", c.slug), zap.String("from", string(from.Phase)), zap.String("to", string(to.Phase)),
		zap.String("reason", to.Reason),
	}
	if to.Actor != "" {
		fields = append(fields, zap.String("actor", to.Actor))
	}
	if !to.Until.IsZero() {
		fields = append(fields, zap.Duration("for", to.Until.Sub(to.Since).Round(time.Millisecond)))
	}
	if to.Phase == breaker.Open || to.Phase == breaker.ForcedOpen {
		a.logger.Warn("circuit breaker opened", fields...)
		return
	}
	a.logger.Info("circuit breaker changed", fields...)
}
