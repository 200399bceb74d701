package fleet

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

// loneApp is a federation with one node a, without its goroutines.
func loneApp() *App {
	a := &App{logger: zap.NewNop(), shared: &shared{circuits: newCircuits(true)}}
	a.registry = &registry{app: a}
	node := NewNode("a")
	a.registry.current.Store(&Snapshot{Nodes: []*Node{node}, bySlug: map[string]*Node{"a": node}})
	return a
}

func TestGatewaysHearOfEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := memory.New(time.Now, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		var apps []*App
		var stops []context.CancelFunc
		for range 3 {
			a := loneApp()
			ctx, stop := context.WithCancel(t.Context())
			running.Go(func() { a.beat(ctx, s.Members()) })
			apps, stops = append(apps, a), append(stops, stop)
		}
		gate := func(i int) *Gate { return apps[i].Snapshot().Node("a").Gate() }
		ticket, err := gate(1).Admit(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		gate(2).call(fine)
		time.Sleep(3 * time.Second)
		if n := len(apps[0].shared.gateways.alive()); n != 3 {
			t.Fatalf("%d gateways are alive", n)
		}
		if n := apps[0].PeersInFlight("a"); n != 1 || apps[1].PeersInFlight("a") != 0 {
			t.Errorf("%d and %d calls are in flight elsewhere", n, apps[1].PeersInFlight("a"))
		}
		if n, _ := apps[0].electorate("a"); n != 2 { // itself and the one whose call has ended
			t.Errorf("%d gateways have traffic", n)
		}
		ticket.Done(fine)
		time.Sleep(15 * time.Second)
		if n, _ := apps[0].electorate("a"); n != 1 || apps[0].PeersInFlight("a") != 0 {
			t.Errorf("%d gateways have traffic, %d calls are in flight", n, apps[0].PeersInFlight("a"))
		}
		stops[1]() // leaves
		time.Sleep(2 * time.Second)
		if n := len(apps[0].shared.gateways.alive()); n != 2 {
			t.Errorf("%d gateways are alive after one left", n)
		}
		// one whose word is no JSON is alive all the same
		if _, _, err := s.Members().Beat(t.Context(), store.Member{ID: "odd", Data: []byte("{")}, time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if n := len(apps[0].shared.gateways.alive()); n != 3 {
			t.Errorf("%d gateways are alive", n)
		}
		s.Close() // and now nobody is heard of
		time.Sleep(10 * time.Second)
		if apps[0].shared.gateways.alive() != nil {
			t.Error("without the store there are others")
		}
		stops[0]()
		stops[2]()
		running.Wait()
	})
}
