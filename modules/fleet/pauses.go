package fleet

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// A pause that a node asked one gateway for holds for all of them: it is a
// lease in the store that nobody gives back.
const (
	pausePrefix  = "pause/"
	pausePoll    = time.Second
	pauseTimeout = 2 * time.Second // of one look
	// pauseSlack is how much a pause may differ between two looks without
	// being another one: the store's clock is read beside it.
	pauseSlack = time.Second
)

// sharePauses tells other gateways of the pauses this one was asked for, and
// hears of theirs, until ctx ends.
func (a *App) sharePauses(ctx context.Context, opened store.Store) {
	ticker := time.NewTicker(pausePoll)
	defer ticker.Stop()
	known := make(map[*member]time.Time) // pauses that are in the store
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		bounded, cancel := context.WithTimeout(ctx, pauseTimeout)
		err := a.exchangePauses(bounded, opened, known)
		cancel()
		if (err != nil) != failing && ctx.Err() == nil {
			if failing = err != nil; failing {
				a.logger.Warn("pauses that nodes ask for are not shared", zap.Error(err))
			} else {
				a.logger.Info("pauses that nodes ask for are shared again")
			}
		}
	}
}

// exchangePauses writes what is not known to the store, and reads what is.
func (a *App) exchangePauses(ctx context.Context, opened store.Store, known map[*member]time.Time) error {
	leases, id, now := opened.Leases(), a.shared.circuits.gateway, time.Now()
	for m, until := range known {
		if until.Before(now) {
			delete(known, m)
		}
	}
	for _, node := range a.Snapshot().Nodes {
		m := node.gate.member
		left := m.pausedFor(now)
		if until := now.Add(left); left > pauseSlack && until.Sub(known[m]) > pauseSlack {
			if _, err := leases.Acquire(ctx, pausePrefix+node.Slug, id, left); err != nil && !errors.Is(err, store.ErrHeld) {
				return err
			}
			known[m] = until
		}
	}
	found, err := leases.List(ctx, pausePrefix)
	if err != nil || len(found) == 0 {
		return err
	}
	clock, err := opened.Now(ctx)
	if err != nil {
		return err
	}
	for _, lease := range found {
		node := a.Snapshot().Node(strings.TrimPrefix(lease.Name, pausePrefix))
		if node == nil || lease.Owner == id {
			continue
		}
		left := min(lease.Expires.Sub(clock), MaxRetryAfter)
		if m := node.gate.member; left > m.pausedFor(now)+pauseSlack {
			until := now.Add(left)
			m.pause(until)
			known[m] = until
		}
	}
	return nil
}
