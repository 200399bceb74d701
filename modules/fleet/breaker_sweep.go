package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
)

// A node that leaves the Caddyfile leaves its breaker in the store. No gateway
// can tell alone that no other has the node: one may run an older config, or
// be down. So a gateway that does not know a node marks its record, one that
// knows it takes the mark away, and what is marked for long enough is deleted.
const (
	breakerSweep = time.Hour
	// markAfter is how long ago a record must have changed to be marked. Where
	// configs differ for good it is how often a record is written for nothing.
	markAfter = 24 * time.Hour
	// forgetAfter is how long a mark must stand.
	forgetAfter = 7 * 24 * time.Hour
	sweepMost   = 100 // records changed in one pass
)

// sweep marks and deletes the breakers of nodes that this gateway does not
// have, and tells how many were deleted.
func (s *sharer) sweep(ctx context.Context) (forgotten int, err error) {
	ctx, cancel := context.WithTimeout(ctx, breakerTimeout)
	defer cancel()
	breakers := s.store.Breakers()
	records, err := breakers.List(ctx)
	if err != nil {
		return 0, err
	}
	known := make(map[string]bool)
	for _, c := range s.list() {
		known[c.slug] = true
	}
	now, changed := s.home.now(), 0
	for _, r := range records {
		age := now.Sub(r.Updated)
		if known[r.Node] || age < markAfter {
			continue
		}
		shared, unread := decodeShared(r)
		gone := shared.Abandoned || unread != nil
		if gone && age < forgetAfter {
			continue
		}
		// what has registered since, or could not be read here, is no matter of ours
		if _, err := s.store.Nodes().Get(ctx, r.Node); err == nil {
			continue
		} else if !errors.Is(err, store.ErrNotFound) {
			return forgotten, err
		}
		if gone {
			if err := breakers.Delete(ctx, r.Node); err != nil {
				return forgotten, err
			}
			forgotten++
		} else if err := s.abandon(ctx, r, shared); err != nil {
			return forgotten, err
		}
		if changed++; changed == sweepMost {
			break
		}
	}
	return forgotten, nil
}

// abandon marks a record, unless somebody is using it.
func (s *sharer) abandon(ctx context.Context, r store.BreakerRecord, shared breaker.Shared) (err error) {
	shared.Abandoned = true
	if r.Data, err = json.Marshal(shared); err != nil {
		return err
	}
	if _, err = s.store.Breakers().Transition(ctx, r); errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// reclaim takes the mark from the record of a node that this gateway has.
// c.mu is held.
func (c *circuit) reclaim() {
	c.pending = append(c.pending, func(stands breaker.Shared, _ time.Time) (breaker.Shared, bool) {
		marked := stands.Abandoned
		stands.Abandoned = false
		return stands, marked
	})
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
