package fleet

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// A gateway that starts on a store that was emptied counts from 1 again. One
// that had come to the same number hears of it all the same.
func TestTheNumbersOfAnEmptiedStoreBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		s.silent = true // changes are polled
		old := join(t, s, &BreakerConfig{})
		old.gates[0].Force("reset", "", "", 0)
		synctest.Wait()
		stored, err := s.Store.Breakers().List(t.Context())
		if err != nil || len(stored) != 1 || stored[0].Generation != 1 {
			t.Fatalf("stored is %+v, %v", stored, err)
		}
		if err := s.Store.Breakers().Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		fresh := join(t, s, &BreakerConfig{})
		fresh.gates[0].calls(5, hard)
		synctest.Wait()
		stored, err = s.Store.Breakers().List(t.Context())
		if err != nil || len(stored) != 1 || stored[0].Generation != 1 || old.phase(0) != breaker.Closed {
			t.Fatalf("stored is %+v, %v; the old gateway is %s", stored, err, old.phase(0))
		}
		time.Sleep(2 * time.Second)
		if old.phase(0) != breaker.Open {
			t.Errorf("the old gateway is %s", old.phase(0))
		}
		time.Sleep(time.Minute) // the gates have timers that nothing ends
		old.stop()
		fresh.stop()
		s.Close()
	})
}
