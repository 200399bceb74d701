package store

import (
	"context"
	"time"
)

// BreakerRecord is the shared state of one node's circuit breaker.
type BreakerRecord struct {
	Node string
	// Generation is the fence: it rises by one with every transition.
	Generation uint64
	// State is closed, open, half_open, forced_open or forced_closed.
	State string
	// Until is when the state ends by itself; zero: it does not.
	Until time.Time
	// Data is the JSON of the breaker: reason, actor, backoff, successes.
	Data    []byte
	Updated time.Time
}

// Breakers are the shared circuit breakers.
type Breakers interface {
	List(ctx context.Context) ([]BreakerRecord, error)
	// Transition moves a breaker from the generation the record has to the
	// next one, and returns it; [ErrConflict] when another gateway was first.
	// Generation 0 creates it. Until is taken as it is, on the store's clock.
	Transition(ctx context.Context, record BreakerRecord) (BreakerRecord, error)
	// ClaimProbe gives out one of max trial calls of a generation to owner,
	// for at most hold. [ErrHeld] when all are out, [ErrConflict] when the
	// generation is over.
	ClaimProbe(ctx context.Context, node string, generation uint64, owner string, max int, hold time.Duration) error
	// ReleaseProbe gives a trial back that told nothing.
	ReleaseProbe(ctx context.Context, node string, generation uint64, owner string) error
	// Delete forgets a node's breaker.
	Delete(ctx context.Context, node string) error
	// Watch sends after every transition, as [Nodes.Watch] does.
	Watch(ctx context.Context) (<-chan struct{}, error)
}
