// Package storetest is the conformance suite that every backend of the store
// passes.
package storetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// Backend is how the suite gets at a store.
type Backend struct {
	// Open returns an empty store; the suite closes it.
	Open func(t *testing.T) store.Store
	// Reopen returns the store that was opened last and then closed, with what
	// it kept. Nil for a backend that keeps nothing.
	Reopen func(t *testing.T) store.Store
	// Advance moves the store's clock.
	Advance func(time.Duration)
	// Sweep gives expired records back at once. Nil where the server does it.
	Sweep func(store.Store) error
	// Shared is whether the data is open to other processes.
	Shared bool
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	for name, test := range map[string]func(*testing.T, Backend){
		"nodes": nodes, "node ids": nodeIDs, "watch": watch, "requests": requests, "refresh tokens": refreshTokens,
		"api keys": apiKeys, "revocations": revocations, "granted after revocation": grantedAfterRevocation, "limits": limits, "breakers": breakers, "cache": cache,
		"journal": journal, "leases": leases, "events": events, "restart": restart, "closed": closed, "identity": identity,
		"large values": largeValues, "presented tokens": presentedTokens, "members": members, "shared": shared,
		"restored nodes": restoredNodes, "alerts": alertState, "deliveries": deliveries, "a full queue": fullQueue,
	} {
		t.Run(name, func(t *testing.T) { test(t, b) })
	}
}

func open(t *testing.T, b Backend) store.Store {
	t.Helper()
	s := b.Open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fails(t *testing.T, err, expected error) {
	t.Helper()
	if !errors.Is(err, expected) {
		t.Fatalf("error is %v, expected %v", err, expected)
	}
}

// together runs work in many goroutines and counts those without error; every
// other error must be the expected one.
func together(t *testing.T, n int, expected error, work func(i int) error) int {
	t.Helper()
	var won atomic.Int32
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			switch err := work(i); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, expected):
				t.Errorf("error is %v, expected %v", err, expected)
			}
		})
	}
	group.Wait()
	return int(won.Load())
}

func restart(t *testing.T, b Backend) {
	if b.Reopen == nil {
		return // memory keeps nothing, as its documentation says
	}
	ctx, s := t.Context(), b.Open(t)
	id := must[string](t)(s.Identity(ctx))
	made := must[store.NodeRecord](t)(s.Nodes().Put(ctx, store.NodeRecord{Slug: "shop", Data: []byte("{}")}))
	ids := must[map[string]int64](t)(s.Nodes().AssignIDs(ctx, []string{"fixed"}))
	must[store.BreakerRecord](t)(s.Breakers().Transition(ctx, store.BreakerRecord{Node: "shop", State: "open"}))
	ok(t, s.Requests().Append(ctx, []store.RequestRecord{{Node: "shop", Kind: "search"}}))
	_, _, err := s.Alerts().Commit(ctx, store.AlertState{Data: []byte("{}")}, []store.Delivery{{Webhook: "w", Key: "k", Body: []byte("b")}})
	ok(t, err)
	ok(t, s.Close())
	s = b.Reopen(t)
	defer func() { ok(t, s.Close()) }()
	if again := must[string](t)(s.Identity(ctx)); again != id {
		t.Errorf("identity was %s and is %s", id, again)
	}
	if again := must[store.NodeRecord](t)(s.Nodes().Get(ctx, "shop")); again.ID != made.ID || again.Revision != 1 {
		t.Errorf("node was %+v and is %+v", made, again)
	}
	if again := must[map[string]int64](t)(s.Nodes().AssignIDs(ctx, []string{"fixed"})); again["fixed"] != ids["fixed"] {
		t.Errorf("ids were %v and are %v", ids, again)
	}
	if list := must[[]store.BreakerRecord](t)(s.Breakers().List(ctx)); len(list) != 1 || list[0].State != "open" {
		t.Errorf("breakers are %+v", list)
	}
	if last := must[[]store.RequestRecord](t)(s.Requests().Last(ctx, "shop", 1)); len(last) != 1 {
		t.Error("the request log is lost")
	}
	if state := must[store.AlertState](t)(s.Alerts().State(ctx)); state.Revision != 1 || string(state.Data) != "{}" {
		t.Errorf("the alerts are %+v", state)
	}
	if d := must[store.Delivery](t)(s.Alerts().Claim(ctx, "w", time.Minute)); d.Key != "k" || string(d.Body) != "b" {
		t.Errorf("the delivery is %+v", d)
	}
}

func closed(t *testing.T, b Backend) {
	ctx, s := t.Context(), b.Open(t)
	ok(t, s.Ping(ctx))
	changes := must[<-chan struct{}](t)(s.Nodes().Watch(ctx))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Nodes().List(cancelled)
	fails(t, err, context.Canceled)
	ok(t, s.Close())
	for range changes { // a watch ends with the store
	}
	ok(t, s.Close()) // closing twice is harmless
	_, err = s.Nodes().List(ctx)
	fails(t, err, store.ErrClosed)
	fails(t, s.Ping(ctx), store.ErrClosed)
	_, err = s.Nodes().Watch(ctx)
	fails(t, err, store.ErrClosed)
}

func shared(t *testing.T, b Backend) {
	if got := open(t, b).Shared(); got != b.Shared {
		t.Errorf("shared is %v, expected %v", got, b.Shared)
	}
}

func identity(t *testing.T, b Backend) {
	s := open(t, b)
	id := must[string](t)(s.Identity(t.Context()))
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("identity is %q", id)
	}
}

func largeValues(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	long := strings.Repeat("x", store.MaxKey+1)
	_, err := s.Nodes().Put(ctx, store.NodeRecord{Slug: long})
	fails(t, err, store.ErrTooLarge)
	fails(t, s.Cache().Put(ctx, store.CacheEntry{Key: "k", Value: make([]byte, store.MaxValue+1)}, time.Minute), store.ErrTooLarge)
	if _, err := s.Nodes().Put(ctx, store.NodeRecord{}); err == nil {
		t.Error("a node without a name was stored")
	}
	if list := must[[]store.NodeRecord](t)(s.Nodes().List(ctx)); len(list) != 0 {
		t.Errorf("a refused record was stored: %v", list)
	}
}
