package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// TestAGatewayServesWithoutItsRedis: it starts while the server is down, finds
// it later, and goes on over its loss and over a reload during it. No request
// fails meanwhile, and nodes and their numbers outlive a server that keeps
// nothing.
func TestAGatewayServesWithoutItsRedis(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	one, two := node(t, answers(hits("a"))), node(t, answers(hits("b")))
	port := loopback.FreePort(t)
	// a timeout that no busy machine exceeds: what is tested is not speed
	config := func(weight int) string {
		text := strings.ReplaceAll(
			federation(port, fmt.Sprintf("node one %s {\n dialect gateway\n weight %d\n}", one, weight), ""),
			"store memory", "store redis "+server.URL()+" {\n timeout 500ms\n}")
		return strings.Replace(text, "\tfederation_search", "\tfederation_nodes\n\tfederation_search", 1)
	}
	load(t, config(1))
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	asks := func(nodes int) {
		t.Helper()
		if a := g.search(200, `{"query":"x"}`); len(a.Nodes) != nodes {
			t.Errorf("%d nodes were asked, expected %d: %s", len(a.Nodes), nodes, a.raw)
		}
	}
	health := func(state, says string) func() bool {
		return func() bool {
			r := g.call("GET", "/v1/health", "")
			return r.status == 200 && r.text("status") == state && strings.Contains(r.raw, says) && !strings.Contains(r.raw, "redis")
		}
	}
	app := func() *fleet.App { return fleet.Running("test") }
	usable := func(expected bool) func() bool {
		return func() bool { return app().StoreState().Usable == expected }
	}
	asks(1)
	if state := app().StoreState(); state.Usable || !strings.Contains(state.Error, "redis refuses the connection") || strings.Contains(state.Error, "127.0.0.1") {
		t.Errorf("state is %+v", state)
	}

	eventually(t, health("warn", "the store cannot be used since"))

	server.Restart()
	eventually(t, usable(true))
	eventually(t, health("pass", `"gateways:count"`))
	record := store.NodeRecord{Slug: "two", Data: fmt.Appendf(nil, `{"url":%q,"dialect":{"dialect":"gateway"},"trusted":true}`, two)}
	if _, err := app().Store().Nodes().Put(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	registered := func() bool { return app().Snapshot().Node("two") != nil }
	eventually(t, registered)
	asks(2)
	identity, id := app().Identity(), app().Snapshot().Node("two").ID

	server.Kill()
	eventually(t, usable(false))
	eventually(t, health("warn", `"mode per feature"`))
	asks(2)
	adapted, err := adapt(config(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatalf("reloading without the store: %v", err)
	}
	http.DefaultClient.CloseIdleConnections() // they are to the old server
	asks(2)
	if app().Identity() != identity {
		t.Errorf("identity was %s and is %s", identity, app().Identity())
	}

	server.Restart() // empty
	returned := time.Now()
	eventually(t, func() bool {
		stored, err := app().Store().Nodes().Get(t.Context(), "two")
		return err == nil && stored.ID == id
	})
	t.Logf("nodes were put back %v after the server's return", time.Since(returned))
	asks(2)
	keeps := func() {
		t.Helper()
		if node := app().Snapshot().Node("two"); node == nil || node.ID != id {
			t.Errorf("node two was %d and is %+v", id, node)
		}
	}
	keeps()
	if app().Identity() != identity {
		t.Errorf("identity was %s and is %s", identity, app().Identity())
	}

	// and started again without it, as after a power cut
	server.Kill()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	load(t, config(2))
	keeps()
	asks(2)
}
