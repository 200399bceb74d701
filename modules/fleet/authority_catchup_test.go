package fleet

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// counted are nodes whose changes are not heard of, and whose lists are counted.
type counted struct {
	deaf
	lists *atomic.Int64
}

func (c counted) List(ctx context.Context) ([]store.NodeRecord, error) {
	c.lists.Add(1)
	return c.Nodes.List(ctx)
}

// laggingCounted starts gateway 2, which hears of no change of a node.
func laggingCounted(t testing.TB, server *redistest.Server, block string) (*federated, *atomic.Int64) {
	t.Helper()
	lists := new(atomic.Int64)
	f := &federated{TB: t, name: t.Name() + " 2", opener: openerOn(t, server, 2, "")}
	if err := f.reload(block, func(nodes store.Nodes) store.Nodes { return counted{deaf{nodes}, lists} }); err != nil {
		t.Fatal(err)
	}
	f.store = f.app.Store()
	lists.Store(0)
	return f, lists
}

// laggingWithANode is laggingCounted, alone, and with a node in its store: one
// without is listed twice.
func laggingWithANode(t testing.TB) (*federated, *atomic.Int64) {
	t.Helper()
	b, lists := laggingCounted(t, redistest.Start(t), openEnrollment+"\n"+twoNodes)
	b.registers("Till", "http://127.0.0.1:8")
	lists.Store(0)
	return b, lists
}

// TestANewNodeIsKnownAtAGatewayThatLags: by its access token alone, also when
// the gateway knows an earlier node of the name.
func TestANewNodeIsKnownAtAGatewayThatLags(t *testing.T) {
	server := redistest.Start(t)
	block := openEnrollment + "\n" + twoNodes
	a := gatewayOn(t, server, 1, "", block)
	b, lists := laggingCounted(t, server, block)
	first := a.registers("Mill", "http://127.0.0.1:9")
	b.authenticates(first.AccessToken, "mill")
	if err := a.app.DeleteNode(t.Context(), "mill"); err != nil {
		t.Fatal(err)
	}
	second := a.registers("Mill", "http://127.0.0.1:10")
	b.authenticates(second.AccessToken, "mill")
	if n := lists.Load(); n != 2 {
		t.Errorf("the registry was read %d times for two nodes", n)
	}
	// the former one's number is below that of the name
	for range 3 {
		b.refuses(first.AccessToken, "unknown_node")
	}
	b.authenticates(b.issue("shop").AccessToken, "shop")
	if n := lists.Load(); n != 2 {
		t.Errorf("the registry was read %d times, twice of them needed", n)
	}
}

// TestWhatIsNotReadFor: a token of a bad signature, and twice for one token.
func TestWhatIsNotReadFor(t *testing.T) {
	b, lists := laggingWithANode(t)
	nobody := func(c jwt.MapClaims) { c["sub"], c["node_slug"] = 99, "mill" }
	for range 3 {
		b.refuses(mint(t, "main", testSecret+"x", nobody), "bad_signature")
		b.refuses(mint(t, "none", testSecret, nobody), "unknown_kid")
	}
	if n := lists.Load(); n != 0 {
		t.Errorf("read %d times for tokens that are not ours", n)
	}
	raw := mint(t, "main", testSecret, nobody)
	for range 3 {
		b.refuses(raw, "unknown_node")
	}
	if n := lists.Load(); n != 1 {
		t.Errorf("read %d times for one token", n)
	}
}

// TestTenReadingsASecond: however many ask, and each gets one that began later.
func TestTenReadingsASecond(t *testing.T) {
	b, lists := laggingWithANode(t)
	start := time.Now()
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			for range 4 {
				if err := b.app.authority.caughtUp(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	asking.Wait()
	n, most := lists.Load(), int64(time.Since(start)/catchUpPause)+1
	if n < 4 || n > most {
		t.Errorf("read %d times in %v, expected 4 to %d", n, time.Since(start), most)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.app.authority.caughtUp(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("who left waits: %v", err)
	}
	b.halt()
	if err := b.app.authority.caughtUp(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
