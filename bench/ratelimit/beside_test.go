// Package ratelimit measures federation_rate_limit beside rate_limit of
// github.com/mholt/caddy-ratelimit, which keeps a ring of the times of all
// events for each key. It is a module of its own, because nobody who builds the
// plugin needs the other one.
package ratelimit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/mholt/caddy-ratelimit"

	_ "github.com/caddy-federation/caddy-federation/modules/ratelimit"
)

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "bench-ratelimit")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_DATA_HOME", folder)
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// handler is one of the two, as Caddy loads it from a config.
type handler struct {
	caddyhttp.MiddlewareHandler
	stop func()
}

// settings are those of one comparison. The key is a header, so that both find
// it through Caddy's replacer.
type settings struct {
	limit   int  // events a minute
	burst   int  // of ours; so much that nothing is refused
	refuses bool // all but the first of a key, instead of nothing
	headers bool // those that tell callers how they stand, which the other has not
}

const endless = 10_000_000

// names tells the limits of handlers apart: they share counts by name.
var names atomic.Int64

func (s settings) ours(b *testing.B) handler {
	headers := "off"
	if s.headers {
		headers = "both"
	}
	return load(b, "federation_rate_limit", fmt.Sprintf(
		`{"policies":[{"name":"p%d","limit":%d,"window":"1m","burst":%d,"key":"{http.request.header.K}"}],"headers":%q}`,
		names.Add(1), s.limit, s.burst, headers))
}

func (s settings) theirs(b *testing.B) handler {
	events, window := s.limit, "1ns" // over at once, so that nothing is refused; the ring is as long as with a minute
	if s.refuses {
		events, window = 1, "1m"
	}
	return load(b, "rate_limit", fmt.Sprintf(
		`{"rate_limits":{"p%d":{"max_events":%d,"window":%q,"key":"{http.request.header.K}"}}}`, names.Add(1), events, window))
}

func load(b *testing.B, name, config string) handler {
	b.Helper()
	base, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	stop := sync.OnceFunc(cancel)
	b.Cleanup(stop)
	module, err := ctx.LoadModuleByID("http.handlers."+name, json.RawMessage(config))
	if err != nil {
		b.Fatal(err)
	}
	return handler{module.(caddyhttp.MiddlewareHandler), stop}
}

// caller is a connection that sends requests, one after the other.
type caller struct {
	requests []*http.Request
	next     int
}

// newCaller makes a request for each key, as Caddy's server hands it on.
func newCaller(keys, first int) *caller {
	c := &caller{requests: make([]*http.Request, keys), next: first}
	for i := range c.requests {
		r := httptest.NewRequest(http.MethodGet, "http://site.example/v1/search?q=tea", nil)
		r.Header.Set("K", keyOf(i))
		repl := caddyhttp.NewTestReplacer(r)
		ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: "203.0.113.9"})
		c.requests[i] = r.WithContext(ctx)
	}
	return c
}

func keyOf(i int) string { return fmt.Sprintf("198.51.%d.%d", i/256, i%256) }

// answer takes an answer and keeps its status.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header          { return a.header }
func (a *answer) WriteHeader(status int)       { a.status = status }
func (*answer) Write(body []byte) (int, error) { return len(body), nil }

var passed = caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusOK)
	return nil
})

// ask sends n requests.
func (c *caller) ask(b *testing.B, h handler, n int, refused bool) {
	w := &answer{header: make(http.Header)}
	for range n {
		clear(w.header)
		w.status = 0
		if c.next++; c.next == len(c.requests) {
			c.next = 0
		}
		if err := h.ServeHTTP(w, c.requests[c.next], passed); (err != nil || w.status == http.StatusTooManyRequests) != refused {
			b.Errorf("refused is %v: %v, status %d", !refused, err, w.status)
			return
		}
	}
}

// BenchmarkDecision compares what a request costs. In each round both handlers
// have the same number of requests one after the other, who begins takes turns,
// and the ratio is the median of those of all rounds: what else the machine
// does meets both alike.
func BenchmarkDecision(b *testing.B) {
	for _, c := range []struct {
		name    string
		keys    int
		callers int
		settings
	}{
		{"1 key", 1, 1, settings{limit: 60, burst: endless}},
		{"10000 keys", 10_000, 1, settings{limit: 60, burst: endless}},
		{"1 key, 8 callers", 1, 8, settings{limit: 60, burst: endless}},
		{"10000 keys, 8 callers", 10_000, 8, settings{limit: 60, burst: endless}},
		{"1 key, with headers", 1, 1, settings{limit: 60, burst: endless, headers: true}},
		{"1 key, refused", 1, 1, settings{limit: 1, burst: 1, refuses: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			sides := []handler{c.ours(b), c.theirs(b)}
			callers := make([]*caller, c.callers)
			for i := range callers {
				callers[i] = newCaller(c.keys, i*c.keys/c.callers)
			}
			for _, h := range sides { // every key is known before it is measured
				callers[0].ask(b, h, c.keys, false)
			}
			const rounds, each = 100, 5000
			var costs [2][]cost
			b.ResetTimer()
			for range b.N {
				costs = [2][]cost{}
				for i := range rounds {
					for j := range sides {
						side := (i + j) % 2
						costs[side] = append(costs[side], measure(b, func() {
							var running sync.WaitGroup
							for _, who := range callers {
								running.Go(func() { who.ask(b, sides[side], each, c.refuses) })
							}
							running.Wait()
						}).each(each*len(callers)))
					}
				}
			}
			report(b, costs)
		})
	}
}

// cost is what something took of this process.
type cost struct{ cpu, bytes, objects float64 }

func (c cost) each(n int) cost {
	return cost{c.cpu / float64(n), c.bytes / float64(n), c.objects / float64(n)}
}

func measure(b *testing.B, work func()) cost {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := cpu(b)
	work()
	took := cpu(b) - begin
	runtime.ReadMemStats(&after)
	return cost{float64(took), float64(after.TotalAlloc - before.TotalAlloc), float64(after.Mallocs - before.Mallocs)}
}

// report gives the medians, and the median of the ratios of rounds.
func report(b *testing.B, costs [2][]cost) {
	median := func(of func(i int) float64) float64 {
		all := make([]float64, len(costs[0]))
		for i := range all {
			all[i] = of(i)
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	b.ReportMetric(0, "ns/op")
	for side, name := range []string{"ours", "theirs"} {
		b.ReportMetric(median(func(i int) float64 { return costs[side][i].cpu }), name+"-cpu-ns")
		b.ReportMetric(median(func(i int) float64 { return costs[side][i].bytes }), name+"-B")
		b.ReportMetric(median(func(i int) float64 { return costs[side][i].objects }), name+"-allocs")
	}
	b.ReportMetric(median(func(i int) float64 { return costs[0][i].cpu / max(costs[1][i].cpu, 1) }), "cpu-ratio")
	b.ReportMetric(median(func(i int) float64 { return costs[0][i].bytes / max(costs[1][i].bytes, 1) }), "B-ratio")
}

// cpu is the time that the kernel counted for this process.
func cpu(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkKey compares what a key takes of memory while it is remembered.
func BenchmarkKey(b *testing.B) {
	for _, limit := range []int{1, 60, 1000} {
		b.Run(fmt.Sprint(limit, " a minute"), func(b *testing.B) {
			const keys = 20_000
			who := newCaller(keys, 0)
			var each [2]float64
			for range b.N {
				for side, h := range []handler{settings{limit: limit}.ours(b), settings{limit: limit}.theirs(b)} {
					before := heap()
					who.ask(b, h, keys, false)
					each[side] = float64(heap()-before) / keys
					runtime.KeepAlive(h)
					h.stop()
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(each[0], "ours-B")
			b.ReportMetric(each[1], "theirs-B")
			b.ReportMetric(each[0]/each[1], "B-ratio")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
