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
	issue := store.RefreshToken{Grantee: store.Grantee{Node: "shop", NodeID: 7}, Hash: "h0", Family: "f", Expires: end}
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
		if string(got.Reply) != got.Token.Hash || got.Token.Generation != 1 || got.Token.Grantee != issue.Grantee || got.Replayed {
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
	if !replay.Replayed || replay.Token != (store.RefreshToken{Grantee: issue.Grantee, Family: "f"}) {
		t.Fatalf("after the grace: %+v", replay)
	}
	_, err = k.Rotate(ctx, store.Rotation{Presented: "h2", Successor: "h3", Expires: end, Grace: time.Minute})
	fails(t, err, store.ErrNotFound) // the family is dead

	ok(t, k.Issue(ctx, store.RefreshToken{Grantee: store.Grantee{Node: "shop"}, Hash: "g0", Family: "g", Expires: end}))
	ok(t, k.RevokeFamily(ctx, "g"))
	_, err = k.Rotate(ctx, store.Rotation{Presented: "g0", Successor: "g1", Expires: end})
	fails(t, err, store.ErrNotFound)
	ok(t, k.Issue(ctx, store.RefreshToken{Grantee: store.Grantee{Node: "shop"}, Hash: "e0", Family: "e", Expires: now(t, s).Add(time.Second)}))
	b.Advance(2 * time.Second)
	_, err = k.Rotate(ctx, store.Rotation{Presented: "e0", Successor: "e1", Expires: end})
	fails(t, err, store.ErrNotFound)
	sweep(t, b, s)
	ok(t, k.Issue(ctx, store.RefreshToken{Grantee: store.Grantee{Node: "shop"}, Hash: "e0", Family: "e", Expires: end})) // swept
}

func presentedTokens(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	k := s.Tokens()
	end := now(t, s).Add(time.Hour)
	_, err := k.Present(ctx, "unknown")
	fails(t, err, store.ErrNotFound)
	_, err = k.Present(ctx, "")
	fails(t, err, store.ErrNotFound)
	issue := store.RefreshToken{Grantee: store.Grantee{Node: "shop", NodeID: 7}, Hash: "h0", Family: "f", Expires: end}
	ok(t, k.Issue(ctx, issue))
	// as often and by as many as one likes
	if won := together(t, 50, nil, func(int) error {
		got, err := k.Present(ctx, "h0")
		same := got.Token.Expires.Equal(end)
		got.Token.Expires = end
		if err == nil && (!same || got.Token != issue || got.Repeated || got.Replayed) {
			return fmt.Errorf("got %+v", got)
		}
		return err
	}); won != 50 {
		t.Fatalf("%d of 50 presented it", won)
	}
	must[store.Rotated](t)(k.Rotate(ctx, store.Rotation{Presented: "h0", Successor: "h1", Expires: end, Reply: []byte("sealed"), Grace: time.Minute}))
	if got := must[store.Rotated](t)(k.Present(ctx, "h1")); got.Token.Generation != 1 || got.Token.Grantee != issue.Grantee || got.Repeated {
		t.Fatalf("got %+v", got)
	}
	// within the grace the successor, as for a rotation
	if got := must[store.Rotated](t)(k.Present(ctx, "h0")); !got.Repeated || got.Replayed || got.Token.Hash != "h1" || string(got.Reply) != "sealed" {
		t.Fatalf("got %+v", got)
	}
	b.Advance(2 * time.Minute)
	changes := must[<-chan struct{}](t)(k.Watch(ctx))
	got := must[store.Rotated](t)(k.Present(ctx, "h0"))
	if !got.Replayed || got.Repeated || got.Token != (store.RefreshToken{Grantee: issue.Grantee, Family: "f"}) {
		t.Fatalf("after the grace: %+v", got)
	}
	receive(t, changes)
	for _, hash := range []string{"h0", "h1"} {
		_, err = k.Present(ctx, hash)
		fails(t, err, store.ErrNotFound)
	}
	_, err = k.Rotate(ctx, store.Rotation{Presented: "h1", Successor: "h2", Expires: end, Grace: time.Minute})
	fails(t, err, store.ErrNotFound)

	ok(t, k.Issue(ctx, store.RefreshToken{Grantee: store.Grantee{Node: "shop"}, Hash: "e0", Family: "e", Expires: now(t, s).Add(time.Second)}))
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
	ok(t, k.PutKey(ctx, store.APIKey{Grantee: store.Grantee{Node: "shop"}, Hash: "x1", ID: "b", Data: []byte("{}")}))
	receive(t, changes)
	ok(t, k.PutKey(ctx, store.APIKey{Grantee: store.Grantee{Node: "docs"}, Hash: "x2", ID: "a", Expires: now(t, s).Add(time.Minute)}))
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
	ok(t, k.Issue(ctx, store.RefreshToken{Grantee: store.Grantee{Node: "shop"}, Hash: "h", Family: "f", Expires: end}))
	ok(t, k.Issue(ctx, store.RefreshToken{Grantee: store.Grantee{Node: "other"}, Hash: "o", Family: "of", Expires: end}))
	ok(t, k.PutKey(ctx, store.APIKey{Grantee: store.Grantee{Node: "shop"}, Hash: "x", ID: "x"}))
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

// grantedAfterRevocation: what is given under an older epoch than the store's
// last revocation of the node is refused, whoever was faster.
func grantedAfterRevocation(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	k := s.Tokens()
	end := now(t, s).Add(time.Hour)
	epoch := func() int64 {
		t.Helper()
		for _, r := range must[[]store.Revocation](t)(k.Revocations(ctx)) {
			if r.Subject == "node:shop" {
				if r.At.Nanosecond() != 0 {
					t.Errorf("the epoch is no whole second: %v", r.At)
				}
				return r.At.Unix()
			}
		}
		return 0
	}
	n := 0
	give := func(epoch int64, want error) {
		t.Helper()
		n++
		to := store.Grantee{Node: "shop", NodeID: 7, Epoch: epoch}
		key := store.APIKey{Grantee: to, Hash: fmt.Sprint("k", n), ID: fmt.Sprint("k", n)}
		token := store.RefreshToken{Grantee: to, Hash: fmt.Sprint("t", n), Family: fmt.Sprint("f", n), Expires: end}
		for _, err := range []error{k.PutKey(ctx, key), k.Issue(ctx, token)} {
			if want != nil {
				fails(t, err, want)
			} else {
				ok(t, err)
			}
		}
		if want != nil {
			return
		}
		if kept := must[store.APIKey](t)(k.Key(ctx, key.Hash)); kept.Grantee != to {
			t.Errorf("the key is %+v", kept)
		}
		if kept := must[store.Rotated](t)(k.Present(ctx, token.Hash)); kept.Token.Grantee != to {
			t.Errorf("the token is %+v", kept)
		}
	}
	give(0, nil)
	ok(t, k.RevokeNode(ctx, "shop", end))
	first := epoch()
	give(0, store.ErrRevoked)
	give(first-1, store.ErrRevoked)
	give(first, nil)
	// the next within the same second is another one all the same
	ok(t, k.RevokeNode(ctx, "shop", end))
	second := epoch()
	if second <= first {
		t.Fatalf("the second revocation is of %d, the first of %d", second, first)
	}
	give(first, store.ErrRevoked)
	give(second, nil)
	ok(t, k.PutKey(ctx, store.APIKey{Grantee: store.Grantee{Node: "docs"}, Hash: "d", ID: "d"})) // another node
	ok(t, k.PutKey(ctx, store.APIKey{Hash: "c", ID: "c"}))                                       // of no node
	if left := must[[]store.APIKey](t)(k.Keys(ctx, "shop")); len(left) != 1 {
		t.Errorf("keys are %+v", left)
	}
	// an older one that is put back takes nothing away
	ok(t, k.Revoke(ctx, store.Revocation{Subject: "node:shop", At: time.Unix(first, 0), Until: end}))
	if epoch() != second {
		t.Errorf("the revocation is of %d now", epoch())
	}
	// what is given right after a revocation is of its second: with many of them
	// that is ahead of the clock, and so is the end of what is revoked
	far := now(t, s).Add(time.Hour)
	for range 5 {
		ok(t, k.RevokeNode(ctx, "often", far))
	}
	for _, r := range must[[]store.Revocation](t)(k.Revocations(ctx)) {
		if r.Subject == "node:often" && (r.Until.Sub(r.At) < time.Hour-time.Second || r.Until.Sub(far) > 10*time.Second) {
			t.Errorf("revoked at %v until %v", r.At, r.Until)
		}
	}
	// one that is over says nothing
	ok(t, k.RevokeNode(ctx, "mill", now(t, s).Add(time.Second)))
	b.Advance(2 * time.Second)
	ok(t, k.PutKey(ctx, store.APIKey{Grantee: store.Grantee{Node: "mill"}, Hash: "m", ID: "m"}))
}
