package kv

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// alerts: the state under one key, and deliveries under their webhook and
// sequence.
type alerts struct{ *Store }

const alertStateKey = "state"

// deliveryRecord is a delivery with what its queue knows of it.
type deliveryRecord struct {
	store.Delivery
	// Taken is until when nobody may claim it.
	Taken   time.Time
	Expires time.Time
}

func deliveryKey(webhook string, sequence uint64) string {
	return webhook + "/" + sequenceKey(sequence)
}

func (a alerts) State(ctx context.Context) (state store.AlertState, err error) {
	err = a.view(ctx, "reading the alerts", func(tx Tx) error {
		_, err := get(tx, bucketAlerts, alertStateKey, &state)
		return err
	})
	return state, err
}

func (a alerts) Revision(ctx context.Context) (uint64, error) {
	var state struct{ Revision uint64 }
	err := a.view(ctx, "reading the revision of the alerts", func(tx Tx) error {
		_, err := get(tx, bucketAlerts, alertStateKey, &state)
		return err
	})
	return state.Revision, err
}

func (a alerts) Commit(ctx context.Context, state store.AlertState, deliveries []store.Delivery) (store.AlertState, int, error) {
	dropped := 0
	err := a.update(ctx, "storing the alerts", func(tx Tx) error {
		var stands store.AlertState
		if _, err := get(tx, bucketAlerts, alertStateKey, &stands); err != nil {
			return err
		}
		if stands.Revision != state.Revision {
			return store.ErrConflict
		}
		state.Revision++
		if err := put(tx, bucketAlerts, alertStateKey, state); err != nil {
			return err
		}
		for _, d := range deliveries {
			full, err := a.enqueue(tx, d)
			if err != nil {
				return err
			}
			if full {
				dropped++
			}
		}
		return nil
	})
	if err != nil {
		return store.AlertState{}, 0, err
	}
	return state, dropped, nil
}

// enqueue adds a delivery, and tells whether another made room.
func (a alerts) enqueue(tx Tx, d store.Delivery) (full bool, err error) {
	if err := store.CheckKeys(d.Webhook, d.Key); err != nil {
		return false, err
	}
	if d.Sequence, err = counter(tx, "last_delivery", 1); err != nil {
		return false, err
	}
	d.Created, d.Attempts, d.Claim = a.now(), 0, 0
	record := deliveryRecord{Delivery: d, Expires: d.Created.Add(store.DeliveryTTL)}
	key := deliveryKey(d.Webhook, d.Sequence)
	if err := put(tx, bucketDeliveries, key, record); err != nil {
		return false, err
	}
	if err := expireAt(tx, bucketDeliveries, key, record.Expires); err != nil {
		return false, err
	}
	keys := queued(tx, d.Webhook)
	if len(keys) <= store.MaxDeliveries {
		return false, nil
	}
	return true, tx.Delete(bucketDeliveries, keys[0])
}

// queued are the keys of a queue, in order.
func queued(tx Tx, webhook string) (keys []string) {
	prefix := webhook + "/"
	tx.Ascend(bucketDeliveries, prefix, func(key string, _ []byte) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		keys = append(keys, key)
		return true
	})
	return keys
}

// first reads the first delivery of a queue that has not expired.
func (a alerts) first(tx Tx, webhook string) (record deliveryRecord, err error) {
	prefix, found := webhook+"/", false
	tx.Ascend(bucketDeliveries, prefix, func(key string, text []byte) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		record = deliveryRecord{}
		if err = decode(bucketDeliveries, key, text, &record); err != nil {
			return false
		}
		found = record.Expires.After(a.now())
		return !found
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return record, err
}

// free is the first delivery of a queue, when it may be claimed.
func (a alerts) free(tx Tx, webhook string) (deliveryRecord, error) {
	record, err := a.first(tx, webhook)
	if err == nil && record.Taken.After(a.now()) {
		err = store.ErrNotFound
	}
	return record, err
}

func (a alerts) Claim(ctx context.Context, webhook string, ttl time.Duration) (store.Delivery, error) {
	what := fmt.Sprintf("claiming a delivery to webhook %q", webhook)
	// looked at before it is written: most of the time there is nothing
	err := a.view(ctx, what, func(tx Tx) error {
		_, err := a.free(tx, webhook)
		return err
	})
	if err != nil {
		return store.Delivery{}, err
	}
	var record deliveryRecord
	err = a.update(ctx, what, func(tx Tx) (err error) {
		if record, err = a.free(tx, webhook); err != nil {
			return err
		}
		if record.Claim, err = counter(tx, "last_claim", 1); err != nil {
			return err
		}
		record.Attempts++
		record.Taken = a.now().Add(ttl)
		return put(tx, bucketDeliveries, deliveryKey(webhook, record.Sequence), record)
	})
	if err != nil {
		return store.Delivery{}, err
	}
	return record.Delivery, nil
}

// claimed changes a delivery whose claim stands.
func (a alerts) claimed(ctx context.Context, what string, d store.Delivery, change func(Tx, string, deliveryRecord) error) error {
	return a.update(ctx, fmt.Sprintf("%s delivery %q to webhook %q", what, d.Key, d.Webhook), func(tx Tx) error {
		var record deliveryRecord
		key := deliveryKey(d.Webhook, d.Sequence)
		found, err := get(tx, bucketDeliveries, key, &record)
		if err != nil {
			return err
		}
		if !found || record.Claim != d.Claim || d.Claim == 0 {
			return store.ErrConflict
		}
		return change(tx, key, record)
	})
}

func (a alerts) Finish(ctx context.Context, d store.Delivery) error {
	return a.claimed(ctx, "finishing", d, func(tx Tx, key string, _ deliveryRecord) error {
		return tx.Delete(bucketDeliveries, key)
	})
}

func (a alerts) Postpone(ctx context.Context, d store.Delivery, wait time.Duration) error {
	return a.claimed(ctx, "postponing", d, func(tx Tx, key string, record deliveryRecord) error {
		record.Taken = a.now().Add(wait)
		return put(tx, bucketDeliveries, key, record)
	})
}

func (a alerts) Pending(ctx context.Context, webhook string) (n int, err error) {
	err = a.view(ctx, fmt.Sprintf("counting the deliveries to webhook %q", webhook), func(tx Tx) error {
		n = len(queued(tx, webhook))
		return nil
	})
	return n, err
}
