package ratelimit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

const laravel = "policy laravel {\n limit 60 1m\n per_path\n}"

// alone gives each test counts of its own.
func alone(t testing.TB) string {
	return fmt.Sprintf(`{"federation":{"name":%q,"store":{"module":"memory"}}}`, t.Name())
}

// What the old nodes answered to hits 1, 60 and 61 is what the gateway answers.
func TestTheRecordedRateLimit(t *testing.T) {
	text, err := os.ReadFile("../../testdata/contract/dec_rate_limit.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Exchanges []struct {
			Name    string
			Request struct {
				Method, Path string
			}
			Response struct {
				Status  int
				Headers map[string]string
				Body    map[string]any
			}
		}
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	g := serve(t, laravel, alone(t))
	g.next = func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-cache, private")
		// the node behind counts for itself
		w.Header().Add("X-RateLimit-Limit", "7")
		w.Header().Add("X-RateLimit-Remaining", "3")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	hits, checked := 0, 0
	for _, exchange := range recorded.Exchanges {
		hit, err := strconv.Atoi(strings.TrimPrefix(exchange.Name, "hit "))
		if err != nil {
			t.Fatal(err)
		}
		for ; hits < hit-1; hits++ {
			g.get(exchange.Request.Path, http.StatusOK)
		}
		hits++
		w := g.do(request(t, exchange.Request.Method, exchange.Request.Path))
		checked++
		if w.Code != exchange.Response.Status {
			t.Fatalf("%s: status %d", exchange.Name, w.Code)
		}
		for name, value := range exchange.Response.Headers {
			got := w.Header().Values(name)
			if name == "Retry-After" { // the windows end at other times
				if seconds, err := strconv.Atoi(got[0]); err != nil || seconds < 1 || seconds > 60 {
					t.Errorf("%s: %s is %v", exchange.Name, name, got)
				}
			} else if len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s is %q, recorded was %q", exchange.Name, name, got, value)
			}
		}
		if w.Code != http.StatusTooManyRequests {
			continue
		}
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if len(body) != len(exchange.Response.Body) || body["error"] != exchange.Response.Body["error"] || body["message"] == "" ||
			fmt.Sprint(body["retry_after"]) != w.Header().Get("Retry-After") {
			t.Errorf("%s: the body is %v, recorded was %v", exchange.Name, body, exchange.Response.Body)
		}
	}
	if checked != 3 {
		t.Errorf("%d exchanges were checked", checked)
	}
	if w := g.get("/api/ai-engine/search", http.StatusOK); w.Header().Get("X-RateLimit-Remaining") != "59" {
		t.Error("another path has no bucket of its own")
	}
}

func TestTheNativeRefusal(t *testing.T) {
	g := serve(t, "policy burst {\n limit 1 1h\n}\npolicy day {\n limit 10 24h\n burst 5\n}", alone(t))
	w := g.get("/v1/search", http.StatusOK)
	for name, value := range map[string]string{
		"RateLimit-Policy":      `"burst";q=1;w=3600, "day";q=10;w=86400`,
		"RateLimit":             `"burst";r=0;t=3600, "day";r=4;t=8640`,
		"X-RateLimit-Limit":     "1",
		"X-RateLimit-Remaining": "0",
	} {
		if got := w.Header().Get(name); got != value {
			t.Errorf("%s is %q, expected %q", name, got, value)
		}
	}
	w = g.get("/v1/search", http.StatusTooManyRequests)
	if got := w.Header().Get("RateLimit"); got != `"burst";r=0;t=3600, "day";r=4` {
		t.Errorf("RateLimit is %q", got)
	}
	if w.Header().Get("Retry-After") != "3600" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("headers are %v", w.Header())
	}
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	if body["code"] != "rate_limited" || body["status"] != 429.0 || body["retry_after"] != 3600.0 || !strings.Contains(fmt.Sprint(body["detail"]), "burst") {
		t.Errorf("the body is %v", body)
	}
}

func TestHeaderModes(t *testing.T) {
	for mode, expected := range map[string][2]bool{"draft": {true, false}, "legacy": {false, true}, "both": {true, true}, "off": {false, false}} {
		g := serve(t, "headers "+mode+"\npolicy "+mode+" {\n limit 1 1500ms\n}", alone(t))
		for _, status := range []int{http.StatusOK, http.StatusTooManyRequests} {
			header := g.get("/", status).Header()
			draft, legacy := header.Get("RateLimit") != "" && header.Get("RateLimit-Policy") == `"`+mode+`";q=1`, header.Get("X-RateLimit-Limit") == "1"
			if [2]bool{draft, legacy} != expected {
				t.Errorf("%s, %d: %v", mode, status, header)
			}
			if status == http.StatusTooManyRequests && header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", mode)
			}
		}
	}
}

// Exactly as many of many concurrent requests pass as there are events.
func TestExactly100Of2000Requests(t *testing.T) {
	g := serve(t, "policy exact {\n limit 100 1h\n}", alone(t))
	var passed, refused atomic.Int64
	var group sync.WaitGroup
	for range 2000 {
		group.Go(func() {
			switch w := g.do(request(t, http.MethodGet, "/")); w.Code {
			case http.StatusOK:
				passed.Add(1)
			case http.StatusTooManyRequests:
				refused.Add(1)
			}
		})
	}
	group.Wait()
	if passed.Load() != 100 || refused.Load() != 1900 {
		t.Errorf("%d passed, %d were refused", passed.Load(), refused.Load())
	}
}

func counted(t testing.TB, counter prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := counter.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestShadowRefusesNothing(t *testing.T) {
	g := serve(t, "shadow\npolicy shadowed {\n limit 1 1h\n}", alone(t))
	counter := decisionsTotal.WithLabelValues("shadowed", "shadowed")
	before := counted(t, counter)
	for range 3 {
		r := request(t, http.MethodGet, "/")
		w := g.do(r)
		if w.Code != http.StatusOK || w.Header().Get("RateLimit") != "" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	}
	if got := counted(t, counter) - before; got != 2 {
		t.Errorf("%v were shadowed", got)
	}
}

// What was counted and what was used up stay over a reload, and a config that
// cannot be loaded changes nothing.
func TestStateOutlivesAReload(t *testing.T) {
	for name, apps := range map[string]string{"with a federation": alone(t), "without": ""} {
		t.Run(name, func(t *testing.T) {
			lines := "policy reload {\n limit 3 1h\n key " + strings.ReplaceAll(t.Name(), " ", "_") + "\n}"
			allowed := decisionsTotal.WithLabelValues("reload", "allowed")
			before := counted(t, allowed)
			first := serve(t, lines, apps)
			first.get("/", http.StatusOK)
			second := serve(t, lines, apps)
			first.stop()
			second.get("/", http.StatusOK)
			if _, err := tryServe(t, lines+"\nheaders none", apps); err == nil {
				t.Fatal("a broken config was loaded")
			}
			second.get("/", http.StatusOK)
			second.get("/", http.StatusTooManyRequests)
			first.get("/", http.StatusTooManyRequests) // a request that still runs
			if got := counted(t, allowed) - before; got != 3 {
				t.Errorf("%v are counted as allowed", got)
			}
			families, err := second.ctx.GetMetricsRegistry().Gather()
			if err != nil {
				t.Fatal(err)
			}
			names := ""
			for _, family := range families {
				names += family.GetName() + " "
			}
			for _, name := range []string{"decisions_total", "keys", "store_operations_total", "store_lost"} {
				if !strings.Contains(names, "caddy_federation_rate_limit_"+name) {
					t.Errorf("%s is missing in %s", name, names)
				}
			}
			second.stop()
			third := serve(t, lines, apps)
			third.get("/", http.StatusOK) // nobody held the counts
		})
	}
}

// A config without a federation opens no store for its limits.
func TestNoStoreIsOpenedForLimits(t *testing.T) {
	serve(t, laravel, "").get("/", http.StatusOK)
	if found, err := filepath.Glob(filepath.Join(caddy.AppDataDir(), "federation", "*")); err != nil || len(found) != 0 {
		t.Errorf("there are %v, %v", found, err)
	}
}

func TestEventsAndPlaceholders(t *testing.T) {
	g := serve(t, "policy told {\n limit 1 1h\n}", alone(t))
	var seen []map[string]any
	if err := g.handler.events.On(EventExceeded, handlerFunc(func(e caddy.Event) { seen = append(seen, e.Data) })); err != nil {
		t.Fatal(err)
	}
	if err := g.handler.events.Start(); err != nil {
		t.Fatal(err)
	}
	g.get("/", http.StatusOK)
	r := request(t, http.MethodGet, "/")
	g.do(r)
	if len(seen) != 1 || seen[0]["policy"] != "told" || seen[0]["key"] != "told:ip=203.0.113.9" || seen[0]["shadow"] != false {
		t.Errorf("events were %v", seen)
	}
	said := replacer(r).ReplaceAll("{http.federation_rate_limit.exceeded.name} {http.federation_rate_limit.exceeded.key} {http.federation_rate_limit.exceeded.retry_after}", "-")
	if said != "told told:ip=203.0.113.9 3600" {
		t.Errorf("placeholders say %q", said)
	}
}

type handlerFunc func(caddy.Event)

func (f handlerFunc) Handle(_ context.Context, e caddy.Event) error { f(e); return nil }

var _ caddyevents.Handler = handlerFunc(nil)

// With the store lost each mode does what it declares, and the way back is found.
func TestOnStoreFailure(t *testing.T) {
	for mode, status := range map[string]int{"local": http.StatusOK, "open": http.StatusOK, "closed": http.StatusServiceUnavailable} {
		t.Run(mode, func(t *testing.T) {
			apps := fmt.Sprintf(`{"federation":{"name":%q,"on_store_failure":"open","store":{"module":"test_shared","data":%q}}}`, t.Name(), t.Name())
			lines := "policy lost {\n limit 2 1h\n}"
			if mode != "open" { // which the federation says
				lines += "\non_store_failure " + mode
			}
			g := serve(t, lines, apps)
			app, err := g.ctx.App("federation")
			if err != nil {
				t.Fatal(err)
			}
			if modes := app.(*fleet.App).StoreState().Modes; modes["rate_limit lost"] != mode {
				t.Errorf("declared are %v", modes)
			}
			g.get("/", http.StatusOK)
			broken.Store(true)
			defer broken.Store(false)
			w := g.get("/", status)
			if mode == "closed" && (w.Header().Get("Retry-After") != "1" || strings.Contains(w.Body.String(), "EOF")) {
				t.Errorf("%v %s", w.Header(), w.Body)
			}
			if mode == "local" {
				g.get("/", http.StatusTooManyRequests)
			}
			broken.Store(false)
			eventually(t, "the store is back", func() bool { return !fleet.Limiters()[t.Name()].Lost() })
			if mode == "local" { // what was admitted meanwhile is debited
				g.get("/", http.StatusTooManyRequests)
			} else {
				g.get("/", http.StatusOK)
				g.get("/", http.StatusTooManyRequests)
			}
		})
	}
}

func TestTopAndReset(t *testing.T) {
	g := serve(t, "policy reset {\n limit 1 1h\n}", alone(t))
	g.get("/", http.StatusOK)
	g.get("/", http.StatusTooManyRequests)
	l := fleet.Limiters()[t.Name()]
	top := l.Top(10, nil)
	if len(top) != 1 || top[0].Key != "reset:ip=203.0.113.9" || top[0].Allowed != 1 || top[0].Refused != 1 || top[0].Limit != 1 {
		t.Fatalf("top is %+v", top)
	}
	if known, err := l.Reset(t.Context(), top[0].Key); err != nil || !known {
		t.Fatal(known, err)
	}
	g.get("/", http.StatusOK)
}

// BenchmarkHandler is the whole handler, with a next one that does nothing.
func BenchmarkHandler(b *testing.B) {
	for name, limit := range map[string]string{"allowed": "50000 1s\n burst 100000000", "refused": "1 1h"} {
		b.Run(name, func(b *testing.B) {
			g := serve(b, "policy bench {\n limit "+limit+"\n per_path\n}", alone(b))
			next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
			r := request(b, http.MethodGet, "/v1/search")
			w := &discard{header: make(http.Header)}
			serve := func() {
				clear(w.header)
				if err := g.handler.ServeHTTP(w, r, next); err != nil {
					b.Fatal(err)
				}
			}
			serve()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				serve()
			}
		})
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
