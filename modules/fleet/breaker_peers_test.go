package fleet

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
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
