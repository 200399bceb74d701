package kv

import (
	"context"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

type limits struct{ *Store }

// limitRecord is a key's theoretical arrival time.
type limitRecord struct {
	Arrival int64 // microseconds
	Expires time.Time
}

func (l limits) Take(ctx context.Context, policies []store.LimitPolicy) (allowed bool, states []store.LimitState, err error) {
	err = l.update(ctx, "taking from rate limits", func(tx Tx) error {
		now := l.now()
		allowed, states = true, make([]store.LimitState, len(policies))
		next := make(map[string]int64, len(policies))
		for i, policy := range policies {
			if err := store.CheckKeys(policy.Key); err != nil {
				return err
			}
			arrival, seen := next[policy.Key]
			if !seen {
				var record limitRecord
				if _, err := get(tx, bucketLimits, policy.Key, &record); err != nil {
					return err
				}
				arrival = record.Arrival
			}
			next[policy.Key], states[i] = store.GCRA(arrival, now.UnixMicro(), policy)
			allowed = allowed && states[i].RetryAfter == 0
		}
		if !allowed {
			return nil
		}
		for key, arrival := range next {
			end := time.UnixMicro(arrival).Add(time.Second)
			if err := putBounded(tx, bucketLimits, key, limitRecord{arrival, end}, end, store.MaxLimits); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, nil, err
	}
	return allowed, states, nil
}

func (l limits) Reset(ctx context.Context, key string) (known bool, err error) {
	err = l.update(ctx, "resetting a rate limit", func(tx Tx) error {
		known = tx.Get(bucketLimits, key) != nil
		return remove(tx, bucketLimits, key)
	})
	return known && err == nil, err
}
