package fleet

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// TestBreakerStatusSaysThatCallsPassInAPanic: what is let through although the
// breaker is open, and why.
func TestBreakerStatusSaysThatCallsPassInAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := group(t, nil, "a", "b", "c", "d", "e", "f")
		shown := func(g *Gate, state breaker.Phase, share float64, panic bool) {
			t.Helper()
			status := g.Breaker()
			text, err := json.Marshal(status)
			if err != nil || status.State != state || status.Share != share || status.Panic != panic || strings.Contains(string(text), `"panic":true`) != panic {
				t.Errorf("the breaker is shown as %s, expected %s, share %v, panic %v (%v)", text, state, share, panic, err)
			}
		}
		gates[0].calls(5, hard)
		gates[1].calls(5, refused)
		shown(gates[0], breaker.Open, 0, false)
		for _, g := range gates[2:5] {
			if err := g.Force("open", "upgrade", "kim", 0); err != nil {
				t.Fatal(err)
			}
		}
		shown(gates[0], breaker.Open, 1, true)
		shown(gates[1], breaker.Open, 0, false)       // nobody listens there
		shown(gates[2], breaker.ForcedOpen, 0, false) // the operator's word stands
		shown(gates[5], breaker.Closed, 1, false)
		time.Sleep(6 * time.Second)
		shown(gates[0], breaker.HalfOpen, 1, true) // trial calls, and the others
		shown(gates[1], breaker.HalfOpen, 0, false)
		for _, g := range gates[2:5] {
			if err := g.Force("reset", "", "kim", 0); err != nil {
				t.Fatal(err)
			}
		}
		shown(gates[0], breaker.HalfOpen, 0, false)
	})
}
