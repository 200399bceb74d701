package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

func nodes(t *testing.T, b Backend) {
	ctx, n := t.Context(), open(t, b).Nodes()
	_, err := n.Get(ctx, "shop")
	fails(t, err, store.ErrNotFound)
	fails(t, n.Delete(ctx, "shop", 0), store.ErrNotFound)
	_, err = n.Put(ctx, store.NodeRecord{Slug: "shop", Revision: 3})
	fails(t, err, store.ErrConflict)

	made := must[store.NodeRecord](t)(n.Put(ctx, store.NodeRecord{Slug: "shop", Data: []byte(`{"url":"http://a"}`)}))
	if made.ID < 1 || made.Revision != 1 || made.Updated.IsZero() {
		t.Fatalf("made %+v", made)
	}
	_, err = n.Put(ctx, store.NodeRecord{Slug: "shop"})
	fails(t, err, store.ErrExists)
	must[store.NodeRecord](t)(n.Put(ctx, store.NodeRecord{Slug: "a-first"}))
	list := must[[]store.NodeRecord](t)(n.List(ctx))
	if len(list) != 2 || list[0].Slug != "a-first" || string(list[1].Data) != `{"url":"http://a"}` {
		t.Fatalf("list is %+v", list)
	}
	// of a hundred who change one revision, one does
	if won := together(t, 100, store.ErrConflict, func(i int) error {
		_, err := n.Put(ctx, store.NodeRecord{Slug: "shop", ID: made.ID, Revision: 1, Data: fmt.Append(nil, i)})
		return err
	}); won != 1 {
		t.Fatalf("%d changed one revision", won)
	}
	changed := must[store.NodeRecord](t)(n.Get(ctx, "shop"))
	if changed.Revision != 2 || changed.ID != made.ID {
		t.Fatalf("changed %+v", changed)
	}
	_, err = n.Put(ctx, store.NodeRecord{Slug: "shop", ID: made.ID + 1, Revision: 2})
	fails(t, err, store.ErrConflict) // the number of another
	fails(t, n.Delete(ctx, "shop", 1), store.ErrConflict)
	ok(t, n.Delete(ctx, "shop", 2))
	again := must[store.NodeRecord](t)(n.Put(ctx, store.NodeRecord{Slug: "shop"}))
	if again.ID == made.ID || again.Revision != 1 {
		t.Fatalf("a new node has the old one's id: %+v", again)
	}
	// another node may also take the place of a record at once
	other := must[store.NodeRecord](t)(n.Put(ctx, store.NodeRecord{Slug: "shop", Revision: 1}))
	if other.ID == again.ID || other.ID == made.ID || other.Revision != 2 {
		t.Fatalf("the other node is %+v, after %+v", other, again)
	}
	if id := must[int64](t)(n.ID(ctx, "shop")); id != other.ID {
		t.Fatalf("the id is %d, expected %d", id, other.ID)
	}
	_, err = n.ID(ctx, "unknown")
	fails(t, err, store.ErrNotFound)
}

func nodeIDs(t *testing.T, b Backend) {
	ctx, n := t.Context(), open(t, b).Nodes()
	var mu sync.Mutex
	seen := make(map[string]int64)
	together(t, 50, nil, func(i int) error {
		ids, err := n.AssignIDs(ctx, []string{"b", "a", fmt.Sprintf("n%d", i)})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for slug, id := range ids {
			if known, stands := seen[slug]; stands && known != id || id < 1 {
				return fmt.Errorf("%s is %d and %d", slug, known, id)
			}
			seen[slug] = id
		}
		return nil
	})
	used := make(map[int64]bool)
	for slug, id := range seen {
		if used[id] {
			t.Errorf("%s shares its id", slug)
		}
		used[id] = true
	}
	if len(seen) != 52 {
		t.Errorf("%d slugs have ids", len(seen))
	}
	registered := must[store.NodeRecord](t)(n.Put(ctx, store.NodeRecord{Slug: "a", ID: seen["a"]}))
	if registered.ID != seen["a"] {
		t.Errorf("a had the id %d and was registered as %d", seen["a"], registered.ID)
	}
	// a slug with an id and no record
	if id := must[int64](t)(n.ID(ctx, "b")); id != seen["b"] {
		t.Errorf("the id of b is %d, expected %d", id, seen["b"])
	}
	fails(t, n.Delete(ctx, "b", 1), store.ErrNotFound)
	ok(t, n.Delete(ctx, "b", 0))
	fails(t, n.Delete(ctx, "b", 0), store.ErrNotFound)
	if ids := must[map[string]int64](t)(n.AssignIDs(ctx, []string{"b", "n1"})); used[ids["b"]] || ids["n1"] != seen["n1"] {
		t.Errorf("after its deletion b has the id %d, n1 %d", ids["b"], ids["n1"])
	}
	// another node of the name gets another number
	if taken := must[store.NodeRecord](t)(n.Put(ctx, store.NodeRecord{Slug: "n2"})); used[taken.ID] {
		t.Errorf("n2 was %d and registered as %d", seen["n2"], taken.ID)
	}
}

func restoredNodes(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	n := s.Nodes()
	updated := now(t, s).Add(-time.Hour)
	ids := map[string]int64{"fixed": 3, "shop": 7, "gone": 9}
	records := []store.NodeRecord{{Slug: "shop", ID: 7, Revision: 4, Updated: updated, Data: []byte("{}")}}
	fails(t, n.Restore(ctx, nil, records), store.ErrNotFound)
	// of many who saw the same, one restores it
	if won := together(t, 30, store.ErrExists, func(int) error { return n.Restore(ctx, ids, records) }); won != 1 {
		t.Fatalf("%d restored one store", won)
	}
	list := must[[]store.NodeRecord](t)(n.List(ctx))
	if len(list) != 1 || list[0].ID != 7 || list[0].Revision != 4 || !list[0].Updated.Equal(updated) || string(list[0].Data) != "{}" {
		t.Fatalf("list is %+v", list)
	}
	again := must[map[string]int64](t)(n.AssignIDs(ctx, []string{"fixed", "shop", "gone", "new"}))
	if again["fixed"] != 3 || again["shop"] != 7 || again["gone"] != 9 || again["new"] != 10 {
		t.Fatalf("ids are %v", again)
	}
	changed := must[store.NodeRecord](t)(n.Put(ctx, store.NodeRecord{Slug: "shop", ID: 7, Revision: 4}))
	if changed.ID != 7 || changed.Revision != 5 {
		t.Fatalf("changed %+v", changed)
	}
	ok(t, n.Delete(ctx, "shop", 0))
	fails(t, n.Restore(ctx, ids, records), store.ErrExists) // it was emptied by its users
}

func watch(t *testing.T, b Backend) {
	s := open(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	changes := must[<-chan struct{}](t)(s.Nodes().Watch(ctx))
	select {
	case <-changes:
		t.Fatal("told of a change that was none")
	default:
	}
	for i := range 10 {
		must[store.NodeRecord](t)(s.Nodes().Put(ctx, store.NodeRecord{Slug: fmt.Sprint("n", i)}))
	}
	receive(t, changes)
	cancel()
	for range changes { // closes, perhaps after one more
	}
	if _, err := s.Nodes().Watch(ctx); err == nil {
		t.Error("watched with a context that had ended")
	}

	for name, start := range map[string]func(context.Context) (<-chan struct{}, error){
		"tokens": s.Tokens().Watch, "breakers": s.Breakers().Watch, "events": s.Events().Watch,
	} {
		changes := must[<-chan struct{}](t)(start(t.Context()))
		switch name {
		case "tokens":
			ok(t, s.Tokens().Revoke(t.Context(), store.Revocation{Subject: "jti:1", Until: now(t, s).Add(time.Hour)}))
		case "breakers":
			must[store.BreakerRecord](t)(s.Breakers().Transition(t.Context(), store.BreakerRecord{Node: "a", State: "open"}))
		default:
			must[store.Event](t)(s.Events().Append(t.Context(), store.Event{Kind: "node_down"}))
		}
		receive(t, changes)
	}
}

func receive(t *testing.T, changes <-chan struct{}) {
	t.Helper()
	select {
	case _, open := <-changes:
		if !open {
			t.Fatal("the watch was closed")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("not told of a change within 5s")
	}
}

func now(t *testing.T, s store.Store) time.Time {
	t.Helper()
	return must[time.Time](t)(s.Now(t.Context()))
}

func requests(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	r := s.Requests()
	if got := must[[]store.RequestRecord](t)(r.Last(ctx, "shop", 10)); len(got) != 0 {
		t.Fatalf("an empty log has %v", got)
	}
	start := now(t, s).Truncate(time.Millisecond)
	var batch []store.RequestRecord
	for i := range store.MaxRequests + 234 {
		batch = append(batch, store.RequestRecord{Node: "shop", Time: start.Add(time.Duration(i) * time.Millisecond), Kind: "search",
			TraceID: fmt.Sprint(i), Status: 200, Outcome: "ok", Duration: time.Duration(i) * time.Microsecond})
	}
	ok(t, r.Append(ctx, batch[:100]))
	ok(t, r.Append(ctx, batch[100:]))
	ok(t, r.Append(ctx, []store.RequestRecord{{Node: "shop-2", Time: start, Kind: "probe"}}))
	last := must[[]store.RequestRecord](t)(r.Last(ctx, "shop", 5000))
	if len(last) != store.MaxRequests || last[0].TraceID != fmt.Sprint(store.MaxRequests+233) || last[0].Duration != (store.MaxRequests+233)*time.Microsecond {
		t.Fatalf("%d lines, the newest %+v", len(last), last[0])
	}
	if last[len(last)-1].TraceID != "234" || !last[0].Time.Equal(batch[len(batch)-1].Time) {
		t.Fatalf("the oldest is %+v", last[len(last)-1])
	}
	all := must[[]store.RequestRecord](t)(r.Last(ctx, "", 5000))
	if len(all) != store.MaxRequests+1 || all[len(all)-1].Node != "shop-2" {
		t.Fatalf("all are %d", len(all))
	}
	if two := must[[]store.RequestRecord](t)(r.Last(ctx, "shop", 2)); len(two) != 2 {
		t.Fatalf("two are %d", len(two))
	}
	ok(t, r.DeleteNode(ctx, "shop"))
	if left := must[[]store.RequestRecord](t)(r.Last(ctx, "", 10)); len(left) != 1 {
		t.Fatalf("after deleting there are %v", left)
	}
}
