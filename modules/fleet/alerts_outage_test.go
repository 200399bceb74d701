package fleet

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhatWaitedToBeGroupedIsToldWithoutTheStore: after the group time of the
// loss, by the gateways that see it, whether its event had been stored or not.
func TestWhatWaitedToBeGroupedIsToldWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		a.Emit("node_down", "b", reason)
		a.Emit("action_stuck", "", map[string]any{"action": "run-1"})
		time.Sleep(5 * time.Second)
		set := func(slug string, state Health) {
			a.Snapshot().Node(slug).gate.member.health.status.Store(&HealthStatus{State: state, Since: time.Now(), Reason: "refused"})
		}
		set("b", HealthHealthy) // and no event could tell of it
		set("c", HealthUnhealthy)
		r.store.lost.Store(true) // before anybody notices
		a.Emit("node_down", "shop", reason)
		time.Sleep(time.Second)
		r.lose(true, a)
		time.Sleep(afterGroup)
		down := "store_down/" + a.shared.circuits.gateway
		r.receiver.expect(t, "one", "+action_stuck/run-1 +node_down/a +node_down/c +node_down/shop +"+down)
		if s := a.AlertStatus(); s.Firing != 5 || s.Pending != 0 {
			t.Errorf("status is %+v", s)
		}
		r.lose(false, a)
		time.Sleep(5 * time.Minute)
		told := r.receiver.of("one")
		if len(told) != 2 || told[1] != "-"+down { // b was over before anybody was told of it
			t.Fatalf("then %q was told", told[1:])
		}
		set("c", HealthHealthy)
		for _, slug := range []string{"a", "shop"} {
			a.Emit("node_up", slug, nil)
		}
		a.ActionUnstuck("run-1")
		time.Sleep(5 * time.Minute)
		if told = r.receiver.of("one"); strings.Join(slices.Sorted(slices.Values(strings.Fields(strings.Join(told[2:], " ")))), " ") != "-action_stuck/run-1 -node_down/a -node_down/c -node_down/shop" {
			t.Errorf("then %q was told", told[2:])
		}
	})
}

// TestWhatIsFiringIsRepeatedWithoutTheStore: as long as the gateway sees it, and
// no more often than with the store.
func TestWhatIsFiringIsRepeatedWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		a.Emit("node_down", "b", reason)
		time.Sleep(afterGroup)
		r.lose(true, a)
		time.Sleep(time.Hour)
		a.Snapshot().Node("b").gate.member.health.status.Store(&HealthStatus{State: HealthHealthy, Since: time.Now()})
		time.Sleep(3 * time.Hour)
		down := "store_down/" + a.shared.circuits.gateway
		r.receiver.expect(t, "one", "+node_down/a +node_down/b", "+"+down, "+node_down/a")
		time.Sleep(20 * time.Second)
		r.lose(false, a)
		time.Sleep(5 * time.Minute)
		r.receiver.expect(t, "one", "+node_down/a +node_down/b", "+"+down, "+node_down/a", "+"+down, "-node_down/b -"+down)
	})
}

// TestOneGatewaysEndIsNotTheEndOfOthers: a breaker that is open on two gateways
// without a store, closes on one, and is open when the store is back.
func TestOneGatewaysEndIsNotTheEndOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		var took incidents
		took.accept(r.receiver, func(posted) *http.Response { return answered(204) })
		first, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		second, stopToo := r.gateway(nil, hook("one"))
		defer stopToo()
		for _, slug := range []string{"a", "b"} { // both have breakers before anybody looks
			force(t, first, slug, "reset")
			force(t, second, slug, "reset")
		}
		time.Sleep(2 * alertLook)
		r.lose(true, first, second)
		time.Sleep(2 * time.Second)
		force(t, first, "a", "open")
		force(t, second, "a", "open")
		time.Sleep(time.Minute)
		took.expect(t, "breaker_open/a", "++")
		force(t, first, "a", "reset")
		time.Sleep(time.Minute)
		took.expect(t, "breaker_open/a", "++")

		// the first is back sooner than the second
		r.store.lost.Store(false)
		r.cut(false, first)
		time.Sleep(2 * time.Minute)
		took.expect(t, "breaker_open/a", "++")
		r.lose(false, first, second)
		force(t, first, "a", "open")
		first.Emit("breaker_open", "a", reason) // the gateways agree
		time.Sleep(2 * time.Minute)
		took.expect(t, "breaker_open/a", "++")
		for _, a := range []*App{first, second} {
			force(t, a, "a", "reset")
		}
		first.Emit("breaker_closed", "a", nil)
		time.Sleep(2 * time.Minute)
		took.expect(t, "breaker_open/a", "++-")
		for _, a := range []*App{first, second} {
			if s := a.AlertStatus(); s.Firing != 0 || s.Pending != 0 {
				t.Errorf("status is %+v", s)
			}
		}
	})
}

// TestAnAloneIncidentEndsForAll: each gateway saw it end, and no event says so
// when the store is back.
func TestAnAloneIncidentEndsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		var took incidents
		took.accept(r.receiver, func(posted) *http.Response { return answered(204) })
		first, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		second, stopToo := r.gateway(nil, hook("one"))
		defer stopToo()
		for _, slug := range []string{"a", "b"} { // both have breakers before anybody looks
			force(t, first, slug, "reset")
			force(t, second, slug, "reset")
		}
		time.Sleep(2 * alertLook)
		force(t, first, "b", "open")
		force(t, second, "b", "open")
		first.Emit("breaker_open", "b", reason)
		time.Sleep(time.Minute)
		r.lose(true, first, second)
		time.Sleep(2 * time.Second)
		for _, slug := range []string{"a", "b"} {
			for _, a := range []*App{first, second} {
				force(t, a, slug, "open")
			}
		}
		time.Sleep(time.Minute)
		for _, slug := range []string{"a", "b"} {
			for _, a := range []*App{first, second} {
				force(t, a, slug, "reset")
			}
		}
		time.Sleep(time.Minute)
		r.lose(false, first, second)
		time.Sleep(2 * time.Minute)
		took.expect(t, "breaker_open/a", "++-")
		took.expect(t, "breaker_open/b", "+-")
	})
}

// TestTheLossOfASharedStoreEndsWhenAllGatewaysHaveIt: also for a receiver that
// knows no more than the dedup key, and also when one of them is gone.
func TestTheLossOfASharedStoreEndsWhenAllGatewaysHaveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		var took incidents
		took.accept(r.receiver, func(posted) *http.Response { return answered(204) })
		first, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		second, stopToo := r.gateway(nil, hook("one"))
		r.hosts[second.shared.circuits.gateway] = "elsewhere"
		r.muster()
		one, two := "store_down/"+first.shared.circuits.gateway, "store_down/"+second.shared.circuits.gateway
		time.Sleep(10 * time.Second)
		r.lose(true, first, second)
		time.Sleep(time.Minute)
		r.store.lost.Store(false)
		r.cut(false, first)
		time.Sleep(2 * time.Minute)
		took.expect(t, one, "+")
		r.cut(false, second)
		time.Sleep(time.Minute)
		took.expect(t, one, "+-")
		took.expect(t, two, "+-")

		// the second is stopped while it has no store
		r.cut(true, second)
		time.Sleep(time.Minute)
		took.expect(t, two, "+-+")
		stopToo()
		time.Sleep(5 * time.Minute)
		took.expect(t, two, "+-+")
		time.Sleep(10 * time.Minute)
		took.expect(t, two, "+-+-")
		time.Sleep(time.Hour)
		took.expect(t, two, "+-+-")
		took.expect(t, one, "+-")
	})
}

// TestARestartWithoutTheStoreEndsWhatTheOldProcessTold: whether the new one begins
// with the store or without it.
func TestARestartWithoutTheStoreEndsWhatTheOldProcessTold(t *testing.T) {
	for _, later := range []bool{false, true} {
		for _, own := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				r := newAlertRoom(t)
				r.store.own = own
				var took incidents
				took.accept(r.receiver, func(posted) *http.Response { return answered(204) })
				old, stop := r.gateway(nil, hook("one"))
				time.Sleep(time.Second)
				r.lose(true, old)
				time.Sleep(time.Minute)
				stop()
				if later {
					r.store.lost.Store(false)
				}
				next, stopNext := r.gateway(nil, hook("one"))
				time.Sleep(time.Minute)
				r.lose(false, next)
				time.Sleep(time.Minute)
				took.expect(t, "store_down/"+old.shared.circuits.gateway, "+-")
				expected := "+-"
				if later {
					expected = ""
				}
				took.expect(t, "store_down/"+next.shared.circuits.gateway, expected)

				// one that stops with its store says nothing, and nothing is said of it
				n := len(r.receiver.all())
				stopNext()
				_, stopLast := r.gateway(nil, hook("one"))
				defer stopLast()
				time.Sleep(time.Hour)
				if told := r.receiver.of("one"); len(told) != n {
					t.Errorf("then %q was told", told[n:])
				}
			})
		}
	}
}

// TestALossBetweenTwoStepsIsTold: the event of a loss that comes while the planner
// still takes the store for there is not read away.
func TestALossBetweenTwoStepsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"))
		stop()
		p := &alertPlanner{app: a, home: a.shared.alerting, store: r.store}
		r.lose(true, a)
		now := time.Now()
		p.home.mu.Lock()
		p.takeInAlone(false, now) // it looked before the loss
		p.home.mu.Unlock()
		p.stepAlone()
		if down := p.home.alone.Alerts["store_down/"+a.shared.circuits.gateway]; down == nil || !down.Ended.IsZero() {
			t.Errorf("alone it knows %+v", p.home.alone.Alerts)
		}
	})
}
