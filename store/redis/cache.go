package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// cache: a hash per entry, a sorted set of the ends of all, and a hash that
// counts how often each tag was purged. An entry whose tags were purged since
// is not found.
type cache struct{ *Store }

func (c cache) at(rest string) string { return c.key(cacheAt, rest) }

func (c cache) Get(ctx context.Context, key string) (store.CacheEntry, error) {
	const what = "getting a cached answer"
	r, err := c.run(ctx, what, cacheGet, []string{c.at(":entry:" + key), c.at(":purges")})
	if err != nil {
		return store.CacheEntry{}, err
	}
	entry := store.CacheEntry{Key: key, Value: []byte(r.text(0)), Stored: r.time(2), Expires: r.time(3)}
	if err := json.Unmarshal([]byte(r.text(1)), &entry.Tags); err != nil {
		return store.CacheEntry{}, fmt.Errorf("%s: %w", what, errUnread)
	}
	return entry, nil
}

func (c cache) Put(ctx context.Context, entry store.CacheEntry, ttl time.Duration) error {
	const what = "caching an answer"
	if entry.Tags == nil {
		entry.Tags = []string{}
	}
	tags, err := json.Marshal(entry.Tags)
	if err == nil {
		err = checkRecord(len(entry.Value)+len(tags), append([]string{entry.Key}, entry.Tags...)...)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err = c.run(ctx, what, cachePut, []string{c.at(":entry:" + entry.Key), c.at(":ends"), c.at(":purges")},
		c.at(""), entry.Key, ttl.Microseconds(), entry.Value, tags, store.MaxCache)
	return err
}

func (c cache) Purge(ctx context.Context, tag string) error {
	const what = "purging cached answers"
	if len(tag) > store.MaxKey {
		return fmt.Errorf("%s: %w", what, store.ErrTooLarge)
	}
	_, err := c.run(ctx, what, cachePurge, []string{c.at(":purges"), c.at(":ends")}, tag)
	return err
}
