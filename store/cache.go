package store

import (
	"context"
	"time"
)

// CacheEntry is one cached answer.
type CacheEntry struct {
	Key   string
	Value []byte
	// Tags name what the answer was made of, for [Cache.Purge].
	Tags    []string
	Stored  time.Time
	Expires time.Time
}

// Cache is the level of the search cache that gateways share: at most
// [MaxCache] entries.
type Cache interface {
	// Get returns [ErrNotFound] for what is not there, expired or purged.
	Get(ctx context.Context, key string) (CacheEntry, error)
	// Put stores an entry for ttl; Stored and Expires are the store's to set.
	Put(ctx context.Context, entry CacheEntry, ttl time.Duration) error
	// Purge makes every entry with the tag unfindable, and all with an empty tag.
	Purge(ctx context.Context, tag string) error
}
