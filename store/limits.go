package store

import (
	"context"
	"time"
)

// LimitPolicy is one limit on one key, as GCRA counts it.
type LimitPolicy struct {
	Key string
	// Emission is the time one event takes to be forgotten: window / limit.
	Emission time.Duration
	// Burst is how many events fit at once, at least 1.
	Burst int
	// Cost is how many events this one counts for, at least 1.
	Cost int
}

// LimitState is what a policy says after a take.
type LimitState struct {
	// Remaining is how many events still fit.
	Remaining int
	// RetryAfter is when the refused cost would fit; 0 when it fitted, and
	// negative when it never will (the cost is above the burst).
	RetryAfter time.Duration
	// Reset is when the key is as if never used.
	Reset time.Duration
}

// Limits are the rate limits of all gateways together.
type Limits interface {
	// Take checks all policies and, when all agree, debits all, in one step on
	// the store's clock. When one refuses, none is debited.
	Take(ctx context.Context, policies []LimitPolicy) (allowed bool, states []LimitState, err error)
	// Reset forgets a key, and tells whether it was known.
	Reset(ctx context.Context, key string) (known bool, err error)
}
