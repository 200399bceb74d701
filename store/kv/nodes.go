package kv

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

type nodes struct{ *Store }

func (n nodes) List(ctx context.Context) (records []store.NodeRecord, err error) {
	err = n.view(ctx, "listing nodes", func(tx Tx) (err error) {
		records, err = all[store.NodeRecord](tx, bucketNodes, "", nil)
		return err
	})
	return records, err
}

func (n nodes) Get(ctx context.Context, slug string) (record store.NodeRecord, err error) {
	err = n.view(ctx, fmt.Sprintf("getting node %q", slug), func(tx Tx) error {
		found, err := get(tx, bucketNodes, slug, &record)
		if err == nil && !found {
			return store.ErrNotFound
		}
		return err
	})
	return record, err
}

func (n nodes) Put(ctx context.Context, record store.NodeRecord) (store.NodeRecord, error) {
	err := n.update(ctx, fmt.Sprintf("putting node %q", record.Slug), func(tx Tx) error {
		if err := store.CheckKeys(record.Slug); err != nil {
			return err
		}
		var stands store.NodeRecord
		found, err := get(tx, bucketNodes, record.Slug, &stands)
		switch {
		case err != nil:
			return err
		case found && record.Revision == 0:
			return store.ErrExists
		case record.Revision != stands.Revision:
			return store.ErrConflict
		}
		if record.ID == 0 {
			if record.ID, err = newID(tx, record.Slug); err != nil {
				return err
			}
		} else if record.ID != readID(tx, record.Slug) {
			return store.ErrConflict
		}
		record.Revision++
		record.Updated = n.now()
		return put(tx, bucketNodes, record.Slug, record)
	})
	if err != nil {
		return store.NodeRecord{}, err
	}
	n.hub.Changed(watch.Nodes)
	return record, nil
}

func (n nodes) Delete(ctx context.Context, slug string, revision uint64) error {
	err := n.update(ctx, fmt.Sprintf("deleting node %q", slug), func(tx Tx) error {
		var stands store.NodeRecord
		found, err := get(tx, bucketNodes, slug, &stands)
		switch {
		case err != nil:
			return err
		case !found && (revision != 0 || readID(tx, slug) == 0):
			return store.ErrNotFound
		case revision != 0 && revision != stands.Revision:
			return store.ErrConflict
		}
		if err := tx.Delete(bucketIDs, slug); err != nil {
			return err
		}
		return tx.Delete(bucketNodes, slug)
	})
	if err == nil {
		n.hub.Changed(watch.Nodes)
	}
	return err
}

func (n nodes) ID(ctx context.Context, slug string) (id int64, err error) {
	err = n.view(ctx, fmt.Sprintf("getting the id of node %q", slug), func(tx Tx) error {
		if id = readID(tx, slug); id == 0 {
			return store.ErrNotFound
		}
		return nil
	})
	return id, err
}

func (n nodes) AssignIDs(ctx context.Context, slugs []string) (map[string]int64, error) {
	ids := make(map[string]int64, len(slugs))
	err := n.update(ctx, "numbering nodes", func(tx Tx) error {
		// in one order, so that a new federation is numbered the same everywhere
		for _, slug := range slices.Sorted(slices.Values(slugs)) {
			if err := store.CheckKeys(slug); err != nil {
				return err
			}
			id, err := assignID(tx, slug)
			if err != nil {
				return err
			}
			ids[slug] = id
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

func (n nodes) Restore(ctx context.Context, ids map[string]int64, records []store.NodeRecord) error {
	if len(ids)+len(records) == 0 {
		return n.usable(ctx)
	}
	err := n.update(ctx, "restoring nodes", func(tx Tx) error {
		last, err := counter(tx, "last_node_id", 0)
		if err != nil {
			return err
		}
		if last > 0 {
			return store.ErrExists
		}
		for slug, id := range ids {
			if err := store.CheckKeys(slug); err != nil {
				return err
			}
			last = max(last, uint64(id))
			if err := tx.Put(bucketIDs, slug, binary.BigEndian.AppendUint64(nil, uint64(id))); err != nil {
				return err
			}
		}
		for _, record := range records {
			id, known := ids[record.Slug]
			if !known {
				return fmt.Errorf("node %q has no id: %w", record.Slug, store.ErrNotFound)
			}
			record.ID = id
			if err := put(tx, bucketNodes, record.Slug, record); err != nil {
				return err
			}
		}
		_, err = counter(tx, "last_node_id", last)
		return err
	})
	if err == nil {
		n.hub.Changed(watch.Nodes)
	}
	return err
}

// assignID returns the slug's id, a new one when it has none.
func assignID(tx Tx, slug string) (int64, error) {
	if id := readID(tx, slug); id != 0 {
		return id, nil
	}
	return newID(tx, slug)
}

// readID returns the slug's id, 0 when it has none.
func readID(tx Tx, slug string) int64 {
	if text := tx.Get(bucketIDs, slug); len(text) == 8 {
		return int64(binary.BigEndian.Uint64(text))
	}
	return 0
}

// newID gives the slug an id that no node ever had.
func newID(tx Tx, slug string) (int64, error) {
	id, err := counter(tx, "last_node_id", 1)
	if err != nil {
		return 0, err
	}
	return int64(id), tx.Put(bucketIDs, slug, binary.BigEndian.AppendUint64(nil, id))
}

func (n nodes) Watch(ctx context.Context) (<-chan struct{}, error) {
	return n.hub.Watch(ctx, watch.Nodes)
}
