package kv

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

type cache struct{ *Store }

// cacheRecord is an entry with the purges that had happened when it was stored.
type cacheRecord struct {
	store.CacheEntry
	Purges map[string]uint64
}

func purgeKey(tag string) string { return "purge/" + tag }

func purges(tx Tx, tag string) uint64 {
	if text := tx.Get(bucketMeta, purgeKey(tag)); len(text) == 8 {
		return binary.BigEndian.Uint64(text)
	}
	return 0
}

func (c cache) Get(ctx context.Context, key string) (entry store.CacheEntry, err error) {
	err = c.view(ctx, "getting a cached answer", func(tx Tx) error {
		var record cacheRecord
		found, err := get(tx, bucketCache, key, &record)
		if err != nil {
			return err
		}
		if !found || !record.Expires.After(c.now()) {
			return store.ErrNotFound
		}
		for tag, seen := range record.Purges {
			if purges(tx, tag) != seen {
				return store.ErrNotFound
			}
		}
		entry = record.CacheEntry
		return nil
	})
	return entry, err
}

func (c cache) Put(ctx context.Context, entry store.CacheEntry, ttl time.Duration) error {
	return c.update(ctx, "caching an answer", func(tx Tx) error {
		if err := store.CheckKeys(entry.Key); err != nil {
			return err
		}
		if err := store.CheckKeys(entry.Tags...); err != nil {
			return err
		}
		entry.Stored = c.now()
		entry.Expires = entry.Stored.Add(ttl)
		record := cacheRecord{CacheEntry: entry, Purges: map[string]uint64{"": purges(tx, "")}}
		for _, tag := range entry.Tags {
			record.Purges[tag] = purges(tx, tag)
		}
		return putBounded(tx, bucketCache, entry.Key, record, entry.Expires, store.MaxCache)
	})
}

func (c cache) Purge(ctx context.Context, tag string) error {
	return c.update(ctx, "purging cached answers", func(tx Tx) error {
		if len(tag) > store.MaxKey {
			return store.ErrTooLarge
		}
		_, err := counter(tx, purgeKey(tag), 1)
		return err
	})
}
