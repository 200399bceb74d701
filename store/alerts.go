package store

import (
	"context"
	"time"
)

// Sizes of [Alerts].
const (
	// MaxDeliveries is how many deliveries wait for one webhook; the oldest
	// makes room.
	MaxDeliveries = 1000
	// DeliveryTTL is how long a delivery waits at most, for a webhook that
	// nobody sends to any more.
	DeliveryTTL = 24 * time.Hour
)

// AlertState is what the gateways of a federation know of their alerts.
type AlertState struct {
	// Revision rises with every change, from 1; 0: there is no state yet.
	Revision uint64
	// Data is JSON.
	Data []byte
}

// Delivery is one message on its way to a webhook.
type Delivery struct {
	// Webhook is the queue that it waits in.
	Webhook string
	// Sequence is the store's, rising in a queue.
	Sequence uint64
	// Key tells the receiver that two attempts are of one message.
	Key string
	// Body is what is sent.
	Body []byte
	// Created is when it was added, on the store's clock.
	Created time.Time
	// Attempts counts the claims, this one included.
	Attempts int
	// Claim tells one claim from another.
	Claim uint64
}

// Alerts are the alerts of a federation and the outbox of what is told of
// them: a queue per webhook, of which the first is sent before the second.
type Alerts interface {
	// State returns the state. Without one it is zero, and no error.
	State(ctx context.Context) (AlertState, error)
	// Revision returns the state's revision alone, 0 without a state. It costs
	// the same however large the state is.
	Revision(ctx context.Context) (uint64, error)
	// Commit stores the state that follows the one of its revision, and adds
	// deliveries at the end of their queues, in one step; [ErrConflict] when
	// the state has another revision by now. It returns the state with its new
	// revision, and how many older deliveries made room. Of a delivery the
	// webhook, key and body count.
	Commit(ctx context.Context, state AlertState, deliveries []Delivery) (AlertState, int, error)
	// Claim takes the first delivery of a queue for a while: until that is over
	// or it is postponed nobody else gets it, and none after it. [ErrNotFound]
	// when there is none, or it is taken or postponed.
	Claim(ctx context.Context, webhook string, ttl time.Duration) (Delivery, error)
	// Finish takes a claimed delivery out of its queue; [ErrConflict] when it
	// was claimed by another since, or made room.
	Finish(ctx context.Context, delivery Delivery) error
	// Postpone gives a claimed delivery back, to be claimed again after a while;
	// [ErrConflict] as for Finish.
	Postpone(ctx context.Context, delivery Delivery, wait time.Duration) error
	// Pending counts the deliveries that wait in a queue.
	Pending(ctx context.Context, webhook string) (int, error)
}
