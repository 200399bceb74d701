// Package storetest is the conformance suite that every backend of the store
// passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
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
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	for name, test := range map[string]func(*testing.T, Backend){
		"nodes": nodes, "node ids": nodeIDs, "watch": watch, "requests": requests, "refresh tokens": refreshTokens,
		"api keys": apiKeys, "revocations": revocations, "limits": limits, "breakers": breakers, "cache": cache,
		"journal": journal, "leases": leases, "events": events, "restart": restart, "closed": closed, "identity": identity,
		"large values": largeValues,
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
		_, err := n.Put(ctx, store.NodeRecord{Slug: "shop", Revision: 1, Data: fmt.Append(nil, i)})
		return err
	}); won != 1 {
		t.Fatalf("%d changed one revision", won)
	}
	changed := must[store.NodeRecord](t)(n.Get(ctx, "shop"))
	if changed.Revision != 2 || changed.ID != made.ID {
		t.Fatalf("changed %+v", changed)
	}
	fails(t, n.Delete(ctx, "shop", 1), store.ErrConflict)
	ok(t, n.Delete(ctx, "shop", 2))
	again := must[store.NodeRecord](t)(n.Put(ctx, store.NodeRecord{Slug: "shop"}))
	if again.ID == made.ID || again.Revision != 1 {
		t.Fatalf("a new node has the old one's id: %+v", again)
	}
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
	registered := must[store.NodeRecord](t)(n.Put(ctx, store.NodeRecord{Slug: "a"}))
	if registered.ID != seen["a"] {
		t.Errorf("a had the id %d and was registered as %d", seen["a"], registered.ID)
	}
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

func refreshTokens(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	k := s.Tokens()
	end := now(t, s).Add(time.Hour)
	issue := store.RefreshToken{Hash: "h0", Family: "f", Node: "shop", Expires: end}
	ok(t, k.Issue(ctx, issue))
	fails(t, k.Issue(ctx, issue), store.ErrExists)
	_, err := k.Rotate(ctx, store.Rotation{Presented: "unknown", Successor: "x", Expires: end})
	fails(t, err, store.ErrNotFound)

	// a hundred at once: one successor, the same for all
	var mu sync.Mutex
	successors, repeated := make(map[string]int), 0
	together(t, 100, nil, func(i int) error {
		hash := fmt.Sprint("h1-", i)
		got, err := k.Rotate(ctx, store.Rotation{Presented: "h0", Successor: hash, Expires: end, Reply: []byte(hash), Grace: time.Minute})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		successors[got.Token.Hash]++
		if got.Repeated {
			repeated++
		}
		if string(got.Reply) != got.Token.Hash || got.Token.Generation != 1 || got.Token.Node != "shop" || got.Replayed {
			return fmt.Errorf("got %+v", got)
		}
		return nil
	})
	if len(successors) != 1 || repeated != 99 {
		t.Fatalf("%d successors, %d repeated", len(successors), repeated)
	}
	var second string
	for second = range successors {
	}
	must[store.Rotated](t)(k.Rotate(ctx, store.Rotation{Presented: second, Successor: "h2", Expires: end, Grace: time.Minute}))
	b.Advance(2 * time.Minute)
	replay := must[store.Rotated](t)(k.Rotate(ctx, store.Rotation{Presented: "h0", Successor: "h9", Expires: end, Grace: time.Minute}))
	if !replay.Replayed || replay.Token.Hash != "" {
		t.Fatalf("after the grace: %+v", replay)
	}
	_, err = k.Rotate(ctx, store.Rotation{Presented: "h2", Successor: "h3", Expires: end, Grace: time.Minute})
	fails(t, err, store.ErrNotFound) // the family is dead

	ok(t, k.Issue(ctx, store.RefreshToken{Hash: "g0", Family: "g", Node: "shop", Expires: end}))
	ok(t, k.RevokeFamily(ctx, "g"))
	_, err = k.Rotate(ctx, store.Rotation{Presented: "g0", Successor: "g1", Expires: end})
	fails(t, err, store.ErrNotFound)
	ok(t, k.Issue(ctx, store.RefreshToken{Hash: "e0", Family: "e", Node: "shop", Expires: now(t, s).Add(time.Second)}))
	b.Advance(2 * time.Second)
	_, err = k.Rotate(ctx, store.Rotation{Presented: "e0", Successor: "e1", Expires: end})
	fails(t, err, store.ErrNotFound)
	sweep(t, b, s)
	ok(t, k.Issue(ctx, store.RefreshToken{Hash: "e0", Family: "e", Node: "shop", Expires: end})) // swept
}

func sweep(t *testing.T, b Backend, s store.Store) {
	t.Helper()
	if b.Sweep != nil {
		ok(t, b.Sweep(s))
	}
}

func apiKeys(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	k := s.Tokens()
	ok(t, k.PutKey(ctx, store.APIKey{Hash: "x1", ID: "b", Node: "shop", Data: []byte("{}")}))
	ok(t, k.PutKey(ctx, store.APIKey{Hash: "x2", ID: "a", Node: "docs", Expires: now(t, s).Add(time.Minute)}))
	fails(t, k.PutKey(ctx, store.APIKey{Hash: "x1", ID: "c"}), store.ErrExists)
	if key := must[store.APIKey](t)(k.Key(ctx, "x1")); key.ID != "b" || string(key.Data) != "{}" {
		t.Fatalf("key is %+v", key)
	}
	if all := must[[]store.APIKey](t)(k.Keys(ctx, "")); len(all) != 2 || all[0].ID != "a" {
		t.Fatalf("keys are %+v", all)
	}
	if some := must[[]store.APIKey](t)(k.Keys(ctx, "shop")); len(some) != 1 {
		t.Fatalf("keys are %+v", some)
	}
	b.Advance(2 * time.Minute)
	_, err := k.Key(ctx, "x2")
	fails(t, err, store.ErrNotFound)
	ok(t, k.DeleteKey(ctx, "x1"))
	fails(t, k.DeleteKey(ctx, "x1"), store.ErrNotFound)
}

func revocations(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	k := s.Tokens()
	end := now(t, s).Add(time.Hour)
	ok(t, k.Revoke(ctx, store.Revocation{Subject: "jti:1", At: now(t, s), Until: now(t, s).Add(time.Minute)}))
	ok(t, k.Issue(ctx, store.RefreshToken{Hash: "h", Family: "f", Node: "shop", Expires: end}))
	ok(t, k.Issue(ctx, store.RefreshToken{Hash: "o", Family: "of", Node: "other", Expires: end}))
	ok(t, k.PutKey(ctx, store.APIKey{Hash: "x", ID: "x", Node: "shop"}))
	ok(t, k.RevokeNode(ctx, "shop", end))
	_, err := k.Rotate(ctx, store.Rotation{Presented: "h", Successor: "h1", Expires: end})
	fails(t, err, store.ErrNotFound)
	_, err = k.Key(ctx, "x")
	fails(t, err, store.ErrNotFound)
	must[store.Rotated](t)(k.Rotate(ctx, store.Rotation{Presented: "o", Successor: "o1", Expires: end}))
	list := must[[]store.Revocation](t)(k.Revocations(ctx))
	if len(list) != 2 || list[1].Subject != "node:shop" || list[1].At.IsZero() {
		t.Fatalf("revocations are %+v", list)
	}
	b.Advance(2 * time.Minute)
	if list = must[[]store.Revocation](t)(k.Revocations(ctx)); len(list) != 1 {
		t.Fatalf("an old revocation is left: %+v", list)
	}
}

func limits(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	l := s.Limits()
	hundred := store.LimitPolicy{Key: "k", Emission: time.Second, Burst: 100, Cost: 1}
	var passed atomic.Int32
	together(t, 50, nil, func(int) error {
		for range 8 {
			allowed, _, err := l.Take(ctx, []store.LimitPolicy{hundred})
			if err != nil {
				return err
			}
			if allowed {
				passed.Add(1)
			}
		}
		return nil
	})
	if n := passed.Load(); n < 100 || n > 101 && b.Advance == nil {
		t.Fatalf("%d of 400 passed a limit of 100", n)
	}
	_, states, err := l.Take(ctx, []store.LimitPolicy{hundred})
	ok(t, err)
	if states[0].Remaining != 0 || states[0].RetryAfter <= 0 || states[0].RetryAfter > time.Second {
		t.Fatalf("state is %+v", states[0])
	}
	b.Advance(states[0].RetryAfter)
	if allowed, _, err := l.Take(ctx, []store.LimitPolicy{hundred}); err != nil || !allowed {
		t.Fatalf("not allowed after its time: %v", err)
	}
	// one refuses: none is debited
	fresh := store.LimitPolicy{Key: "fresh", Emission: time.Second, Burst: 1, Cost: 1}
	if allowed, _, err := l.Take(ctx, []store.LimitPolicy{fresh, hundred}); err != nil || allowed {
		t.Fatalf("allowed: %v", err)
	}
	if allowed, _, err := l.Take(ctx, []store.LimitPolicy{fresh}); err != nil || !allowed {
		t.Fatalf("debited although refused: %v", err)
	}
	_, states, err = l.Take(ctx, []store.LimitPolicy{{Key: "z", Emission: time.Second, Burst: 2, Cost: 3}})
	if ok(t, err); states[0].RetryAfter >= 0 {
		t.Fatalf("a cost above the burst: %+v", states[0])
	}
	ok(t, l.Reset(ctx, "k"))
	_, states, err = l.Take(ctx, []store.LimitPolicy{hundred})
	if ok(t, err); states[0].Remaining != 99 {
		t.Fatalf("after a reset: %+v", states[0])
	}
	b.Advance(time.Hour)
	sweep(t, b, s)
}

func breakers(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	k := s.Breakers()
	until := now(t, s).Add(5 * time.Second)
	if won := together(t, 30, store.ErrConflict, func(i int) error {
		_, err := k.Transition(ctx, store.BreakerRecord{Node: "shop", State: "open", Data: fmt.Append(nil, i), Until: until})
		return err
	}); won != 1 {
		t.Fatalf("%d opened one breaker", won)
	}
	half := must[store.BreakerRecord](t)(k.Transition(ctx, store.BreakerRecord{Node: "shop", Generation: 1, State: "half_open"}))
	if half.Generation != 2 || half.Updated.IsZero() {
		t.Fatalf("record is %+v", half)
	}
	for round := range 20 {
		if won := together(t, 30, store.ErrHeld, func(i int) error {
			return k.ClaimProbe(ctx, "shop", 2, fmt.Sprint("gateway-", i%3, "-", i), 1, time.Second)
		}); won != 1 {
			t.Fatalf("round %d: %d probes are out", round, won)
		}
		b.Advance(2 * time.Second) // the prober died
	}
	ok(t, k.ClaimProbe(ctx, "shop", 2, "g", 1, time.Minute))
	fails(t, k.ClaimProbe(ctx, "shop", 2, "g", 1, time.Minute), store.ErrHeld)
	ok(t, k.ReleaseProbe(ctx, "shop", 2, "g"))
	ok(t, k.ClaimProbe(ctx, "shop", 2, "h", 1, time.Minute))
	must[store.BreakerRecord](t)(k.Transition(ctx, store.BreakerRecord{Node: "shop", Generation: 2, State: "closed"}))
	fails(t, k.ClaimProbe(ctx, "shop", 2, "late", 1, time.Minute), store.ErrConflict)
	if list := must[[]store.BreakerRecord](t)(k.List(ctx)); len(list) != 1 || list[0].State != "closed" {
		t.Fatalf("list is %+v", list)
	}
	ok(t, k.Delete(ctx, "shop"))
	if list := must[[]store.BreakerRecord](t)(k.List(ctx)); len(list) != 0 {
		t.Fatalf("list is %+v", list)
	}
}

func cache(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	c := s.Cache()
	_, err := c.Get(ctx, "k")
	fails(t, err, store.ErrNotFound)
	ok(t, c.Put(ctx, store.CacheEntry{Key: "k", Value: []byte("v"), Tags: []string{"node:shop"}}, time.Minute))
	if got := must[store.CacheEntry](t)(c.Get(ctx, "k")); string(got.Value) != "v" || got.Expires.Sub(got.Stored) != time.Minute {
		t.Fatalf("entry is %+v", got)
	}
	ok(t, c.Purge(ctx, "node:other"))
	must[store.CacheEntry](t)(c.Get(ctx, "k"))
	ok(t, c.Purge(ctx, "node:shop"))
	_, err = c.Get(ctx, "k")
	fails(t, err, store.ErrNotFound)
	ok(t, c.Put(ctx, store.CacheEntry{Key: "k", Value: []byte("w")}, time.Minute))
	ok(t, c.Purge(ctx, ""))
	_, err = c.Get(ctx, "k")
	fails(t, err, store.ErrNotFound)
	ok(t, c.Put(ctx, store.CacheEntry{Key: "k", Value: []byte("x")}, time.Minute))
	b.Advance(2 * time.Minute)
	_, err = c.Get(ctx, "k")
	fails(t, err, store.ErrNotFound)
	sweep(t, b, s)
}

func journal(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	j := s.Journal()
	claim := func(run string) *store.Claim {
		return &store.Claim{Key: "caller/key", Fingerprint: "f", Run: run}
	}
	if won := together(t, 50, store.ErrExists, func(i int) error {
		id := fmt.Sprintf("run-%02d", i)
		_, standing, err := j.Create(ctx, store.Run{ID: id, State: "running", Data: []byte("{}")}, claim(id), time.Hour)
		if err != nil && standing == nil {
			return fmt.Errorf("no standing claim with %w", err)
		}
		return err
	}); won != 1 {
		t.Fatalf("%d runs share a key", won)
	}
	runs := must[[]store.Run](t)(j.List(ctx, "running", "", 10))
	if len(runs) != 1 || runs[0].Revision != 1 {
		t.Fatalf("runs are %+v", runs)
	}
	run := runs[0]
	if won := together(t, 20, store.ErrConflict, func(int) error {
		changed := run
		changed.State = "succeeded"
		_, err := j.Update(ctx, changed)
		return err
	}); won != 1 {
		t.Fatalf("%d changed one revision", won)
	}
	_, err := j.Update(ctx, store.Run{ID: "nobody"})
	fails(t, err, store.ErrNotFound)
	for i := range 5 {
		_, _, err := j.Create(ctx, store.Run{ID: fmt.Sprintf("z-%d", i), State: "running", Expires: now(t, s).Add(time.Minute)}, nil, 0)
		ok(t, err)
	}
	page := must[[]store.Run](t)(j.List(ctx, "", "z-3", 2))
	if len(page) != 2 || page[0].ID != "z-2" || page[1].ID != "z-1" {
		t.Fatalf("page is %+v", page)
	}
	if list := must[[]store.Run](t)(j.List(ctx, "succeeded", "", 10)); len(list) != 1 || list[0].ID != run.ID {
		t.Fatalf("list is %+v", list)
	}
	b.Advance(2 * time.Hour)
	_, err = j.Get(ctx, "z-1")
	fails(t, err, store.ErrNotFound)
	must[store.Run](t)(j.Get(ctx, run.ID))
	_, _, err = j.Create(ctx, store.Run{ID: "later"}, claim("later"), time.Hour) // the key is free again
	ok(t, err)
	sweep(t, b, s)
}

func leases(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	l := s.Leases()
	if won := together(t, 50, store.ErrHeld, func(i int) error {
		_, err := l.Acquire(ctx, "prober", fmt.Sprint("g", i), time.Minute)
		return err
	}); won != 1 {
		t.Fatalf("%d hold one lease", won)
	}
	held := must[[]store.Lease](t)(l.List(ctx, "pro"))[0]
	renewed := must[store.Lease](t)(l.Acquire(ctx, "prober", held.Owner, time.Hour))
	if renewed.Fence != held.Fence || !renewed.Expires.After(held.Expires) {
		t.Fatalf("renewed %+v after %+v", renewed, held)
	}
	standing, err := l.Acquire(ctx, "prober", "somebody", time.Minute)
	if fails(t, err, store.ErrHeld); standing.Owner != held.Owner {
		t.Fatalf("standing is %+v", standing)
	}
	fails(t, l.Release(ctx, "prober", "somebody"), store.ErrConflict)
	b.Advance(2 * time.Hour)
	next := must[store.Lease](t)(l.Acquire(ctx, "prober", "somebody", time.Minute))
	if next.Fence <= held.Fence {
		t.Fatalf("the fence fell from %d to %d", held.Fence, next.Fence)
	}
	ok(t, l.Release(ctx, "prober", "somebody"))
	fails(t, l.Release(ctx, "prober", "somebody"), store.ErrNotFound)
	after := must[store.Lease](t)(l.Acquire(ctx, "prober", "third", time.Minute))
	if after.Fence <= next.Fence {
		t.Fatalf("the fence fell from %d to %d", next.Fence, after.Fence)
	}
}

func events(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	e := s.Events()
	for i := range 20 {
		got := must[store.Event](t)(e.Append(ctx, store.Event{Kind: "node_down", Node: fmt.Sprint("n", i), Data: []byte("{}")}))
		if got.Sequence != uint64(i+1) || got.Time.IsZero() {
			t.Fatalf("event is %+v", got)
		}
	}
	since := must[[]store.Event](t)(e.Since(ctx, 15, 3))
	if len(since) != 3 || since[0].Sequence != 16 || since[0].Node != "n15" {
		t.Fatalf("events are %+v", since)
	}
	if rest := must[[]store.Event](t)(e.Since(ctx, 20, 3)); len(rest) != 0 {
		t.Fatalf("events are %+v", rest)
	}
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
