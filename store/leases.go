package store

import (
	"context"
	"time"
)

// Lease is the right to be the only one who does something, for a while.
type Lease struct {
	Name  string
	Owner string
	// Fence rises with every new owner: work done under an older one is refused.
	Fence   uint64
	Expires time.Time
}

// Leases are who does what among gateways.
type Leases interface {
	// Acquire takes a lease for ttl, or renews the owner's own; [ErrHeld] with
	// the standing lease when somebody else has it.
	Acquire(ctx context.Context, name, owner string, ttl time.Duration) (Lease, error)
	// Release gives the owner's lease back; [ErrConflict] when it is another's.
	Release(ctx context.Context, name, owner string) error
	// List returns the leases whose names begin with prefix, by name.
	List(ctx context.Context, prefix string) ([]Lease, error)
}
