package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

func alertState(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	a := s.Alerts()
	if state := must[store.AlertState](t)(a.State(ctx)); state.Revision != 0 || len(state.Data) != 0 {
		t.Fatalf("an empty store has %+v", state)
	}
	revised := func(expected uint64) {
		t.Helper()
		if revision := must[uint64](t)(a.Revision(ctx)); revision != expected {
			t.Fatalf("the revision is %d, expected %d", revision, expected)
		}
	}
	revised(0)
	// thirty gateways see one thing: it is told of once
	if won := together(t, 30, store.ErrConflict, func(i int) error {
		state := store.AlertState{Data: fmt.Append(nil, `{"n":`, i, `}`)}
		_, _, err := a.Commit(ctx, state, []store.Delivery{{Webhook: "w", Key: fmt.Sprint("k", i), Body: []byte("b")}})
		return err
	}); won != 1 {
		t.Fatalf("%d changed one state", won)
	}
	state := must[store.AlertState](t)(a.State(ctx))
	if state.Revision != 1 {
		t.Fatalf("state is %+v", state)
	}
	revised(1)
	if n := must[int](t)(a.Pending(ctx, "w")); n != 1 {
		t.Fatalf("%d deliveries wait", n)
	}
	state.Data = []byte("{}")
	next, dropped, err := a.Commit(ctx, state, nil)
	if ok(t, err); next.Revision != 2 || dropped != 0 {
		t.Fatalf("next is %+v, %d made room", next, dropped)
	}
	_, _, err = a.Commit(ctx, next, []store.Delivery{{Webhook: "w", Key: "k", Body: make([]byte, store.MaxValue+1)}})
	fails(t, err, store.ErrTooLarge)
	if again := must[store.AlertState](t)(a.State(ctx)); again.Revision != 2 || string(again.Data) != "{}" {
		t.Fatalf("a refused commit left %+v", again)
	}
	revised(2)
}

func enqueue(t *testing.T, s store.Store, webhook string, keys ...string) (dropped int) {
	t.Helper()
	state := must[store.AlertState](t)(s.Alerts().State(t.Context()))
	state.Data = []byte("{}")
	var added []store.Delivery
	for _, key := range keys {
		added = append(added, store.Delivery{Webhook: webhook, Key: key, Body: []byte("body of\n" + key)})
	}
	_, dropped, err := s.Alerts().Commit(t.Context(), state, added)
	ok(t, err)
	return dropped
}

func deliveries(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	a := s.Alerts()
	_, err := a.Claim(ctx, "w", time.Minute)
	fails(t, err, store.ErrNotFound)
	enqueue(t, s, "w", "one", "two", "three")
	enqueue(t, s, "wider", "other")
	claim := func(key string, attempts int) store.Delivery {
		t.Helper()
		d := must[store.Delivery](t)(a.Claim(ctx, "w", time.Minute))
		if d.Key != key || string(d.Body) != "body of\n"+key || d.Webhook != "w" || d.Attempts != attempts || d.Created.IsZero() || d.Sequence == 0 {
			t.Fatalf("claimed %+v, expected %s for the %d. time", d, key, attempts)
		}
		return d
	}
	if won := together(t, 30, store.ErrNotFound, func(int) error {
		_, err := a.Claim(ctx, "w", time.Minute)
		return err
	}); won != 1 {
		t.Fatalf("%d claimed one delivery", won)
	}
	b.Advance(2 * time.Minute) // who claimed it died
	late := claim("one", 2)
	_, err = a.Claim(ctx, "w", time.Minute)
	fails(t, err, store.ErrNotFound) // and none is sent before it
	b.Advance(2 * time.Minute)
	first := claim("one", 3)
	fails(t, a.Finish(ctx, late), store.ErrConflict)
	fails(t, a.Postpone(ctx, late, time.Second), store.ErrConflict)
	ok(t, a.Postpone(ctx, first, time.Hour))
	_, err = a.Claim(ctx, "w", time.Minute)
	fails(t, err, store.ErrNotFound)
	b.Advance(2 * time.Hour)
	first = claim("one", 4)
	ok(t, a.Finish(ctx, first))
	fails(t, a.Finish(ctx, first), store.ErrConflict)
	two := claim("two", 1)
	b.Advance(2 * time.Minute)
	ok(t, a.Finish(ctx, two)) // late, and nobody else had it
	claim("three", 1)
	if n := must[int](t)(a.Pending(ctx, "w")) + must[int](t)(a.Pending(ctx, "wider")); n != 2 {
		t.Fatalf("%d deliveries wait", n)
	}
	b.Advance(store.DeliveryTTL)
	_, err = a.Claim(ctx, "w", time.Minute)
	fails(t, err, store.ErrNotFound)
	sweep(t, b, s)
	if n := must[int](t)(a.Pending(ctx, "w")); n != 0 {
		t.Fatalf("%d deliveries wait after their time", n)
	}
}

func fullQueue(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	a := s.Alerts()
	keys := make([]string, store.MaxDeliveries)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	if dropped := enqueue(t, s, "w", keys...); dropped != 0 {
		t.Fatalf("%d made room", dropped)
	}
	gone := must[store.Delivery](t)(a.Claim(ctx, "w", time.Minute))
	if dropped := enqueue(t, s, "w", "last", "very last"); dropped != 2 {
		t.Fatalf("%d made room", dropped)
	}
	if n := must[int](t)(a.Pending(ctx, "w")); n != store.MaxDeliveries {
		t.Fatalf("%d deliveries wait", n)
	}
	fails(t, a.Finish(ctx, gone), store.ErrConflict)
	// what comes next is new, and in order
	next := must[store.Delivery](t)(a.Claim(ctx, "w", time.Minute))
	if next.Key != "k2" || next.Attempts != 1 {
		t.Fatalf("next is %+v", next)
	}
	ok(t, a.Finish(ctx, next))
	last := ""
	for {
		d, err := a.Claim(ctx, "w", time.Minute)
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		ok(t, err)
		last = d.Key
		ok(t, a.Finish(ctx, d))
	}
	if last != "very last" {
		t.Fatalf("the last is %s", last)
	}
}
