package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

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
	if !replay.Replayed || replay.Token != (store.RefreshToken{Family: "f", Node: "shop"}) {
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

func presentedTokens(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	k := s.Tokens()
	end := now(t, s).Add(time.Hour)
	_, err := k.Present(ctx, "unknown")
	fails(t, err, store.ErrNotFound)
	_, err = k.Present(ctx, "")
	fails(t, err, store.ErrNotFound)
	issue := store.RefreshToken{Hash: "h0", Family: "f", Node: "shop", Expires: end}
	ok(t, k.Issue(ctx, issue))
	// as often and by as many as one likes
	if won := together(t, 50, nil, func(int) error {
		got, err := k.Present(ctx, "h0")
		if err == nil && (got.Hash != "h0" || got.Family != "f" || got.Generation != 0 || got.Node != "shop" || !got.Expires.Equal(end)) {
			return fmt.Errorf("got %+v", got)
		}
		return err
	}); won != 50 {
		t.Fatalf("%d of 50 presented it", won)
	}
	must[store.Rotated](t)(k.Rotate(ctx, store.Rotation{Presented: "h0", Successor: "h1", Expires: end, Grace: time.Minute}))
	if got := must[store.RefreshToken](t)(k.Present(ctx, "h1")); got.Generation != 1 {
		t.Fatalf("got %+v", got)
	}
	// a replay, although a rotation would have had its grace
	changes := must[<-chan struct{}](t)(k.Watch(ctx))
	got, err := k.Present(ctx, "h0")
	fails(t, err, store.ErrReplayed)
	if got != (store.RefreshToken{Family: "f", Node: "shop"}) {
		t.Fatalf("got %+v", got)
	}
	receive(t, changes)
	for _, hash := range []string{"h0", "h1"} {
		_, err = k.Present(ctx, hash)
		fails(t, err, store.ErrNotFound)
	}
	_, err = k.Rotate(ctx, store.Rotation{Presented: "h1", Successor: "h2", Expires: end, Grace: time.Minute})
	fails(t, err, store.ErrNotFound)

	ok(t, k.Issue(ctx, store.RefreshToken{Hash: "e0", Family: "e", Node: "shop", Expires: now(t, s).Add(time.Second)}))
	b.Advance(2 * time.Second)
	_, err = k.Present(ctx, "e0")
	fails(t, err, store.ErrNotFound)
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
	changes := must[<-chan struct{}](t)(k.Watch(ctx))
	ok(t, k.PutKey(ctx, store.APIKey{Hash: "x1", ID: "b", Node: "shop", Data: []byte("{}")}))
	receive(t, changes)
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
