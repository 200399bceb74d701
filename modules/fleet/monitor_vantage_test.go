package fleet

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

// Three gateways share the nodes: each is checked by two of them, and one
// gateway that alone cannot reach a node does not take it out.
func TestVantagesAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := memory.New(time.Now, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		var probers []*prober
		patients.Store("a", new(patient))
		var reachable [3]atomic.Bool
		var checks [3]atomic.Int64
		for i := range 3 {
			a := loneApp()
			a.started = make(chan struct{})
			close(a.started)
			a.shared.events, a.raised = newEventQueue(), newEventQueue()
			node := a.Snapshot().Node("a")
			node.ID, node.Timeout = 1, time.Second
			node.URL, _ = parseNodeURL("http://127.0.0.1:1")
			reachable[i].Store(true)
			node.dialect = viewpoint(func() (*Report, error) {
				checks[i].Add(1)
				if !reachable[i].Load() {
					return nil, syscall.EHOSTUNREACH
				}
				return wellNode, nil
			})
			node.gate.rules, node.gate.fellows = &breaker.Default, a.nodesAsFellows()
			p := newProber(a)
			running.Go(func() { a.beat(ctx, s.Members()) })
			running.Go(func() { p.run(ctx) })
			probers = append(probers, p)
		}
		state := func(i int) Health { return probers[i].app.Snapshot().Node("a").Health().State }
		time.Sleep(30 * time.Second)
		var mine []int
		for i, p := range probers {
			if is, _ := p.vantage("a"); is {
				mine = append(mine, i)
			}
			before := checks[i].Load()
			time.Sleep(20 * time.Second)
			if is, _ := p.vantage("a"); is != (checks[i].Load() > before) {
				t.Errorf("gateway %d checks: %v, by vantage: %v", i, checks[i].Load() > before, is)
			}
			if state(i) != HealthHealthy {
				t.Errorf("gateway %d thinks %s", i, state(i))
			}
		}
		if len(mine) != 2 {
			t.Fatalf("%d gateways check the node", len(mine))
		}
		reachable[mine[0]].Store(false)
		time.Sleep(time.Minute)
		for i := range probers {
			if state(i) != HealthHealthy {
				t.Fatalf("one of two vantages took the node out on gateway %d", i)
			}
		}
		// with traffic that fails too, it is believed there
		probers[mine[0]].app.Snapshot().Node("a").gate.call(hard)
		time.Sleep(3 * time.Second)
		if state(mine[0]) != HealthUnhealthy {
			t.Errorf("with failing traffic it is %s", state(mine[0]))
		}
		reachable[mine[1]].Store(false)
		time.Sleep(time.Minute)
		for i := range probers {
			if state(i) != HealthUnhealthy {
				t.Errorf("both vantages agree, and gateway %d thinks %s", i, state(i))
			}
		}
		reachable[mine[0]].Store(true)
		reachable[mine[1]].Store(true)
		time.Sleep(time.Minute)
		for i := range probers {
			if state(i) != HealthHealthy && i != mine[0] { // that one still remembers a failed call
				t.Errorf("gateway %d thinks %s", i, state(i))
			}
		}
		stop()
		running.Wait()
		s.Close()
	})
}

// viewpoint is what one gateway sees of a node.
type viewpoint func() (*Report, error)

func (v viewpoint) Search(context.Context, Caller, *SearchQuery) (*SearchAnswer, error) {
	return nil, syscall.ECONNRESET
}

func (v viewpoint) Probe(context.Context, Caller) (*Report, error) { return v() }
