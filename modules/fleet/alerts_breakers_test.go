package fleet

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// force makes a breaker of a gateway open ("open") or closed ("reset"), as
// calls would, without a store to agree in.
func force(t *testing.T, a *App, slug, word string) {
	t.Helper()
	gate := a.Snapshot().Node(slug).gate
	if gate.rules == nil {
		rules := breaker.Default
		gate.rules = &rules
	}
	if err := gate.Force(word, "a test", "me", 0); err != nil {
		t.Fatal(err)
	}
}

// TestABreakerThatOpensWithoutAStoreIsToldAtOnce: that it opens, and nothing of
// it again when the store is back; that it closed is told then.
func TestABreakerThatOpensWithoutAStoreIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		down := "store_down/" + a.shared.circuits.gateway
		for _, slug := range []string{"a", "b", "c", "shop"} {
			force(t, a, slug, "reset")
		}
		time.Sleep(time.Second)
		force(t, a, "a", "open")
		a.Emit("breaker_open", "a", reason)
		time.Sleep(time.Minute)
		r.receiver.expect(t, "one", "+breaker_open/a")

		// one that opened a moment before the loss, which nobody was told of yet
		force(t, a, "b", "open")
		a.Emit("breaker_open", "b", reason)
		time.Sleep(2 * time.Second)
		r.lose(true, a)
		time.Sleep(2 * time.Second)
		force(t, a, "c", "open")
		set := *a.Snapshot().Node("shop")
		set.AdminState = AdminMaintenance
		a.registry.current.Store(&Snapshot{Nodes: []*Node{a.Snapshot().Node("a"), a.Snapshot().Node("b"), a.Snapshot().Node("c"), &set}, bySlug: map[string]*Node{
			"a": a.Snapshot().Node("a"), "b": a.Snapshot().Node("b"), "c": a.Snapshot().Node("c"), "shop": &set,
		}})
		force(t, a, "shop", "open")
		time.Sleep(afterGroup)
		r.receiver.expect(t, "one", "+breaker_open/a", "+"+down+" +breaker_open/b +breaker_open/c")
		force(t, a, "c", "reset")
		time.Sleep(time.Hour)
		r.receiver.expect(t, "one", "+breaker_open/a", "+"+down+" +breaker_open/b +breaker_open/c")

		r.lose(false, a)
		a.Emit("breaker_open", "b", reason) // now the gateways agree on it
		time.Sleep(time.Minute)
		told := r.receiver.of("one")
		if len(told) != 3 || told[2] != "-"+down+" -breaker_open/c" {
			t.Fatalf("then %q was told", told[2:])
		}
		if s := a.AlertStatus(); s.Firing != 2 || s.Pending != 0 {
			t.Errorf("status is %+v", s)
		}

		// the store is lost again while b is open, and it closes
		r.lose(true, a)
		time.Sleep(time.Minute)
		force(t, a, "b", "reset")
		time.Sleep(time.Minute)
		r.lose(false, a)
		time.Sleep(time.Minute)
		if told = r.receiver.of("one"); len(told) != 5 || told[3] != "+"+down || told[4] != "-"+down+" -breaker_open/b" {
			t.Fatalf("then %q was told", told[3:])
		}
		if s := a.AlertStatus(); s.Firing != 1 || s.Pending != 0 {
			t.Errorf("status is %+v", s)
		}
		if len(a.shared.alerting.breakers) != 0 {
			t.Errorf("%v are remembered", a.shared.alerting.breakers)
		}
	})
}
