package limiter

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// A key with 100 events lets exactly 100 of 2,000 concurrent requests pass, on
// one gateway, on one with a store, and over three.
func TestExactly100Of2000(t *testing.T) {
	for name, c := range map[string]struct {
		gateways int
		shared   bool
	}{"one alone": {1, false}, "one with a store": {1, true}, "three": {3, true}} {
		t.Run(name, func(t *testing.T) {
			var limits store.Limits
			var r *remote
			if c.shared {
				r = newRemote(t, 200*time.Microsecond)
				limits = r
			}
			gateways := newGateways(t, c.gateways, limits)
			policy := newPolicy(t, 100, time.Hour, 0)
			var passed atomic.Int64
			var ready, done sync.WaitGroup
			start := make(chan struct{})
			for i := range 2000 {
				ready.Add(1)
				done.Go(func() {
					ready.Done()
					<-start
					if d, _ := take(t, gateways[i%len(gateways)], policy, "k"); d == Allowed {
						passed.Add(1)
					}
				})
			}
			ready.Wait()
			close(start)
			done.Wait()
			if passed.Load() != 100 {
				t.Errorf("%d passed", passed.Load())
			}
			if r != nil && r.asked.Load() > 100 {
				t.Errorf("the store was asked %d times", r.asked.Load())
			}
		})
	}
}

// A request is charged by all its policies or by none.
func TestPoliciesAreDebitedTogether(t *testing.T) {
	for name, limits := range map[string]store.Limits{"alone": nil, "with a store": newRemote(t, 0)} {
		t.Run(name, func(t *testing.T) {
			l := newGateways(t, 1, limits)[0]
			wide, narrow := newPolicy(t, 100, time.Hour, 0), newPolicy(t, 3, time.Hour, 0)
			var passed atomic.Int64
			var group sync.WaitGroup
			for range 50 {
				group.Go(func() {
					var states [2]store.LimitState
					if l.Take(t.Context(), []Charge{{wide, []byte("wide"), 2}, {narrow, []byte("narrow"), 1}}, states[:], Local) == Allowed {
						passed.Add(1)
					}
				})
			}
			group.Wait()
			var states [2]store.LimitState
			d := l.Take(t.Context(), []Charge{{wide, []byte("wide"), 2}, {narrow, []byte("narrow"), 1}}, states[:], Local)
			if passed.Load() != 3 || d != Refused {
				t.Fatalf("%d passed, then %v", passed.Load(), d)
			}
			if states[0].Remaining != 94 || states[0].RetryAfter != 0 || states[1].Remaining != 0 || states[1].RetryAfter <= 0 {
				t.Errorf("states are %+v", states)
			}
			if d, state := take(t, l, wide, "wide"); d != Allowed || state.Remaining != 93 {
				t.Errorf("%v, %+v: a refused request was debited", d, state)
			}
		})
	}
}

func TestStates(t *testing.T) {
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var limits store.Limits
			if shared {
				limits = newRemote(t, 0)
			}
			l := newGateways(t, 1, limits)[0]
			policy := newPolicy(t, 60, time.Minute, 0)
			for i := range 60 {
				if d, state := take(t, l, policy, "k"); d != Allowed || state.Remaining != 59-i || state.Reset != time.Duration(i+1)*time.Second {
					t.Fatalf("hit %d: %v %+v", i+1, d, state)
				}
			}
			d, state := take(t, l, policy, "k")
			if d != Refused || state.Remaining != 0 || state.RetryAfter != time.Second {
				t.Fatalf("hit 61: %v %+v", d, state)
			}
			time.Sleep(state.RetryAfter - time.Millisecond)
			if d, _ := take(t, l, policy, "k"); d != Refused {
				t.Errorf("before its time: %v", d)
			}
			time.Sleep(time.Millisecond)
			if d, _ := take(t, l, policy, "k"); d != Allowed {
				t.Errorf("at its time: %v", d)
			}
			states := make([]store.LimitState, 1)
			if d := l.Take(t.Context(), []Charge{{policy, []byte("k"), 61}}, states, Local); d != Refused || states[0].RetryAfter >= 0 {
				t.Errorf("a cost above the burst: %v %+v", d, states[0])
			}
			if known, err := l.Reset(t.Context(), "k"); err != nil || !known {
				t.Fatal(known, err)
			}
			if known, err := l.Reset(t.Context(), "k"); err != nil || known {
				t.Error("forgotten, and known still", err)
			}
			if d, state := take(t, l, policy, "k"); d != Allowed || state.Remaining != 59 {
				t.Errorf("after a reset: %v %+v", d, state)
			}
		})
	}
}

// demand runs requests at a steady rate on each gateway, and returns how many
// were admitted. It runs in a synctest bubble.
func demand(t *testing.T, gateways []*Limiter, policy *Policy, each int, during time.Duration) int {
	var admitted atomic.Int64
	var group sync.WaitGroup
	every := time.Second / time.Duration(each)
	for i, l := range gateways {
		for lane := range 20 { // so that one request does not hold up the next
			group.Go(func() {
				time.Sleep(time.Duration(lane)*every + time.Duration(i)*every/time.Duration(len(gateways)))
				for begin := time.Now(); time.Since(begin) < during; {
					next := time.Now().Add(20 * every)
					if d, _ := take(t, l, policy, "k"); d == Allowed {
						admitted.Add(1)
					}
					time.Sleep(time.Until(next))
				}
			})
		}
	}
	group.Wait()
	return int(admitted.Load())
}

// At 1,000 requests a second on one key the store is asked at most once for
// ten admitted requests, and the budget is used and never exceeded.
func TestStoreOperationsPerAdmittedRequest(t *testing.T) {
	const during = 10 * time.Second
	for _, c := range []struct{ gateways, limit, burst, each int }{
		{1, 2000, 0, 1000}, // within the limit
		{3, 2000, 0, 333},
		{1, 1000, 0, 1000}, // at the limit
		{3, 1000, 0, 333},
		{1, 1000, 100, 2000}, // twice and three times the limit
		{3, 1000, 100, 1000},
		{3, 6000, 1000, 4000},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 500*time.Microsecond)
			gateways := newGateways(t, c.gateways, r)
			policy := newPolicy(t, c.limit, time.Second, c.burst)
			begin := time.Now()
			admitted := demand(t, gateways, policy, c.each, during)
			budget := float64(policy.Burst) + float64(c.limit)*time.Since(begin).Seconds()
			wanted := float64(c.each*c.gateways) * during.Seconds()
			operations := float64(r.asked.Load()) / float64(admitted)
			t.Logf("%+v: %d admitted, %.4f of what could be, %.4f operations each", c, admitted, float64(admitted)/min(budget, wanted), operations)
			if operations > 0.1 {
				t.Errorf("%+v: %.3f operations for an admitted request", c, operations)
			}
			if got := float64(admitted); got > budget || got < 0.99*min(budget, wanted) {
				t.Errorf("%+v: %v admitted of a budget of %v and a demand of %v", c, got, budget, wanted)
			}
		})
	}
}

// Whatever arrives when and at which gateway, the budget is never exceeded.
func TestTheBudgetIsNeverExceeded(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			r := newRemote(t, time.Duration(random.IntN(3000))*time.Microsecond)
			gateways := newGateways(t, 1+random.IntN(4), r)
			limit := 1 + random.IntN(3000)
			policy := newPolicy(t, limit, time.Second, 1+random.IntN(2*limit))
			begin := time.Now()
			var admitted atomic.Int64
			var group sync.WaitGroup
			for range 3000 {
				if random.IntN(10) == 0 {
					time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
				}
				if random.IntN(500) == 0 {
					time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
				}
				l, cost := gateways[random.IntN(len(gateways))], 1+random.IntN(3)
				group.Go(func() {
					var states [1]store.LimitState
					if l.Take(t.Context(), []Charge{{policy, []byte("k"), cost}}, states[:], Local) == Allowed {
						admitted.Add(int64(cost))
					}
				})
			}
			group.Wait()
			if budget := float64(policy.Burst) + float64(limit)*time.Since(begin).Seconds(); float64(admitted.Load()) > budget {
				t.Errorf("seed %d: %d admitted of %v", seed, admitted.Load(), budget)
			}
		})
	}
}

// An unused lease is lost to the budget, and no more than it.
func TestUnusedLeasesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateways := newGateways(t, 2, newRemote(t, 0))
		policy := newPolicy(t, 1000, time.Second, 0)
		for range 100 {
			take(t, gateways[0], policy, "k")
		}
		time.Sleep(leaseTime)
		d, _ := take(t, gateways[0], policy, "k")
		if usage := gateways[0].Top(1, nil); d != Allowed || len(usage) != 1 || usage[0].Allowed != 101 || usage[0].State.Remaining != 999 {
			t.Errorf("%v, usage is %+v", d, usage)
		}
	})
}

func TestARefusalIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 0)
		gateways := newGateways(t, 2, r)
		policy := newPolicy(t, 1, time.Hour, 0)
		take(t, gateways[0], policy, "k")
		take(t, gateways[1], policy, "k")
		asked := r.asked.Load()
		for range 1000 {
			if d, state := take(t, gateways[1], policy, "k"); d != Refused || state.RetryAfter < 59*time.Minute {
				t.Fatalf("%v %+v", d, state)
			}
		}
		if r.asked.Load() != asked {
			t.Errorf("the store was asked %d times more", r.asked.Load()-asked)
		}
		if known, err := gateways[0].Reset(t.Context(), "k"); err != nil || !known {
			t.Fatal(known, err)
		}
		time.Sleep(refusalTime)
		if d, _ := take(t, gateways[1], policy, "k"); d != Allowed {
			t.Error("a reset at one gateway is not seen at the other")
		}
	})
}

// A key that is used up is not forgotten for keys that were used once.
func TestAUsedUpKeySurvivesAFlood(t *testing.T) {
	l := New(shardCount * 64)
	defer l.Close()
	policy := newPolicy(t, 100, time.Hour, 0)
	for range 100 {
		take(t, l, policy, "greedy")
	}
	for i := range 50_000 {
		take(t, l, policy, fmt.Sprint(i))
	}
	if d, _ := take(t, l, policy, "greedy"); d != Refused {
		t.Error("a flood of keys gave a used up key its events back")
	}
}

func TestTop(t *testing.T) {
	l := newGateways(t, 1, nil)[0]
	policy := newPolicy(t, 5, time.Hour, 0)
	for i := range 300 {
		for range i % 10 {
			take(t, l, policy, fmt.Sprintf("k%03d", i))
		}
	}
	top := l.Top(2, nil)
	if len(top) != 2 || top[0].Key != "k009" || top[0].Allowed != 5 || top[0].Refused != 4 || top[0].Policy != "test" ||
		top[0].State.Remaining != 0 || top[0].State.RetryAfter <= 0 || top[1].Key != "k019" {
		t.Errorf("top is %+v", top)
	}
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		limit  int
		window time.Duration
		burst  int
		ok     bool
	}{
		{60, time.Minute, 0, true}, {1, time.Millisecond, 0, true}, {100_000, time.Second, 0, true}, {1, maxWindow, 10, true},
		{0, time.Minute, 0, false}, {-1, time.Minute, 0, false}, {1, 0, 0, false}, {1, 2 * maxWindow, 0, false},
		{100_001, time.Second, 0, false}, {1, time.Second, -1, false}, {1, maxWindow, 11, false},
	} {
		if p, err := NewPolicy("p", c.limit, c.window, c.burst); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		} else if err == nil && (p.emission < 1 || p.emission*int64(c.limit) < c.window.Microseconds()) {
			t.Errorf("%+v: an event is forgotten in %d µs", c, p.emission)
		}
	}
}
