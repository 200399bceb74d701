package store

import (
	"context"
	"time"
)

// Event is something that happened to the federation.
type Event struct {
	// Sequence is the store's, from 1, without gaps between stored events.
	Sequence uint64
	Time     time.Time
	Kind     string
	Node     string
	// Data is JSON.
	Data []byte
}

// Events are the last [MaxEvents] events.
type Events interface {
	// Append stores an event and returns it with its sequence and time.
	Append(ctx context.Context, event Event) (Event, error)
	// Since returns up to limit events after the sequence, the oldest first. A
	// sequence that is above the last one is of a store that was emptied since:
	// all of its events are after that.
	Since(ctx context.Context, sequence uint64, limit int) ([]Event, error)
	// Watch sends after every event, as [Nodes.Watch] does.
	Watch(ctx context.Context) (<-chan struct{}, error)
}
