package store

import (
	"context"
	"time"
)

// Member is one gateway of a federation.
type Member struct {
	// ID tells gateways apart. It is made once per process.
	ID string
	// Data is the JSON of what the gateway tells the others.
	Data []byte
	// Beat is when it was last heard of, on the store's clock.
	Beat time.Time
}

// Members are the gateways of a federation that are alive.
type Members interface {
	// Beat stores a member, or renews it, for ttl from now on. It returns all
	// that are alive then, sorted by id, and the store's clock, in one step.
	Beat(ctx context.Context, member Member, ttl time.Duration) (members []Member, now time.Time, err error)
	// Leave forgets a member, and does nothing when there is no such one.
	Leave(ctx context.Context, id string) error
}
