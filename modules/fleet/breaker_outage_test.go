package fleet

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// TestWhatIsOverWhenTheStoreReturnsStaysOver: three gateways see a node fail and
// come back while the store is gone, and an operator's force end. When the store
// hears of all that, nothing of it begins anew.
func TestWhatIsOverWhenTheStoreReturnsStaysOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		var peers []*peer
		for range 3 {
			peers = append(peers, join(t, s, nil))
		}
		for _, p := range peers {
			p.gates[0].calls(10, fine)
		}
		s.gone.Store(true)
		time.Sleep(2 * time.Second)
		for _, p := range peers {
			p.gates[0].calls(10, refused)
			if phase := p.phase(0); phase != breaker.Open {
				t.Fatalf("a gateway has %s", phase)
			}
		}
		if err := peers[0].gates[1].Force("open", "lost", "somebody", 4*time.Second); err != nil {
			t.Fatal(err)
		}
		for range 60 { // the trials, and the ramp
			time.Sleep(time.Second)
			for _, p := range peers {
				p.gates[0].calls(5, fine)
				p.gates[1].calls(5, fine)
			}
		}
		closed := func(when string) {
			t.Helper()
			for i, p := range peers {
				for node := range 2 {
					if b := p.gates[node].Breaker(); b.State != breaker.Closed {
						t.Errorf("%s: gateway %d has node %d %s (%s, until %v)", when, i, node, b.State, b.Reason, b.Until)
					}
				}
			}
		}
		closed("without the store")
		s.gone.Store(false)
		for range 50 {
			time.Sleep(200 * time.Millisecond)
			closed("after the store is back")
		}
	})
}

// TestAForceThatBeganInAnOutageEndsWhenItWasTo for all gateways.
func TestAForceThatBeganInAnOutageEndsWhenItWasTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		peers := []*peer{join(t, s, nil), join(t, s, nil)}
		s.gone.Store(true)
		time.Sleep(2 * time.Second)
		if err := peers[0].gates[0].Force("open", "lost", "somebody", 30*time.Second); err != nil {
			t.Fatal(err)
		}
		until := peers[0].gates[0].Breaker().Until
		time.Sleep(10 * time.Second)
		s.gone.Store(false)
		time.Sleep(5 * time.Second)
		for i, p := range peers {
			if b := p.gates[0].Breaker(); b.State != breaker.ForcedOpen || b.Until.Sub(until).Abs() > time.Second {
				t.Errorf("gateway %d: %s until %v, expected %v", i, b.State, b.Until, until)
			}
		}
	})
}
