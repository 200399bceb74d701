package kv

import (
	"context"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

type events struct{ *Store }

func (e events) Append(ctx context.Context, event store.Event) (store.Event, error) {
	err := e.update(ctx, "storing an event", func(tx Tx) (err error) {
		if event.Sequence, err = counter(tx, "last_event", 1); err != nil {
			return err
		}
		event.Time = e.now()
		if event.Sequence > store.MaxEvents {
			if err := tx.Delete(bucketEvents, sequenceKey(event.Sequence-store.MaxEvents)); err != nil {
				return err
			}
		}
		return put(tx, bucketEvents, sequenceKey(event.Sequence), event)
	})
	if err != nil {
		return store.Event{}, err
	}
	e.hub.Changed(watch.Events)
	return event, nil
}

func (e events) Since(ctx context.Context, sequence uint64, limit int) (found []store.Event, err error) {
	err = e.view(ctx, "reading events", func(tx Tx) (err error) {
		if last, err := counter(tx, "last_event", 0); err != nil {
			return err
		} else if sequence > last {
			sequence = 0
		}
		tx.Ascend(bucketEvents, sequenceKey(sequence+1), func(key string, text []byte) bool {
			var event store.Event
			if len(found) >= limit {
				return false
			}
			if err = decode(bucketEvents, key, text, &event); err != nil {
				return false
			}
			found = append(found, event)
			return true
		})
		return err
	})
	return found, err
}

func (e events) Watch(ctx context.Context) (<-chan struct{}, error) {
	return e.hub.Watch(ctx, watch.Events)
}
