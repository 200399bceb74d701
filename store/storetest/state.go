package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

func limits(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	l := s.Limits()
	hundred := store.LimitPolicy{Key: "k", Emission: time.Second, Burst: 100, Cost: 1}
	var passed atomic.Int32
	start := now(t, s)
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
	// one more fits for every second that it took
	if n, most := passed.Load(), 100+int32(now(t, s).Sub(start)/time.Second); n < 100 || n > most {
		t.Fatalf("%d of 400 passed a limit of 100, expected at most %d", n, most)
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
	for _, expected := range []bool{true, false} {
		known, err := l.Reset(ctx, "k")
		if ok(t, err); known != expected {
			t.Fatalf("reset: known is %v, expected %v", known, expected)
		}
	}
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
	// whoever reads on after a store was emptied, whose numbers begin again
	if again := must[[]store.Event](t)(e.Since(ctx, 21, 3)); len(again) != 3 || again[0].Sequence != 1 {
		t.Fatalf("events are %+v", again)
	}
}
