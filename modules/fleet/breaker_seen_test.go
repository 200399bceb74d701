package fleet

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// On the fake clock a delay is one that the code makes: a poll or a pause.
func TestATripIsSeenByTheOthersWithin50Milliseconds(t *testing.T) {
	seen(t, false, 50*time.Millisecond)
}

func TestATripIsSeenWithinASecondWithoutPubSub(t *testing.T) { seen(t, true, time.Second) }

func seen(t *testing.T, silent bool, within time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		s.silent = silent
		first, second, third := join(t, s, nil), join(t, s, nil), join(t, s, nil)
		for range 20 {
			time.Sleep(777 * time.Millisecond)
			first.gates[0].calls(5, hard)
			time.Sleep(within)
			synctest.Wait()
			for _, p := range []*peer{first, second, third} {
				if p.phase(0) != breaker.Open || p.gates[0].call(fine) {
					t.Fatalf("the breaker is %+v", p.gates[0].Breaker())
				}
			}
			third.gates[0].Force("reset", "", "kim", 0)
			time.Sleep(within)
			synctest.Wait()
			for _, p := range []*peer{first, second, third} {
				if p.phase(0) != breaker.Closed {
					t.Fatalf("the breaker is %+v", p.gates[0].Breaker())
				}
			}
			time.Sleep(15 * time.Second) // the ramp
		}
		if h := second.gates[0].Breaker().History; len(h) != breaker.MaxHistory || h[len(h)-1].Actor != "kim" {
			t.Errorf("history is %+v", h)
		}
		time.Sleep(10 * time.Minute)
		first.stop()
		second.stop()
		third.stop()
		s.Close()
	})
}

// BenchmarkTripSeenByOthers reports how long it takes on the real clock, in
// one process: the store's push, and what the gateways add to it.
func BenchmarkTripSeenByOthers(b *testing.B) {
	s := sharedStore(b)
	first, second := join(b, s, nil), join(b, s, nil)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		first.gates[0].Force("open", "", "", 0)
		for second.gates[0].member.circuit.era.Load().state.Phase != breaker.ForcedOpen {
			time.Sleep(20 * time.Microsecond)
		}
		took = append(took, time.Since(start))
		first.gates[0].Force("reset", "", "", 0)
		for second.gates[0].member.circuit.era.Load().state.Phase != breaker.Closed {
			time.Sleep(20 * time.Microsecond)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100])/float64(time.Millisecond), "p99-ms")
}
