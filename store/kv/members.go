package kv

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

type members struct{ *Store }

// memberRecord is a member with its end.
type memberRecord struct {
	store.Member
	Expires time.Time
}

func (m members) Beat(ctx context.Context, member store.Member, ttl time.Duration) (alive []store.Member, now time.Time, err error) {
	err = m.update(ctx, fmt.Sprintf("renewing member %q", member.ID), func(tx Tx) error {
		if err := store.CheckKeys(member.ID); err != nil {
			return err
		}
		now = m.now()
		alive, member.Beat = nil, now
		record := memberRecord{Member: member, Expires: now.Add(ttl)}
		if err := put(tx, bucketMembers, member.ID, record); err != nil {
			return err
		}
		if err := expireAt(tx, bucketMembers, member.ID, record.Expires); err != nil {
			return err
		}
		records, err := all(tx, bucketMembers, "", func(r memberRecord) bool { return r.Expires.After(now) })
		for _, r := range records {
			alive = append(alive, r.Member)
		}
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return alive, now, nil
}

func (m members) Leave(ctx context.Context, id string) error {
	return m.update(ctx, fmt.Sprintf("leaving as member %q", id), func(tx Tx) error {
		return tx.Delete(bucketMembers, id)
	})
}
