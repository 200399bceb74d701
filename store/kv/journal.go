package kv

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

type journal struct{ *Store }

type claimRecord struct {
	store.Claim
	Expires time.Time
}

func (j journal) Create(ctx context.Context, run store.Run, claim *store.Claim, claimFor time.Duration) (store.Run, *store.Claim, error) {
	var standing *store.Claim
	err := j.update(ctx, fmt.Sprintf("creating run %q", run.ID), func(tx Tx) error {
		standing = nil
		if err := store.CheckKeys(run.ID); err != nil {
			return err
		}
		if tx.Get(bucketRuns, run.ID) != nil {
			return store.ErrExists
		}
		if claim != nil {
			var err error
			if standing, err = j.claim(tx, *claim, claimFor); err != nil {
				return err
			}
		}
		run.Revision = 1
		if err := put(tx, bucketRuns, run.ID, run); err != nil {
			return err
		}
		return expireAt(tx, bucketRuns, run.ID, run.Expires)
	})
	if err != nil {
		return store.Run{}, standing, err
	}
	return run, nil, nil
}

// claim ties the key, or returns the claim that stands with [store.ErrExists].
func (j journal) claim(tx Tx, claim store.Claim, claimFor time.Duration) (*store.Claim, error) {
	if err := store.CheckKeys(claim.Key); err != nil {
		return nil, err
	}
	var record claimRecord
	found, err := get(tx, bucketClaims, claim.Key, &record)
	if err != nil {
		return nil, err
	}
	if found && record.Expires.After(j.now()) {
		return &record.Claim, store.ErrExists
	}
	end := j.now().Add(claimFor)
	if err := put(tx, bucketClaims, claim.Key, claimRecord{claim, end}); err != nil {
		return nil, err
	}
	return nil, expireAt(tx, bucketClaims, claim.Key, end)
}

func (j journal) Get(ctx context.Context, id string) (run store.Run, err error) {
	err = j.view(ctx, fmt.Sprintf("getting run %q", id), func(tx Tx) error {
		found, err := get(tx, bucketRuns, id, &run)
		if err == nil && (!found || j.over(run)) {
			return store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return store.Run{}, err
	}
	return run, nil
}

func (j journal) over(run store.Run) bool {
	return !run.Expires.IsZero() && !run.Expires.After(j.now())
}

func (j journal) Update(ctx context.Context, run store.Run) (store.Run, error) {
	err := j.update(ctx, fmt.Sprintf("updating run %q", run.ID), func(tx Tx) error {
		var stands store.Run
		found, err := get(tx, bucketRuns, run.ID, &stands)
		switch {
		case err != nil:
			return err
		case !found || j.over(stands):
			return store.ErrNotFound
		case stands.Revision != run.Revision:
			return store.ErrConflict
		}
		run.Revision++
		if err := put(tx, bucketRuns, run.ID, run); err != nil {
			return err
		}
		return expireAt(tx, bucketRuns, run.ID, run.Expires)
	})
	if err != nil {
		return store.Run{}, err
	}
	return run, nil
}

func (j journal) List(ctx context.Context, state, before string, limit int) (runs []store.Run, err error) {
	err = j.view(ctx, "listing runs", func(tx Tx) (err error) {
		tx.Descend(bucketRuns, before, func(id string, text []byte) bool {
			var run store.Run
			if len(runs) >= limit {
				return false
			}
			if err = decode(bucketRuns, id, text, &run); err != nil {
				return false
			}
			if (state == "" || run.State == state) && !j.over(run) {
				runs = append(runs, run)
			}
			return true
		})
		return err
	})
	return runs, err
}
