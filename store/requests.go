package store

import (
	"context"
	"time"
)

// RequestRecord is one call to a node.
type RequestRecord struct {
	Node string
	Time time.Time
	// Kind is what was asked ("search", "probe").
	Kind    string
	TraceID string
	// Status is the HTTP status, or 0 without an answer.
	Status   int
	Outcome  string
	Duration time.Duration
}

// Requests is the request log: the last [MaxRequests] calls to each node.
type Requests interface {
	// Append stores a batch in one step.
	Append(ctx context.Context, records []RequestRecord) error
	// Last returns up to limit records, the newest first; of all nodes when
	// node is empty.
	Last(ctx context.Context, node string, limit int) ([]RequestRecord, error)
	// DeleteNode forgets what was sent to a node.
	DeleteNode(ctx context.Context, node string) error
}
