package ratelimit

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
	"github.com/caddy-federation/caddy-federation/store"
	_ "github.com/caddy-federation/caddy-federation/store/redis"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// unhurried is a timeout that no busy machine exceeds.
const unhurried = "10s"

// openRedis opens a federation's store on a server until the test ends.
func openRedis(t testing.TB, server *redistest.Server, timeout string) store.Store {
	t.Helper()
	base, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("federation.stores.redis", fmt.Appendf(nil, `{"urls":[%q],"timeout":%q}`, server.URL(), timeout))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := module.(store.Opener).Open(t.Context(), t.Name(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

// overRedis are limiters as of so many gateways on one server.
func overRedis(t testing.TB, n int, opened store.Store) []*limiter.Limiter {
	all := make([]*limiter.Limiter, n)
	for i := range all {
		l := limiter.New(limiter.MaxKeys)
		all[i] = l
		t.Cleanup(l.Close)
		t.Cleanup(l.Attach(opened.Limits(), func() int { return n }, func(error) {}))
	}
	return all
}

func newPolicy(t testing.TB, limit int, window time.Duration, burst int) *limiter.Policy {
	t.Helper()
	p, err := limiter.NewPolicy("test", limit, window, burst)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A key with 100 events lets exactly 100 of 2,000 concurrent requests pass,
// over three gateways on one Redis.
func TestExactly100Of2000OverThreeGateways(t *testing.T) {
	opened := openRedis(t, redistest.Start(t), unhurried)
	gateways := overRedis(t, 3, opened)
	policy := newPolicy(t, 100, time.Hour, 0)
	var passed atomic.Int64
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range 2000 {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			var states [1]store.LimitState
			if gateways[i%3].Take(t.Context(), []limiter.Charge{{Policy: policy, Key: []byte("k"), Cost: 1}}, states[:], limiter.Closed) == limiter.Allowed {
				passed.Add(1)
			}
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	operations := gateways[0].Operations() + gateways[1].Operations() + gateways[2].Operations()
	t.Logf("%d operations", operations)
	if passed.Load() != 100 {
		t.Errorf("%d passed", passed.Load())
	}
}

// At 1,000 requests a second on one key Redis is asked at most once for ten
// admitted requests, by one gateway and by three.
func TestRedisOperationsPerAdmittedRequest(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			gateways := overRedis(t, n, openRedis(t, redistest.Start(t), unhurried))
			policy := newPolicy(t, 2000, time.Second, 0)
			var admitted atomic.Int64
			var group sync.WaitGroup
			begin := time.Now()
			for i := range 10 * n { // so many a second each, whatever the machine's pace
				group.Go(func() {
					ticker := time.NewTicker(time.Duration(10*n) * time.Millisecond)
					defer ticker.Stop()
					for time.Since(begin) < 3*time.Second {
						<-ticker.C
						var states [1]store.LimitState
						if gateways[i%n].Take(t.Context(), []limiter.Charge{{Policy: policy, Key: []byte("k"), Cost: 1}}, states[:], limiter.Closed) == limiter.Allowed {
							admitted.Add(1)
						}
					}
				})
			}
			group.Wait()
			var operations uint64
			for _, l := range gateways {
				operations += l.Operations()
			}
			each := float64(operations) / float64(admitted.Load())
			t.Logf("%d gateways: %d admitted in %v, %.4f operations each", n, admitted.Load(), time.Since(begin), each)
			if each > 0.1 || admitted.Load() < 100 {
				t.Errorf("%d admitted with %.3f operations each", admitted.Load(), each)
			}
		})
	}
}

// A Redis that hangs costs those requests its timeout that find out, and the
// others nothing; requests keep being served, and it is found again.
func TestAHungRedisHoldsUpNobody(t *testing.T) {
	server := redistest.Start(t)
	apps := fmt.Sprintf(`{"federation":{"name":%q,"store":{"module":"redis","urls":[%q],"timeout":"20ms"}}}`, t.Name(), server.URL())
	g := serve(t, "policy hung {\n limit 1000 1h\n key {http.request.header.K}\n}", apps)
	ask := func(key string) (time.Duration, int) {
		r := request(t, http.MethodGet, "/")
		r.Header.Set("K", key)
		begin := time.Now()
		w := g.do(r)
		return time.Since(begin), w.Code
	}
	for i := range 20 {
		if _, status := ask(fmt.Sprint("before ", i)); status != http.StatusOK {
			t.Fatal(status)
		}
	}
	// the machine may take the processor away, but not each time
	quickest := time.Hour
	for round := range 5 {
		server.Hang()
		first, status := ask(fmt.Sprint("first ", round))
		if status != http.StatusOK {
			t.Errorf("the first got %d", status)
		}
		var took []time.Duration
		for i := range 500 {
			d, status := ask(fmt.Sprint("later ", round, i))
			if took = append(took, d); status != http.StatusOK {
				t.Fatalf("a later one got %d", status)
			}
		}
		slices.Sort(took)
		t.Logf("the first took %v, later ones %v (median), %v (at most)", first, took[250], took[499])
		if took[250] > 5*time.Millisecond || took[250] > first/4 {
			t.Errorf("later ones took %v beside %v for the first", took[250], first)
		}
		server.Continue()
		eventually(t, "Redis is found", func() bool { return !limiters(t).Lost() })
		if quickest = min(quickest, first); quickest <= 25*time.Millisecond {
			return
		}
	}
	t.Errorf("the first took %v at best, expected 25ms", quickest)
}

// limiters is the limiter of the test's federation.
func limiters(t testing.TB) *limiter.Limiter {
	t.Helper()
	l := limiterOf(t.Name())
	if l == nil {
		t.Fatal("there is no limiter")
	}
	return l
}

// config is a gateway that answers what its limit lets through.
func config(t testing.TB, port int, name, redis string, limit int, window time.Duration) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"admin":   map[string]any{"disabled": true},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"level": "ERROR"}}},
		"apps": map[string]any{
			"federation": map[string]any{"name": name, "store": map[string]any{"module": "redis", "urls": []string{redis}, "timeout": unhurried}},
			"http": map[string]any{"servers": map[string]any{"gateway": map[string]any{
				"listen":          []string{fmt.Sprint("127.0.0.1:", port)},
				"automatic_https": map[string]any{"disable": true},
				"routes": []any{map[string]any{"handle": []any{
					map[string]any{"handler": "federation_rate_limit", "policies": []any{
						map[string]any{"name": "skewed", "limit": limit, "window": window, "key": "everybody"},
					}},
					map[string]any{"handler": "static_response", "body": "passed"},
				}}},
			}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Three gateway processes, whose clocks are five seconds apart where the build
// can fake them, admit what the budget allows and never more.
func TestThreeGatewayProcessesAdmitOneBudget(t *testing.T) {
	server := redistest.Start(t)
	const limit = 100 // a second
	during := processTestTime()
	var urls []string
	for _, skew := range []int{-5, 0, 5} {
		port := loopback.FreePort(t)
		startProcess(t, config(t, port, t.Name(), server.URL(), limit, time.Second), skew)
		urls = append(urls, fmt.Sprintf("http://127.0.0.1:%d/", port))
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var admitted, refused, other, last atomic.Int64
	var group sync.WaitGroup
	begin := time.Now()
	for i := range 30 { // 300 a second in all, three times the limit
		group.Go(func() {
			ticker := time.NewTicker(100 * time.Millisecond)
			defer ticker.Stop()
			for time.Since(begin) < during {
				last.Store(int64(time.Since(begin)))
				response, err := client.Get(urls[i%3])
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
				switch response.StatusCode {
				case http.StatusOK:
					admitted.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
				default:
					other.Add(1)
				}
				<-ticker.C
			}
		})
	}
	group.Wait()
	most := limit + limit*time.Since(begin).Seconds()
	least := 0.99 * (limit + limit*time.Duration(last.Load()).Seconds())
	got := float64(admitted.Load())
	t.Logf("%v admitted of a budget of %.0f (%.4f) in %v, %d refused", got, most, got/most, time.Since(begin), refused.Load())
	if got > most || got < math.Floor(least) || other.Load() > 0 {
		t.Errorf("%v admitted, expected %.0f to %.0f; %d other answers", got, least, most, other.Load())
	}
}
