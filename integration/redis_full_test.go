package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// TestAFullRedisIsTold: a server that answers and takes nothing is no store.
// The log says it once, and once when it is over; requests go on.
func TestAFullRedisIsTold(t *testing.T) {
	server := redistest.Start(t)
	one := node(t, answers(hits("a")))
	port := loopback.FreePort(t)
	log := filepath.Join(t.TempDir(), "log")
	text := strings.NewReplacer(
		"store memory", "store redis "+server.URL()+" {\n timeout 2s\n}",
		"level ERROR", "level INFO\n output file "+log,
		"\tfederation_search", "\tmetrics /metrics\n\tfederation_nodes\n\tfederation_rate_limit /v1/search {\n policy full {\n limit 1000 1h\n}\n}\n\tfederation_search",
	).Replace(federation(port, "key main hs256 \""+strings.Repeat("k", 40)+"\"\nnode one "+one+" {\n dialect gateway\n}", ""))
	o := operator{t, fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))}
	load(t, strings.Replace(text, "admin off", "admin "+o.address, 1))
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	usable := func(expected bool, health, says string) {
		t.Helper()
		eventually(t, func() bool {
			r := g.call("GET", "/v1/health", "")
			return r.status == 200 && r.text("status") == health && strings.Contains(r.raw, says) && fleet.Limiters()["test"].Lost() != expected
		})
		up := map[bool]float64{true: 1}[expected]
		if seen := value(t, scrape(t, g.url+"/metrics"), `caddy_federation_store_up{federation="test"}`); seen != up {
			t.Errorf("store_up is %v, expected %v", seen, up)
		}
	}
	search := func() {
		t.Helper()
		for range 20 {
			g.search(http.StatusOK, `{"query":"x"}`)
		}
	}
	said := func(words string) int {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), words)
	}
	search()
	usable(true, "pass", "")
	server.Do("CONFIG", "SET", "maxmemory", "1")
	search()
	usable(false, "warn", "the store is full and takes nothing since")
	search()
	if state := fleet.Running("test").StoreState(); !state.Full || !strings.Contains(state.Error, "redis has used its maxmemory") {
		t.Errorf("%+v", state)
	}
	if r := o.expect(3, "", "token", "issue", "one"); !strings.Contains(r.errout, "the store is full") {
		t.Errorf("%+v", r)
	}
	if r := o.expect(5, "", "health"); strings.Contains(r.out, "map[") || !strings.Contains(r.out, "the store is full and takes nothing since") || !strings.Contains(r.out, "store: rate_limit full") {
		t.Errorf("health shows %s", r.out)
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	usable(true, "pass", "")
	search()
	for _, words := range []string{`"store lost: features go on as they declare"`, `"store is back"`, `"rate limits cannot be counted`, `"rate limits are counted in the store again"`} {
		if n := said(words); n != 1 {
			t.Errorf("the log says %d times %s", n, words)
		}
	}
}
