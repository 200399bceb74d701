package limiter

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// remote is a store as it looks over a network: it takes time, and it fails.
type remote struct {
	store.Limits
	delay   time.Duration
	failure atomic.Pointer[error]
	asked   atomic.Int64
}

func (r *remote) Take(ctx context.Context, order []store.LimitPolicy) (bool, []store.LimitState, error) {
	r.asked.Add(1)
	if r.delay > 0 {
		time.Sleep(r.delay)
	}
	if err := r.failure.Load(); err != nil {
		return false, nil, *err
	}
	return r.Limits.Take(ctx, order)
}

func newRemote(t testing.TB, delay time.Duration) *remote {
	t.Helper()
	s, err := memory.New(time.Now, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return &remote{Limits: s.Limits(), delay: delay}
}

// gateways are limiters that share a store, or one that has none.
func newGateways(t testing.TB, n int, limits store.Limits) []*Limiter {
	t.Helper()
	all := make([]*Limiter, n)
	for i := range all {
		l := New(MaxKeys)
		all[i] = l
		t.Cleanup(l.Close)
		if limits != nil {
			t.Cleanup(l.Attach(limits, func() int { return n }, func(error) {}))
		}
	}
	return all
}

func newPolicy(t testing.TB, limit int, window time.Duration, burst int) *Policy {
	t.Helper()
	p, err := NewPolicy("test", limit, window, burst)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// take asks for one event of one key.
func take(t testing.TB, l *Limiter, p *Policy, key string) (Decision, store.LimitState) {
	var states [1]store.LimitState
	d := l.Take(t.Context(), []Charge{{p, []byte(key), 1}}, states[:], Local)
	return d, states[0]
}
