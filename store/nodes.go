package store

import (
	"context"
	"time"
)

// NodeRecord is one registered node.
type NodeRecord struct {
	Slug string
	// ID is positive, assigned by the store and never given to another node.
	// Where a record is put, 0 asks for a new one.
	ID int64
	// Revision rises with every change, from 1.
	Revision uint64
	// Data is the JSON of the registry. The store does not read it.
	Data    []byte
	Updated time.Time
}

// Nodes are the registered nodes, and the ids of all.
type Nodes interface {
	// List returns all nodes, sorted by slug.
	List(ctx context.Context) ([]NodeRecord, error)
	Get(ctx context.Context, slug string) (NodeRecord, error)
	// Put creates a node when the revision is 0 ([ErrExists] when there is
	// one), else changes the node of that revision ([ErrConflict] when it has
	// another by now). The node has the record's id, which must be the slug's
	// ([ErrConflict]); without one it gets a new id, also when the slug had one:
	// it is another node then. It returns the record with id and revision.
	Put(ctx context.Context, record NodeRecord) (NodeRecord, error)
	// Delete removes the node of the revision, or of any when it is 0; also a
	// slug that has an id and no record. The slug is free again, under a new
	// id: tokens of the old node do not fit.
	Delete(ctx context.Context, slug string, revision uint64) error
	// ID returns the id that the slug has, with or without a record.
	ID(ctx context.Context, slug string) (int64, error)
	// AssignIDs returns the ids of these slugs, the same at every call, and
	// numbers those that have none. Static nodes have ids without a record.
	//
	// In a store that came back empty it, Get, ID, Put and Delete fail with
	// [ErrUnavailable] until Restore was called, if a node was seen before.
	AssignIDs(ctx context.Context, slugs []string) (map[string]int64, error)
	// Restore puts ids, and the nodes that had them, back into a store that
	// came back empty: a server that keeps nothing on disk. [ErrExists] when it
	// has or had any, and then nothing is done. Without ids there is nothing to
	// put back, and such a store may be written again.
	Restore(ctx context.Context, ids map[string]int64, records []NodeRecord) error
	// Watch sends after every change of a node until ctx ends or the store is
	// closed, then closes the channel. Changes in quick succession may come as one.
	Watch(ctx context.Context) (<-chan struct{}, error)
}
