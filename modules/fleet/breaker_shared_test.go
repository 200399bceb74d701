package fleet

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/bolt"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

// Thirty callers on three gateways, and one trial among them, two hundred times.
func TestExactlyOneProbeAmong30ClaimantsOn3Gateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		var peers []*peer
		for range 3 {
			peers = append(peers, join(t, s, &BreakerConfig{MaxOpen: 5 * second}))
		}
		peers[0].gates[0].calls(5, hard)
		for round := range 200 {
			for peers[0].phase(0) != breaker.HalfOpen || peers[1].phase(0) != breaker.HalfOpen || peers[2].phase(0) != breaker.HalfOpen {
				time.Sleep(time.Second)
			}
			var group sync.WaitGroup
			var mu sync.Mutex
			var won []Ticket
			for i := range 30 {
				group.Go(func() {
					ticket, err := peers[i%3].gates[0].Admit(t.Context(), time.Now())
					if err != nil {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					won = append(won, ticket)
				})
			}
			group.Wait()
			if len(won) != 1 || !won[0].Trial() {
				t.Fatalf("round %d: %d trials", round, len(won))
			}
			switch round % 3 {
			case 0: // it tells nothing, and the next round has it
				won[0].Done(left)
				time.Sleep(time.Second)
			default:
				won[0].Done(hard)
				time.Sleep(time.Second)
				for i, p := range peers {
					if p.phase(0) != breaker.Open {
						t.Fatalf("round %d: gateway %d is %s after a trial that failed", round, i, p.phase(0))
					}
				}
			}
		}
		time.Sleep(time.Minute)
		for _, p := range peers {
			p.stop()
		}
		s.Close()
	})
}

// Trials on two gateways close the breaker on all three.
func TestTrialsOfAllGatewaysCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		first, second, third := join(t, s, nil), join(t, s, nil), join(t, s, nil)
		first.gates[0].calls(5, hard)
		time.Sleep(6 * time.Second)
		if !first.gates[0].call(fine) {
			t.Fatal("no trial")
		}
		time.Sleep(200 * time.Millisecond)
		if s := third.gates[0].Breaker(); s.State != breaker.HalfOpen || s.Successes != 1 {
			t.Fatalf("after one success the third is %+v", s)
		}
		if !second.gates[0].call(fine) {
			t.Fatal("no second trial")
		}
		time.Sleep(200 * time.Millisecond)
		for _, p := range []*peer{first, second, third} {
			if p.phase(0) != breaker.Closed || p.gates[0].Share() > 0.2 {
				t.Fatalf("the breaker is %+v", p.gates[0].Breaker())
			}
		}
		first.stop()
		second.stop()
		third.stop()
		s.Close()
	})
}

// The store's clock is the only one: gateways that are an hour apart agree.
func TestBreakersOnTheStoresClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead, err := memory.New(func() time.Time { return time.Now().Add(time.Hour) }, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		s := &brittle{Store: ahead}
		first, second := join(t, s, nil), join(t, s, nil)
		first.gates[0].calls(5, hard)
		time.Sleep(time.Second)
		state := second.gates[0].Breaker()
		if state.State != breaker.Open || time.Until(state.Since) < 59*time.Minute {
			t.Fatalf("the breaker is %+v", state)
		}
		late := join(t, s, nil) // restored with the remaining time
		if late.phase(0) != breaker.Open {
			t.Fatal("a gateway that joins does not see it")
		}
		time.Sleep(4600 * time.Millisecond)
		for _, p := range []*peer{first, second, late} {
			if p.phase(0) != breaker.HalfOpen {
				t.Fatalf("the breaker is %+v", p.gates[0].Breaker())
			}
		}
		first.stop()
		second.stop()
		late.stop()
		s.Close()
	})
}

// While the store is gone each gateway goes on alone; nothing resets, and
// what happened is told when it is back.
func TestBreakersGoOnWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		first, second := join(t, s, nil), join(t, s, nil)
		first.gates[0].calls(5, hard)
		time.Sleep(time.Second)
		s.gone.Store(true)
		time.Sleep(2 * time.Second)
		if first.phase(0) != breaker.Open || second.phase(0) != breaker.Open {
			t.Fatal("losing the store closed a breaker")
		}
		time.Sleep(3 * time.Second)
		if !first.gates[0].call(fine) || !second.gates[0].call(hard) {
			t.Fatal("without the store there are no trials")
		}
		time.Sleep(trialDenied)
		if !first.gates[0].call(fine) || first.phase(0) != breaker.Closed || second.phase(0) != breaker.Open {
			t.Fatalf("the gateways are %s and %s", first.phase(0), second.phase(0))
		}
		second.gates[1].Force("open", "upgrade", "kim", 0)
		s.gone.Store(false)
		time.Sleep(2 * time.Second)
		if first.phase(1) != breaker.ForcedOpen {
			t.Errorf("what was forced meanwhile is %s", first.phase(1))
		}
		if a, b := first.phase(0), second.phase(0); a != b {
			t.Errorf("the gateways are %s and %s", a, b)
		}
		time.Sleep(time.Minute)
		first.stop()
		second.stop()
		s.Close()
	})
}

// One of three gateways that alone sees failures opens for itself; two open for all.
func TestBreakerQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		first, second, third := join(t, s, nil), join(t, s, nil), join(t, s, nil)
		var confirmed atomic.Bool
		three := func(string) (int, bool) { return 3, confirmed.Load() }
		for _, p := range []*peer{first, second, third} {
			p.home.electorate.Store(&three)
		}
		first.gates[0].calls(5, hard)
		time.Sleep(time.Second)
		if first.phase(0) != breaker.Open || !first.gates[0].Breaker().Alone || second.phase(0) != breaker.Closed || third.phase(0) != breaker.Closed {
			t.Fatalf("one of three: %s %s %s", first.phase(0), second.phase(0), third.phase(0))
		}
		second.gates[0].calls(5, hard)
		time.Sleep(100 * time.Millisecond)
		if first.gates[0].Breaker().Alone || second.phase(0) != breaker.Open || third.phase(0) != breaker.Open {
			t.Fatalf("two of three: %s %s %s", first.phase(0), second.phase(0), third.phase(0))
		}
		third.gates[0].Force("reset", "", "", 0)
		time.Sleep(time.Minute)
		// its own trials bring back the one that is alone
		first.gates[0].calls(5, hard)
		time.Sleep(6 * time.Second)
		if !first.gates[0].call(hard) || !first.gates[0].Breaker().Alone || first.phase(0) != breaker.Open {
			t.Fatalf("the trial of one alone: %+v", first.gates[0].Breaker())
		}
		time.Sleep(12 * time.Second)
		first.gates[0].call(fine)
		first.gates[0].call(fine)
		if first.phase(0) != breaker.Closed {
			t.Fatalf("after its trials: %+v", first.gates[0].Breaker())
		}
		time.Sleep(time.Minute)
		// an active check that agrees is enough
		confirmed.Store(true)
		first.gates[0].calls(5, hard)
		time.Sleep(100 * time.Millisecond)
		if second.phase(0) != breaker.Open {
			t.Fatal("a confirmed trip is not shared")
		}
		time.Sleep(time.Minute)
		first.stop()
		second.stop()
		third.stop()
		s.Close()
	})
}

// A breaker belongs to a node at its address.
func TestBreakerOfAnotherAddressIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		first := join(t, s, nil)
		first.gates[0].calls(5, hard)
		time.Sleep(time.Second)
		record, err := s.Breakers().List(t.Context())
		if err != nil || len(record) != 1 || record[0].State != "open" || record[0].Node != "a" || record[0].Until.IsZero() {
			t.Fatalf("stored is %+v, %v", record, err)
		}
		moved := joinAt(t, s, nil, "http://new.")
		if moved.phase(0) != breaker.Closed || moved.gates[0].calls(10, fine) != 10 {
			t.Errorf("the node that moved is %s", moved.phase(0))
		}
		moved.gates[0].calls(5, hard) // and now it has one of its own in the store
		time.Sleep(time.Second)
		if s := moved.gates[0].Breaker(); s.State != breaker.Open || s.Opens != 1 || len(s.History) != 1 {
			t.Errorf("the node that moved is %+v", s)
		}
		time.Sleep(time.Minute)
		first.stop()
		moved.stop()
		s.Close()
	})
}

// TestARestartKeepsATrippedBreaker: with the time that remains, to the second.
func TestARestartKeepsATrippedBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "kept.db")
		open := func() (*brittle, store.Store) {
			s, err := (&bolt.Bolt{File: file}).Open(t.Context(), "kept", zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			return &brittle{Store: s}, s
		}
		s, closer := open()
		p := join(t, s, &BreakerConfig{Open: 60 * second, MaxOpen: 60 * second})
		p.gates[0].calls(5, hard)
		until := p.gates[0].Breaker().Until
		p.stop() // writes what waits
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(until) / 2) // while no gateway runs
		s, closer = open()
		defer closer.Close()
		p = join(t, s, &BreakerConfig{Open: 60 * second, MaxOpen: 60 * second})
		defer p.stop()
		state := p.gates[0].Breaker()
		if off := state.Until.Sub(until).Abs(); state.State != breaker.Open || off > time.Second || len(state.History) != 1 {
			t.Fatalf("after the restart the breaker is %+v, expected it to be open until %v", state, until)
		}
		time.Sleep(time.Until(until) - 2*time.Second)
		if p.gates[0].call(fine) {
			t.Error("a call was let through before the time was over")
		}
		time.Sleep(4 * time.Second)
		if !p.gates[0].call(fine) {
			t.Error("no trial call was let through when the time was over")
		}
	})
}

// Eight gateways that trip, force, reset and try at once agree in the end.
func TestBreakersOfManyGatewaysAgreeInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		var peers []*peer
		for range 8 {
			peers = append(peers, join(t, s, nil))
		}
		for range 30 {
			var group sync.WaitGroup
			for i, p := range peers {
				group.Go(func() {
					switch i % 4 {
					case 0:
						p.gates[0].calls(10, hard)
					case 1:
						p.gates[0].calls(10, fine)
					case 2:
						p.gates[0].Force("open", "", "", 0)
					case 3:
						p.gates[0].Force("reset", "", "", 0)
					}
				})
			}
			group.Wait()
			time.Sleep(3 * time.Second)
			states := make(map[breaker.State]int)
			for _, p := range peers {
				state := p.gates[0].member.circuit.era.Load().state
				states[breaker.State{Phase: state.Phase}]++
			}
			if len(states) != 1 {
				t.Fatalf("the gateways think %v", states)
			}
			peers[0].gates[0].Force("reset", "", "", 0)
			time.Sleep(time.Minute)
		}
		for _, p := range peers {
			p.stop()
		}
		s.Close()
	})
}
