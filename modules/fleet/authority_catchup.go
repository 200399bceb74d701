package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// What another gateway wrote a moment ago may not be known here yet. Before a
// credential is refused for what is not known, the store is read.

const (
	// catchUpTimeout bounds one reading, and how long a request waits for it.
	catchUpTimeout = time.Second
	// catchUpPause is between two readings: there are at most ten a second,
	// whatever is shown to this gateway.
	catchUpPause = 100 * time.Millisecond
)

// catchUp is the reading that requests wait for together.
type catchUp struct {
	wake  chan struct{}
	ended <-chan struct{} // from Start on

	mu   sync.Mutex
	next *reading // that has not begun; nil: nobody waits for one
}

type reading struct {
	done chan struct{}
	err  error // once done
}

// caughtUp waits until everything that the store had at the call is known here.
// It needs a federation that was started.
func (t *authority) caughtUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	t.behind.mu.Lock()
	next := t.behind.next
	if next == nil { // one that runs may have read too early
		next = &reading{done: make(chan struct{})}
		t.behind.next = next
		t.behind.wake <- struct{}{} // has room: it was taken before next was
	}
	t.behind.mu.Unlock()
	select {
	case <-next.done:
		return next.err
	case <-ctx.Done():
		return ctx.Err()
	case <-t.behind.ended:
		return context.Canceled
	}
}

// keepUp reads the store when somebody waits for it, until ctx ends.
func (t *authority) keepUp(ctx context.Context, opened store.Store) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.behind.wake:
		}
		t.behind.mu.Lock()
		next := t.behind.next
		t.behind.next = nil
		t.behind.mu.Unlock()

		start := time.Now()
		next.err = t.readAll(ctx, opened)
		close(next.done)
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(catchUpPause, min(readingShare*time.Since(start), catchUpTimeout))):
		}
	}
}

func (t *authority) readAll(ctx context.Context, opened store.Store) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if err := t.read(ctx, opened.Tokens()); err != nil {
		return err
	}
	return t.app.registry.read(ctx, opened.Nodes())
}

// mayBeNew tells whether the unknown node of a good token may be one that
// another gateway made since the snapshot. One of a lower number than the name
// has is a former one.
func (t *authority) mayBeNew(good *goodToken, snapshot *Snapshot) bool {
	if good.sought.Load() {
		return false
	}
	if node := snapshot.Node(good.claims.Slug); node != nil && good.claims.SubjectID < node.ID {
		return false
	}
	opened := t.app.Store()
	return opened != nil && opened.Shared()
}
