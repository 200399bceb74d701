package fleet

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/bolt"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

// peer is the breakers of one gateway: of the nodes a and b.
type peer struct {
	home  *circuits
	gates []*Gate
	stop  func()
}

// brittle is a store whose breakers a test can take away, and whose push too.
type brittle struct {
	store.Store
	gone   atomic.Bool
	silent bool
}

var errGone = errors.New("the store is gone")

func (b *brittle) Breakers() store.Breakers { return brittleBreakers{b.Store.Breakers(), b} }
func (b *brittle) Now(ctx context.Context) (time.Time, error) {
	if b.gone.Load() {
		return time.Time{}, errGone
	}
	return b.Store.Now(ctx)
}

type brittleBreakers struct {
	store.Breakers
	b *brittle
}

func (b brittleBreakers) List(ctx context.Context) ([]store.BreakerRecord, error) {
	if b.b.gone.Load() {
		return nil, errGone
	}
	return b.Breakers.List(ctx)
}

func (b brittleBreakers) Transition(ctx context.Context, r store.BreakerRecord) (store.BreakerRecord, error) {
	if b.b.gone.Load() {
		return r, errGone
	}
	return b.Breakers.Transition(ctx, r)
}

func (b brittleBreakers) ClaimProbe(ctx context.Context, node string, generation uint64, owner string, most int, hold time.Duration) error {
	if b.b.gone.Load() {
		return errGone
	}
	return b.Breakers.ClaimProbe(ctx, node, generation, owner, most, hold)
}

// shared returns a store on the clock of the test.
func sharedStore(t testing.TB) *brittle {
	t.Helper()
	s, err := memory.New(time.Now, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &brittle{Store: s}
}

// join starts a gateway on the store.
func join(t testing.TB, s *brittle, config *BreakerConfig) *peer {
	return joinAt(t, s, config, "http://")
}

// joinAt starts one whose nodes live elsewhere.
func joinAt(t testing.TB, s *brittle, config *BreakerConfig, where string) *peer {
	t.Helper()
	p, sharer := attachedPeer(t, s, config, where, "a", "b")
	ctx, cancel := context.WithCancel(context.Background())
	var changes <-chan struct{}
	if !s.silent {
		var err error
		if changes, err = s.Breakers().Watch(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var running sync.WaitGroup
	running.Go(func() { sharer.run(ctx, changes) })
	p.stop = sync.OnceFunc(func() { cancel(); running.Wait(); sharer.detach() })
	t.Cleanup(p.stop)
	return p
}

// attachedPeer is a gateway with some nodes that has read the store once.
func attachedPeer(t testing.TB, s *brittle, config *BreakerConfig, where string, slugs ...string) (*peer, *sharer) {
	t.Helper()
	p := &peer{home: newCircuits(true)}
	rules := config.rules()
	f := &fellows{home: p.home, version: func() uint64 { return 0 }, each: func(yield func(*Gate)) {
		for _, g := range p.gates {
			yield(g)
		}
	}}
	var circuits []*circuit
	for _, slug := range slugs {
		m := newMember(p.home, slug, where+slug)
		circuits = append(circuits, m.circuit)
		p.gates = append(p.gates, &Gate{member: m, rules: rules, fellows: f})
	}
	core, _ := observer.New(zap.InfoLevel)
	sharer := &sharer{home: p.home, store: s, rules: rules, list: func() []*circuit { return circuits }, logger: zap.New(core)}
	if err := sharer.attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p, sharer
}

func (p *peer) phase(i int) breaker.Phase { return p.gates[i].Breaker().State }

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
