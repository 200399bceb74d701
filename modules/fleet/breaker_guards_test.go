package fleet

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

func TestBreakerGuards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := group(t, nil, "a", "b", "c", "d")
		for _, g := range gates {
			g.calls(50, hard)
			time.Sleep(guardPause)
		}
		expect(t, gates[0], breaker.Open)
		expect(t, gates[1], breaker.Open)
		for _, g := range gates[2:] {
			if s := g.Breaker(); s.State != breaker.Closed || s.Guarded == 0 || s.LastGuard == "" {
				t.Errorf("more than half are out: %+v", s)
			}
		}
		// below half available, an opening on traffic is not believed
		if err := gates[2].Force("open", "upgrade", "kim", 0); err != nil {
			t.Fatal(err)
		}
		if n := gates[0].calls(10, fine); n != 10 || gates[0].Refusal() != "" {
			t.Errorf("in panic, %d of 10 were let through", n)
		}
		if n := gates[2].calls(10, fine); n != 0 || gates[2].Refusal() != "open" {
			t.Errorf("in panic, %d of 10 passed what an operator forced open", n)
		}
		if err := gates[2].Force("reset", "", "kim", 0); err != nil {
			t.Fatal(err)
		}
		if n := gates[0].calls(10, fine); n != 0 {
			t.Errorf("after the panic, %d of 10 were let through", n)
		}
		time.Sleep(time.Minute)
	})
}

func TestBreakerNeverTakesTheLastNode(t *testing.T) {
	only := group(t, &BreakerConfig{MaxEjected: -1}, "only")[0]
	if n := only.calls(1000, hard); n != 1000 {
		t.Errorf("%d of 1000 were let through", n)
	}
	if err := only.Force("open", "", "kim", 0); err != nil {
		t.Fatal(err)
	}
	if n := only.calls(10, hard); n != 0 {
		t.Errorf("%d passed what an operator forced open", n)
	}
}

// Two nodes that fail at the same moment are counted one after the other.
func TestBreakerConcurrentTripsLeaveOne(t *testing.T) {
	for i := range 50 {
		g, err := LoadGates(fmt.Sprint(t.Name(), i), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		gates := []*Gate{g.Gate("a"), g.Gate("b")}
		for _, gate := range gates {
			group.Go(func() { gate.calls(20, hard) })
		}
		group.Wait()
		open := 0
		for _, gate := range gates {
			if gate.Breaker().State == breaker.Open {
				open++
			}
			gate.Force("reset", "", "", 0)
		}
		if open != 1 {
			t.Fatalf("%d of 2 opened", open)
		}
		g.Close()
	}
}

// In a panic nodes are tried that answered badly, not those where nobody listens.
func TestBreakerConnectionRefusedIsBelievedInAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := group(t, nil, "a", "b", "c", "d")
		gates[0].calls(5, refused)
		gates[1].calls(5, hard)
		gates[2].Force("open", "", "kim", time.Minute)
		if gates[0].calls(10, fine) != 0 {
			t.Error("a node that refuses connections was tried")
		}
		if gates[1].calls(10, fine) != 10 {
			t.Error("a node that might answer was not tried")
		}
		time.Sleep(2 * time.Minute)
	})
}
