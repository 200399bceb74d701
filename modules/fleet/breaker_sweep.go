package fleet

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// What a store keeps of the breaker of a node that has left a Caddyfile has no
// other end: a gateway cannot know whether the next one has the node.
const (
	breakerSweep = time.Hour
	// forgetBreaker is after how long without a change the breaker of a node
	// that this gateway does not have is deleted. A gateway that does have it
	// tells the store again what it knows, unless the breaker is closed.
	forgetBreaker = 7 * 24 * time.Hour
)

// sweep deletes breakers whose nodes are gone, and tells how many.
func (s *sharer) sweep(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, breakerTimeout)
	defer cancel()
	records, err := s.store.Breakers().List(ctx)
	if err != nil {
		return 0, err
	}
	known := make(map[string]bool)
	for _, c := range s.list() {
		known[c.slug] = true
	}
	now, forgotten := s.home.now(), 0
	for _, record := range records {
		if known[record.Node] || now.Sub(record.Updated) < forgetBreaker {
			continue
		}
		// what has registered since, or could not be read here, is no matter of ours
		if _, err := s.store.Nodes().Get(ctx, record.Node); err == nil {
			continue
		} else if !errors.Is(err, store.ErrNotFound) {
			return forgotten, err
		}
		if err := s.store.Breakers().Delete(ctx, record.Node); err != nil {
			return forgotten, err
		}
		forgotten++
	}
	return forgotten, nil
}

// tidy sweeps and says so. A store that cannot be reached is swept later.
func (s *sharer) tidy(ctx context.Context) {
	forgotten, err := s.sweep(ctx)
	if forgotten > 0 {
		s.logger.Info("circuit breakers of nodes that have left were forgotten", zap.Int("breakers", forgotten))
	}
	if err != nil && ctx.Err() == nil {
		s.logger.Debug("circuit breakers of nodes that have left could not be looked for", zap.Error(err))
	}
}
