// Package store is what must outlive a request: one interface, cut by what is
// stored, with the backends memory and bolt behind it. Every step that must be
// atomic is one operation here, so that a backend on the network can make it
// one script; no caller reads, decides and writes. The store's clock is the
// only clock for what expires.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Namespace is where Caddy finds the backends.
const Namespace = "federation.stores"

// Opener is what a backend's module implements. Loading it reads the
// configuration only; Open takes the file or connection, and the returned
// store's Close gives it back.
type Opener interface {
	Open(ctx context.Context, federation string, logger *zap.Logger) (Store, error)
}

// Store is one backend, open. All its methods may be called by many
// goroutines; each operation happens wholly or not at all.
type Store interface {
	Nodes() Nodes
	Tokens() Tokens
	Limits() Limits
	Breakers() Breakers
	Cache() Cache
	Journal() Journal
	Requests() Requests
	Leases() Leases
	Events() Events
	Members() Members
	Alerts() Alerts

	// Shared tells whether other processes can use the same data at the same
	// time. What is not shared has one gateway.
	Shared() bool
	// Now is the store's clock.
	Now(ctx context.Context) (time.Time, error)
	// Identity is 32 hex digits made once for the store and kept: the name of
	// the federation among federations.
	Identity(ctx context.Context) (string, error)
	// Ping tells whether the store can be used now: [ErrFull] is a store that
	// can be read and takes nothing more.
	Ping(ctx context.Context) error
	// Close ends every watch and gives back what Open took.
	Close() error
}

// The errors that callers tell apart with [errors.Is]. What comes back is
// wrapped with what was attempted.
var (
	// ErrNotFound: there is no such record, or it has expired.
	ErrNotFound = errors.New("not found")
	// ErrExists: there is one already.
	ErrExists = errors.New("already exists")
	// ErrConflict: somebody else changed it first.
	ErrConflict = errors.New("changed by another")
	// ErrHeld: somebody else holds it.
	ErrHeld = errors.New("held by another")
	// ErrRevoked: the node was revoked since.
	ErrRevoked = errors.New("revoked meanwhile")
	// ErrTooLarge: a key or value is larger than the store keeps.
	ErrTooLarge = errors.New("too large")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrFull: there is no space left. What was stored is intact.
	ErrFull = errors.New("no space left")
	// ErrCorrupt: the data is damaged or not ours. Nothing was overwritten.
	ErrCorrupt = errors.New("damaged or foreign data")
	// ErrLocked: another process has the file open.
	ErrLocked = errors.New("locked by another process")
	// ErrUnavailable: the store cannot be reached, or did not answer in time.
	// Whether what was asked has happened is unknown.
	ErrUnavailable = errors.New("store is unavailable")
)

// Sizes that every backend keeps.
const (
	// MaxKey is the longest key, slug, name or owner, in bytes.
	MaxKey = 512
	// MaxValue is the largest record, in bytes.
	MaxValue = 4 << 20
	// MaxRequests is how many lines of the request log are kept per node.
	MaxRequests = 1000
	// MaxEvents is how many events are kept.
	MaxEvents = 10_000
	// MaxCache and MaxLimits are how many entries the cache and the rate
	// limits keep; the one that would expire first makes room.
	MaxCache  = 10_000
	MaxLimits = 100_000
)

// CheckKeys refuses names that are empty or too long for any backend.
func CheckKeys(keys ...string) error {
	for _, key := range keys {
		if key == "" {
			return fmt.Errorf("a key is empty: %w", ErrNotFound)
		}
		if len(key) > MaxKey {
			return fmt.Errorf("a key of %d bytes: %w", len(key), ErrTooLarge)
		}
	}
	return nil
}
