package limiter

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// lose makes the store fail until the returned function is called.
func (r *remote) lose() (mend func()) {
	gone := errors.New("gone")
	r.failure.Store(&gone)
	return func() { r.failure.Store(nil) }
}

// A gateway pays for what it admitted without the store, also when nobody asks
// it for the key again.
func TestWhatIsOwedIsPaidWithoutAnotherRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 10*time.Millisecond)
		gateways := newGateways(t, 2, r)
		policy := newPolicy(t, 100, time.Hour, 0)
		const keys = 3*repaidAtOnce + 7
		mend := r.lose()
		for i := range keys {
			for range 60 {
				take(t, gateways[0], policy, fmt.Sprint("k", i))
			}
		}
		asked := r.asked.Load()
		mend()
		time.Sleep(lastProbe + lastProbe/4)
		synctest.Wait()
		if gateways[0].Lost() {
			t.Fatal("still lost")
		}
		if steps := r.asked.Load() - asked; steps > 1+keys/repaidAtOnce+1+4 {
			t.Errorf("%d steps for %d keys", steps, keys)
		}
		for i := range keys {
			if d, state := take(t, gateways[1], policy, fmt.Sprint("k", i)); d != Allowed || state.Remaining != 49 {
				t.Fatalf("key %d at the other gateway: %v, %d left, expected 49", i, d, state.Remaining)
			}
		}
		if d, state := take(t, gateways[0], policy, "k0"); d != Allowed || state.Remaining != 48 {
			t.Errorf("paid twice: %v, %d left", d, state.Remaining)
		}
	})
}

// What fits is paid, and what does not is paid by the next requests.
func TestMoreIsOwedThanFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 0)
		gateways := newGateways(t, 2, r)
		policy := newPolicy(t, 100, 100*time.Minute, 0) // one a minute
		if allowed, _, err := r.Limits.Take(t.Context(), []store.LimitPolicy{policy.order("full", 100), policy.order("used", 80)}); err != nil || !allowed {
			t.Fatal(allowed, err)
		}
		mend := r.lose()
		for range 50 {
			take(t, gateways[0], policy, "used")
			take(t, gateways[0], policy, "full")
			take(t, gateways[0], policy, "new")
		}
		mend()
		time.Sleep(lastProbe + lastProbe/4)
		synctest.Wait()
		for key, expected := range map[string]int{"full": 0, "used": 0, "new": 49} {
			d, state := take(t, gateways[1], policy, key)
			if d != map[bool]Decision{true: Refused, false: Allowed}[expected == 0] || state.Remaining != expected {
				t.Errorf("%s: %v, %d left, expected %d", key, d, state.Remaining, expected)
			}
		}
		// 30 are owed still, and the key gets one back each minute
		time.Sleep(20*time.Minute + refusalTime)
		if d, _ := take(t, gateways[0], policy, "used"); d != Refused {
			t.Errorf("with 20 back of 30 that are owed: %v", d)
		}
	})
}

// A store that is lost again in the middle leaves the rest for the next time.
func TestTheStoreIsLostAgainWhileItIsPaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 50*time.Millisecond)
		gateways := newGateways(t, 2, r)
		policy := newPolicy(t, 100, time.Hour, 0)
		const keys = 10 * repaidAtOnce
		mend := r.lose()
		for i := range keys {
			for range 10 {
				take(t, gateways[0], policy, fmt.Sprint("k", i))
			}
		}
		mend()
		paid := func() (n int) {
			for i := range keys {
				_, states, err := r.Limits.Take(t.Context(), []store.LimitPolicy{policy.order(fmt.Sprint("k", i), 101)})
				if err != nil {
					t.Fatal(err)
				}
				n += 100 - states[0].Remaining
			}
			return n
		}
		for i := 0; paid() == 0; i++ {
			if i == 5000 {
				t.Fatal("nothing is paid")
			}
			time.Sleep(time.Millisecond)
		}
		mend = r.lose()
		time.Sleep(time.Minute / 4)
		some := paid()
		if some == 0 || some >= 10*keys {
			t.Fatalf("%d of %d are paid in the middle", some, 10*keys)
		}
		mend()
		time.Sleep(5 * time.Second)
		if all := paid(); all != 10*keys || gateways[0].Lost() {
			t.Errorf("%d of %d are paid; lost: %v", all, 10*keys, gateways[0].Lost())
		}
	})
}

// Debts outlive a reload, which attaches the store anew.
func TestDebtsOutliveAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 0)
		l := New(MaxKeys)
		defer l.Close()
		one := func() int { return 1 }
		detach := l.Attach(r, one, func(error) {})
		policy := newPolicy(t, 100, time.Hour, 0)
		mend := r.lose()
		for range 40 {
			take(t, l, policy, "k")
		}
		mend()
		detachNext := l.Attach(r, one, func(error) {})
		defer detachNext()
		detach()
		synctest.Wait()
		if _, states, err := r.Limits.Take(t.Context(), []store.LimitPolicy{policy.order("k", 1)}); err != nil || states[0].Remaining != 59 {
			t.Errorf("%+v, %v: expected 59 left", states, err)
		}
	})
}
