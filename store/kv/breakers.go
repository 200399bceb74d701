package kv

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

type breakers struct{ *Store }

// breakerRecord is a breaker with the trial calls that are out.
type breakerRecord struct {
	store.BreakerRecord
	Probes map[string]time.Time
}

func (b breakers) List(ctx context.Context) (records []store.BreakerRecord, err error) {
	err = b.view(ctx, "listing breakers", func(tx Tx) error {
		found, err := all[breakerRecord](tx, bucketBreakers, "", nil)
		for _, r := range found {
			records = append(records, r.BreakerRecord)
		}
		return err
	})
	return records, err
}

func (b breakers) Transition(ctx context.Context, record store.BreakerRecord) (store.BreakerRecord, error) {
	err := b.update(ctx, fmt.Sprintf("moving the breaker of node %q", record.Node), func(tx Tx) error {
		if err := store.CheckKeys(record.Node); err != nil {
			return err
		}
		var stands breakerRecord
		if _, err := get(tx, bucketBreakers, record.Node, &stands); err != nil {
			return err
		}
		if stands.Generation != record.Generation {
			return store.ErrConflict
		}
		record.Generation++
		record.Updated = b.now()
		return put(tx, bucketBreakers, record.Node, breakerRecord{BreakerRecord: record})
	})
	if err != nil {
		return store.BreakerRecord{}, err
	}
	b.hub.Changed(watch.Breakers)
	return record, nil
}

func (b breakers) ClaimProbe(ctx context.Context, node string, generation uint64, owner string, most int, hold time.Duration) error {
	return b.probe(ctx, node, generation, func(record *breakerRecord, now time.Time) error {
		if record.Probes[owner].After(now) || len(record.Probes) >= most {
			return store.ErrHeld
		}
		record.Probes[owner] = now.Add(hold)
		return nil
	})
}

func (b breakers) ReleaseProbe(ctx context.Context, node string, generation uint64, owner string) error {
	return b.probe(ctx, node, generation, func(record *breakerRecord, _ time.Time) error {
		delete(record.Probes, owner)
		return nil
	})
}

func (b breakers) probe(ctx context.Context, node string, generation uint64, change func(*breakerRecord, time.Time) error) error {
	return b.update(ctx, fmt.Sprintf("claiming a trial call to node %q", node), func(tx Tx) error {
		var record breakerRecord
		found, err := get(tx, bucketBreakers, node, &record)
		if err != nil {
			return err
		}
		if !found || record.Generation != generation {
			return store.ErrConflict
		}
		now := b.now()
		out := make(map[string]time.Time, len(record.Probes))
		for owner, until := range record.Probes {
			if until.After(now) {
				out[owner] = until
			}
		}
		record.Probes = out
		if err := change(&record, now); err != nil {
			return err
		}
		return put(tx, bucketBreakers, node, record)
	})
}

func (b breakers) Delete(ctx context.Context, node string) error {
	return b.update(ctx, fmt.Sprintf("deleting the breaker of node %q", node), func(tx Tx) error {
		return tx.Delete(bucketBreakers, node)
	})
}

func (b breakers) Watch(ctx context.Context) (<-chan struct{}, error) {
	return b.hub.Watch(ctx, watch.Breakers)
}
