package limiter

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// decider asks for one event of many keys in turn.
func decider(tb testing.TB, l *Limiter, keys int) func() {
	policy := newPolicy(tb, 100_000, time.Second, 1<<30/10)
	names := make([][]byte, keys)
	for i := range names {
		names[i] = fmt.Appendf(nil, "policy\x00198.51.100.%d", i)
	}
	ctx, n := tb.Context(), 0
	charges, states := make([]Charge, 1), make([]store.LimitState, 1)
	return func() {
		charges[0] = Charge{policy, names[n%keys], 1}
		if n++; l.Take(ctx, charges, states, Local) != Allowed {
			tb.Fatal("refused")
		}
	}
}

// A decision allocates nothing, alone and on a leased key.
func TestADecisionAllocatesNothing(t *testing.T) {
	alone := decider(t, newGateways(t, 1, nil)[0], 1)
	l := newGateways(t, 1, endless{})[0]
	leased := decider(t, l, 1)
	for range 1000 {
		leased()
	}
	for i := range l.table.shards { // one lease for the whole test
		for _, e := range l.table.shards[i].keys {
			e.leased, e.expires = 1<<30, 1<<60
		}
	}
	for name, decide := range map[string]func(){"alone": alone, "leased": leased} {
		decide()
		if n := testing.AllocsPerRun(1000, decide); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkDecision reports the CPU of a decision too: on a machine that
// others use as well, ns/op is mostly theirs.
func BenchmarkDecision(b *testing.B) {
	run := func(b *testing.B, limits store.Limits, keys int) {
		decide := decider(b, newGateways(b, 1, limits)[0], keys)
		for range keys {
			decide()
		}
		b.ReportAllocs()
		b.ResetTimer()
		begin := cpu(b)
		for range b.N {
			decide()
		}
		b.ReportMetric(float64(cpu(b)-begin)/float64(b.N), "cpu-ns/op")
	}
	b.Run("alone", func(b *testing.B) { run(b, nil, 1) })
	b.Run("alone/10000 keys", func(b *testing.B) { run(b, nil, 10_000) })
	b.Run("leased", func(b *testing.B) { run(b, endless{}, 1) })
}

// cpu is the time that the kernel counted for this process.
func cpu(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// endless has every event, and tells of no time.
type endless struct{ store.Limits }

func (endless) Take(_ context.Context, order []store.LimitPolicy) (bool, []store.LimitState, error) {
	states := make([]store.LimitState, len(order))
	for i, p := range order {
		states[i].Remaining = p.Burst
	}
	return true, states, nil
}

// TestAResetWhileTheStoreTakesNothingIsOfThisGateway: a full server could still
// forget the key, but the others go on without it.
func TestAResetWhileTheStoreTakesNothingIsOfThisGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 0)
		l := New(MaxKeys)
		defer l.Close()
		defer l.Attach(r, func() int { return 1 }, func(error) {})()
		policy := newPolicy(t, 2, time.Hour, 0)
		take(t, l, policy, "k")
		if known, err := l.Reset(t.Context(), "k"); !known || err != nil {
			t.Errorf("with its store: %v, %v", known, err)
		}
		full := store.ErrFull
		r.failure.Store(&full)
		take(t, l, policy, "k")
		if !l.Lost() {
			t.Fatal("the store is not lost")
		}
		if known, err := l.Reset(t.Context(), "k"); !known || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("without its store: %v, %v", known, err)
		}
	})
}
