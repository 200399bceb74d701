package fleet

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

func TestAGatewayAloneIsOne(t *testing.T) {
	f := run(t, "")
	if members := f.app.Members(); members.Count() != 1 || members.Drift || members.Stale || members.Skew != 0 {
		t.Errorf("members are %+v", members)
	}
}

func TestGatewaysNoticeClocksAndConfigsThatDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64 // of the store's clock
		s, err := memory.New(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		core, said := observer.New(zap.InfoLevel)
		var running sync.WaitGroup
		begin := func(issuer string, store store.Store) (*App, func()) {
			a := loneApp()
			a.Issuer, a.logger = issuer, zap.New(core)
			a.StoreRaw = []byte(`{"module":"` + issuer + `"}`) // may differ
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			running.Go(func() {
				defer close(done)
				a.beat(ctx, store.Members())
			})
			return a, func() { stop(); <-done }
		}
		expect := func(when, message string, times int) {
			t.Helper()
			if got := said.FilterMessage(message).Len(); got != times {
				t.Errorf("%s %q was logged %d times, expected %d", when, message, got, times)
			}
		}
		const differ, agree = "this gateway's clock and the store's differ", "this gateway's clock and the store's agree"
		const configs, config = "gateways run with different configs of the federation", "gateways run with one config of the federation"

		first, stopFirst := begin("one", s)
		_, stopSecond := begin("one", s)
		time.Sleep(3 * time.Second)
		members := first.Members()
		if members.Count() != 2 || members.Drift || members.Stale || members.Skew != 0 || members.Self != first.shared.circuits.gateway {
			t.Fatalf("members are %+v", members)
		}
		if g := members.Gateways[0]; g.ID == "" || g.Host == "" || g.Version == "" || len(g.Config) != 16 || g.Beat.IsZero() {
			t.Fatalf("gateway is %+v", g)
		}
		expect("in step", differ, 0)
		expect("alike", configs, 0)

		ahead.Store(int64(5 * time.Second))
		time.Sleep(10 * time.Second)
		if first.Members().Skew != 5*time.Second || first.Members().Gateways[1].Skew != 5*time.Second {
			t.Errorf("members are %+v", first.Members())
		}
		expect("5s apart", differ, 2) // once each
		ahead.Store(0)
		time.Sleep(10 * time.Second)
		expect("in step again", agree, 2)

		stopSecond()
		third, stopThird := begin("another", s)
		time.Sleep(10 * time.Second)
		if !first.Members().Drift || !third.Members().Drift || first.Members().Count() != 2 {
			t.Errorf("members are %+v", first.Members())
		}
		expect("with two configs", configs, 2)
		stopThird()
		time.Sleep(3 * time.Second)
		if first.Members().Drift || first.Members().Count() != 1 {
			t.Errorf("members are %+v", first.Members())
		}
		expect("with one config", config, 1)

		second, stopSecond := begin("one", s)
		time.Sleep(3 * time.Second)
		s.Close() // the number of gateways outlives the store
		time.Sleep(10 * time.Second)
		if members := second.Members(); members.Count() != 2 || !members.Stale {
			t.Errorf("members are %+v", members)
		}
		stopFirst()
		stopSecond()
		running.Wait()
	})
}

func BenchmarkMembers(b *testing.B) {
	a := loneApp()
	a.noteMembers([]store.Member{{ID: "a"}, {ID: "b"}}, time.Now(), time.Now(), time.Now())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a.Members().Count() != 2 {
				b.Fail()
			}
		}
	})
}
