package kv

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

type leases struct{ *Store }

func (l leases) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (lease store.Lease, err error) {
	err = l.update(ctx, fmt.Sprintf("acquiring lease %q", name), func(tx Tx) error {
		if err := store.CheckKeys(name, owner); err != nil {
			return err
		}
		lease = store.Lease{}
		if _, err := get(tx, bucketLeases, name, &lease); err != nil {
			return err
		}
		now := l.now()
		if lease.Owner != owner {
			if lease.Expires.After(now) {
				return store.ErrHeld
			}
			// one counter for all names, so that a fence never falls back
			// after its lease was swept
			fence, err := counter(tx, "last_fence", 1)
			if err != nil {
				return err
			}
			lease = store.Lease{Name: name, Owner: owner, Fence: fence}
		}
		lease.Expires = now.Add(ttl)
		if err := put(tx, bucketLeases, name, lease); err != nil {
			return err
		}
		return expireAt(tx, bucketLeases, name, lease.Expires)
	})
	return lease, err
}

func (l leases) Release(ctx context.Context, name, owner string) error {
	return l.update(ctx, fmt.Sprintf("releasing lease %q", name), func(tx Tx) error {
		var lease store.Lease
		found, err := get(tx, bucketLeases, name, &lease)
		switch {
		case err != nil:
			return err
		case !found || !lease.Expires.After(l.now()):
			return store.ErrNotFound
		case lease.Owner != owner:
			return store.ErrConflict
		}
		return tx.Delete(bucketLeases, name)
	})
}

func (l leases) List(ctx context.Context, prefix string) (found []store.Lease, err error) {
	err = l.view(ctx, "listing leases", func(tx Tx) (err error) {
		found, err = all(tx, bucketLeases, prefix, func(lease store.Lease) bool { return lease.Expires.After(l.now()) })
		return err
	})
	return found, err
}
