package fleet

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// lostEvents is a store's events that cannot be written while lost is set.
type lostEvents struct {
	store.Events
	lost atomic.Bool
}

func (l *lostEvents) Append(ctx context.Context, event store.Event) (store.Event, error) {
	if l.lost.Load() {
		return store.Event{}, errors.New("the store is gone")
	}
	return l.Events.Append(ctx, event)
}

func TestEventsWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := run(t, "")
		events := &lostEvents{Events: f.store.Events()}
		events.lost.Store(true)
		app := &App{shared: &shared{events: newEventQueue()}, raised: newEventQueue(), logger: zap.NewNop()}
		for range eventQueueLimit + 1 {
			app.Emit("node_down", "shop", map[string]any{"reason": "refused"})
		}
		app.Emit("node_up", "", nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { app.storeEvents(ctx, events); close(done) }()
		synctest.Wait()
		if stored, _ := f.store.Events().Since(t.Context(), 0, 10); len(stored) != 0 {
			t.Fatalf("stored %v in a store that is gone", stored)
		}
		events.lost.Store(false)
		<-time.After(2 * eventRetry)
		synctest.Wait()
		stored, err := f.store.Events().Since(t.Context(), 0, 2*eventQueueLimit)
		if err != nil || len(stored) != eventQueueLimit {
			t.Fatalf("%d events are stored, expected %d: %v", len(stored), eventQueueLimit, err)
		}
		if first := stored[0]; first.Kind != "node_down" || first.Node != "shop" || string(first.Data) != `{"reason":"refused"}` {
			t.Errorf("the first is %+v", first)
		}
		if last := stored[len(stored)-1]; last.Kind != "node_up" || string(last.Data) != "{}" {
			t.Errorf("the last is %+v", last)
		}
		cancel()
		<-done
	})
}
