package redis

import (
	"context"
	"fmt"

	"github.com/caddy-federation/caddy-federation/store"
)

// limits: one sorted set of arrival times in microseconds, by key.
type limits struct{ *Store }

func (l limits) arrivals() []string { return []string{l.key(limitsAt, "")} }

func (l limits) Take(ctx context.Context, policies []store.LimitPolicy) (allowed bool, states []store.LimitState, err error) {
	const what = "taking from rate limits"
	args := make([]any, 1, 1+4*len(policies))
	args[0] = store.MaxLimits
	for _, p := range policies {
		if err := store.CheckKeys(p.Key); err != nil {
			return false, nil, fmt.Errorf("%s: %w", what, err)
		}
		// as store.GCRA reads them
		args = append(args, p.Key, max(p.Emission.Microseconds(), 1), max(p.Burst, 1), max(p.Cost, 1))
	}
	r, err := l.run(ctx, what, limitTake, l.arrivals(), args...)
	if err != nil {
		return false, nil, err
	}
	// what the script counted, put into words with the same formula
	now, read := r.number(0), r.list(2)
	arrivals := make(map[string]int64, len(read))
	states = make([]store.LimitState, len(policies))
	for i, p := range policies {
		arrival, seen := arrivals[p.Key]
		if !seen {
			arrival = read.number(len(arrivals))
		}
		arrivals[p.Key], states[i] = store.GCRA(arrival, now, p)
	}
	return r.number(1) == 1, states, nil
}

func (l limits) Reset(ctx context.Context, key string) (known bool, err error) {
	const what = "resetting a rate limit"
	if err := l.usable(ctx); err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	bounded, cancel := bound(ctx, l.settings.Timeout)
	defer cancel()
	removed, err := l.command(bounded, "zrem", l.key(limitsAt, ""), key).Int()
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, bounded.plain(ctx, err))
	}
	return removed > 0, nil
}
