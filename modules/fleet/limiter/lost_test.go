package limiter

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// A lost store costs one request the time it takes to notice, and the way back
// debits what was admitted meanwhile.
func TestTheStoreIsLostAndFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 20*time.Millisecond)
		l := New(MaxKeys)
		defer l.Close()
		var mu sync.Mutex
		var changes []error
		defer l.Attach(r, func() int { return 4 }, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			changes = append(changes, err)
		})()
		policy := newPolicy(t, 40, time.Hour, 0)
		for range 8 { // leaves 32, of which 8 are this gateway's share
			take(t, l, policy, "k")
		}
		gone := errors.New("gone")
		r.failure.Store(&gone)
		admitted := 0
		begin := time.Now()
		for range 100 {
			if d, _ := take(t, l, policy, "k"); d == Allowed {
				admitted++
			}
		}
		if admitted != 8 || time.Since(begin) != 20*time.Millisecond || !l.Lost() {
			t.Errorf("%d admitted in %v, lost is %v", admitted, time.Since(begin), l.Lost())
		}
		var states [1]store.LimitState
		charges := []Charge{{policy, []byte("k"), 1}}
		if d := l.Take(t.Context(), charges, states[:], Open); d != Unchecked {
			t.Errorf("open: %v", d)
		}
		if d := l.Take(t.Context(), charges, states[:], Closed); d != Unavailable {
			t.Errorf("closed: %v", d)
		}
		time.Sleep(10 * time.Second)
		if asked := r.asked.Load(); asked > 30 {
			t.Errorf("the lost store was asked %d times", asked)
		}
		r.failure.Store(nil)
		time.Sleep(1200 * time.Millisecond)
		if l.Lost() {
			t.Error("still lost")
		}
		if d, state := take(t, l, policy, "k"); d != Allowed || state.Remaining != 40-8-8-1 {
			t.Errorf("%v, %+v: what was admitted meanwhile was not debited", d, state)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(changes) != 2 || changes[0] != gone || changes[1] != nil {
			t.Errorf("changes were %v", changes)
		}
	})
}

func TestARequestLeavesWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newGateways(t, 1, newRemote(t, time.Second/2))[0]
		policy := newPolicy(t, 10, time.Hour, 0)
		go take(t, l, policy, "k")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var states [1]store.LimitState
		if d := l.Take(ctx, []Charge{{policy, []byte("k"), 1}}, states[:], Local); d != Left {
			t.Errorf("%v", d)
		}
		if _, state := take(t, l, policy, "k"); state.Remaining != 8 {
			t.Errorf("%+v: one who left was debited", state)
		}
	})
}

// A reload attaches the next store before it detaches the one before.
func TestAReloadAttachesAnother(t *testing.T) {
	r := newRemote(t, 0)
	l := New(MaxKeys)
	defer l.Close()
	policy := newPolicy(t, 10, time.Hour, 0)
	first := l.Attach(r, func() int { return 1 }, func(error) {})
	take(t, l, policy, "k")
	second := l.Attach(r, func() int { return 1 }, func(error) {})
	first()
	if d, state := take(t, l, policy, "k"); d != Allowed || state.Remaining != 8 {
		t.Errorf("%v %+v", d, state)
	}
	second()
	if d, _ := take(t, l, policy, "other"); d != Allowed || r.asked.Load() != 2 {
		t.Errorf("%v after detaching, the store was asked %d times", d, r.asked.Load())
	}
}
