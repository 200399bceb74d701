package integration

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"
)

// A node that fails is left out of searches after five failures in a row, and
// stays out over a reload and a restart.
func TestATrippedBreakerStaysOverAReloadAndARestart(t *testing.T) {
	well := node(t, answers(hits("a")))
	var asked atomic.Int32
	broken := node(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			answers(`{"status":"pass"}`)(w, r) // it says that it is well
			return
		}
		asked.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	})
	port, file := loopback.FreePort(t), filepath.Join(t.TempDir(), "breaker.db")
	config := func(weight int) string {
		return strings.ReplaceAll(federation(port, fmt.Sprintf(`
			node_defaults {
				dialect gateway
			}
			breaker {
				open 1h 1h
			}
			node broken %s {
				weight %d
			}
			node well %s`, broken, weight, well), ""),
			"store memory", "store bolt "+file)
	}
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	load(t, config(1))
	for range 5 {
		if a := g.search(200, `{"query":"x"}`); a.node("broken").Status != "error" {
			t.Fatalf("the broken node is %+v", a.node("broken"))
		}
	}
	open := func(when string) {
		t.Helper()
		before := asked.Load()
		a := g.search(200, `{"query":"x"}`)
		if r := a.node("broken"); r.Status != "open" || r.Reason != "open" || !a.Partial || asked.Load() != before {
			t.Fatalf("%s the node is %+v, partial is %v", when, r, a.Partial)
		}
		if a := g.search(503, `{"query":"x","nodes":["broken"]}`); a.header.Get("Retry-After") == "" {
			t.Errorf("%s there is no Retry-After", when)
		}
	}
	open("after five failures")
	load(t, config(2))
	http.DefaultClient.CloseIdleConnections() // they are to the old server
	open("after a reload")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	load(t, config(1))
	http.DefaultClient.CloseIdleConnections()
	open("after a restart")
}
