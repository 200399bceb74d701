package store

import (
	"context"
	"time"
)

// Run is the journal of one action: written before each step, so that a
// gateway that dies leaves behind what must be undone.
type Run struct {
	// ID sorts by time.
	ID string
	// State is the run's own word; the journal finds runs by it.
	State    string
	Revision uint64
	// Data is the JSON of the run.
	Data []byte
	// Expires is when the run may be forgotten; zero: never.
	Expires time.Time
}

// Claim ties an idempotency key to a run.
type Claim struct {
	// Key is scoped by the caller.
	Key string
	// Fingerprint tells whether the same key came with the same request.
	Fingerprint string
	Run         string
}

// Journal are the runs of actions.
type Journal interface {
	// Create stores a new run; with a claim, only if its key is free. It
	// returns the standing claim and [ErrExists] when it is not.
	Create(ctx context.Context, run Run, claim *Claim, claimFor time.Duration) (Run, *Claim, error)
	Get(ctx context.Context, id string) (Run, error)
	// Update changes the run of the revision; [ErrConflict] when it has
	// another by now.
	Update(ctx context.Context, run Run) (Run, error)
	// List returns runs, the newest first, of one state or of all when it is
	// empty, with ids below before when that is not empty.
	List(ctx context.Context, state, before string, limit int) ([]Run, error)
}
