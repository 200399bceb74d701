package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// fickle is a store on a network that fails while down is set.
type fickle struct {
	store.Store
	down *atomic.Bool
}

func (f fickle) fault() error {
	if f.down.Load() {
		return fmt.Errorf("%w: somebody pulled the plug", store.ErrUnavailable)
	}
	return nil
}

func (f fickle) Ping(context.Context) error { return f.fault() }
func (f fickle) Shared() bool               { return true }
func (f fickle) Nodes() store.Nodes         { return fickleNodes{f.Store.Nodes(), f} }

func (f fickle) Identity(ctx context.Context) (string, error) {
	if err := f.fault(); err != nil {
		return "", err
	}
	return f.Store.Identity(ctx)
}

type fickleNodes struct {
	store.Nodes
	fickle fickle
}

func (n fickleNodes) AssignIDs(ctx context.Context, slugs []string) (map[string]int64, error) {
	if err := n.fickle.fault(); err != nil {
		return nil, err
	}
	return n.Nodes.AssignIDs(ctx, slugs)
}

func TestTheFederationStartsWithoutItsStoreAndFindsItLater(t *testing.T) {
	f := run(t, "")
	f.halt()
	f.put("registered", `{"url":"http://127.0.0.1:2"}`)
	identity, err := f.store.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		f.through = func(s store.Store) store.Store { return fickle{s, &down} }
		if err := f.reload("health off\nnode fixed http://127.0.0.1:1", nil); err != nil {
			t.Fatal(err)
		}
		defer f.halt()
		if f.node("fixed") == nil || f.app.Snapshot().Node("registered") != nil {
			t.Fatal("without the store there are the nodes of the file alone")
		}
		state := f.app.StoreState()
		if state.Usable || !state.Shared || state.Error == "" || state.Modes["nodes"] != "as last read" {
			t.Fatalf("state is %+v", state)
		}
		temporary := f.app.Identity()
		if len(temporary) != 32 || temporary == identity {
			t.Fatalf("identity is %q", temporary)
		}
		lostAt := state.Since
		time.Sleep(20 * time.Second)
		if state = f.app.StoreState(); state.Usable || !state.Since.Equal(lostAt) {
			t.Fatalf("state is %+v", state)
		}
		down.Store(false)
		time.Sleep(registryRetry + time.Second)
		synctest.Wait()
		if state = f.app.StoreState(); !state.Usable || state.Error != "" || !state.Since.After(lostAt) {
			t.Fatalf("state is %+v", state)
		}
		if f.app.Identity() != identity {
			t.Errorf("identity is %s, expected %s", f.app.Identity(), identity)
		}
		if f.node("registered").ID < 1 || f.node("fixed").ID < 1 {
			t.Error("the nodes have no numbers")
		}
		for message, times := range map[string]int{
			"store lost: features go on as they declare": 1, "store is back": 1, "the registry is read again": 1,
		} {
			if got := f.said.FilterMessage(message).Len(); got != times {
				t.Errorf("%q was logged %d times, expected %d", message, got, times)
			}
		}
		var kinds []string
		events, err := f.store.Events().Since(t.Context(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range events {
			kinds = append(kinds, event.Kind)
		}
		if fmt.Sprint(kinds) != "[store_down store_up]" {
			t.Errorf("events are %v", kinds)
		}
	})
}

func TestABrokenStoreStillStopsTheStart(t *testing.T) {
	f := run(t, "")
	f.halt()
	broken := errors.New("broken")
	f.through = func(s store.Store) store.Store { return brokenStore{s, broken} }
	if err := f.reload("node fixed http://127.0.0.1:1", nil); !errors.Is(err, broken) {
		t.Fatalf("error is %v, expected %v", err, broken)
	}
}

type brokenStore struct {
	store.Store
	err error
}

func (b brokenStore) Nodes() store.Nodes { return brokenNodes{b.Store.Nodes(), b.err} }

type brokenNodes struct {
	store.Nodes
	err error
}

func (b brokenNodes) AssignIDs(context.Context, []string) (map[string]int64, error) {
	return nil, b.err
}
