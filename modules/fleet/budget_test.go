package fleet

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

// counting is a node that counts its searches; answer may stand in for its own.
func counting(t *testing.T, answer http.HandlerFunc) (url string, searches *atomic.Int64) {
	searches = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			searches.Add(1)
			if answer != nil {
				answer(w, r)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"ok","total":{"value":0,"relation":"eq"},"hits":[],"results":[],"count":0}`)
	}))
	t.Cleanup(server.Close)
	return server.URL, searches
}

// refusedFor is the reason and the wait of a refused call.
func refusedFor(call Call) (string, time.Duration) {
	var refusal *RefusalError
	if errors.As(call.Err, &refusal) {
		return refusal.Reason, refusal.RetryAfter
	}
	return fmt.Sprint(call.Err), 0
}

// What a node lets us do is used up by searches, whoever makes them, and
// nothing is sent above it. That is no failure of the node.
func TestBudget(t *testing.T) {
	url, searches := counting(t, nil)
	f := run(t, "node shop "+url+" {\n dialect gateway\n budget 5 1h per_path\n}")
	var passed, refused atomic.Int64
	var group sync.WaitGroup
	for range 30 {
		group.Go(func() {
			_, call := f.app.Search(t.Context(), f.node("shop"), &SearchQuery{Text: "tea", Limit: 5})
			if call.Outcome == OutcomeOK {
				passed.Add(1)
			} else if reason, wait := refusedFor(call); reason == ReasonBudget && wait > 0 && wait <= 12*time.Minute && call.Attempts == 0 && call.Outcome == OutcomeNeutral {
				refused.Add(1)
			}
		})
	}
	group.Wait()
	if passed.Load() != 5 || refused.Load() != 25 || searches.Load() != 5 {
		t.Errorf("%d passed, %d were refused, %d reached the node", passed.Load(), refused.Load(), searches.Load())
	}
	if state := f.node("shop").Breaker(); state.State != breaker.Closed {
		t.Errorf("the breaker is %+v", state)
	}
	for range 10 { // probes are not counted by the nodes
		if _, call := f.app.Probe(t.Context(), f.node("shop")); call.Outcome != OutcomeOK {
			t.Fatal(call.Err)
		}
	}
	if err := f.reload("node shop "+url+" {\n dialect gateway\n budget off\n}", nil); err != nil {
		t.Fatal(err)
	}
	if _, call := f.app.Search(t.Context(), f.node("shop"), &SearchQuery{Text: "tea", Limit: 5}); call.Outcome != OutcomeOK {
		t.Error(call.Err)
	}
}

// Old nodes allow 60 calls a minute and path, and the gateway knows.
func TestTheBudgetOfOldNodes(t *testing.T) {
	url, searches := counting(t, nil)
	f := run(t, "node shop "+url+" {\n dialect laravel\n collections product\n}\nnode free "+url+" {\n dialect laravel\n collections product\n budget off\n}")
	for i := range 61 {
		_, call := f.app.Search(t.Context(), f.node("shop"), &SearchQuery{Text: "tea", Limit: 5})
		if reason, wait := refusedFor(call); i < 60 && call.Err != nil || i == 60 && (reason != ReasonBudget || wait > time.Second) {
			t.Fatalf("call %d: %v", i+1, call.Err)
		}
	}
	if searches.Load() != 60 {
		t.Errorf("%d searches reached the node", searches.Load())
	}
	if _, call := f.app.Search(t.Context(), f.node("free"), &SearchQuery{Text: "tea", Limit: 5}); call.Err != nil {
		t.Error(call.Err)
	}
}

// A node's Retry-After is a pause, and no failure: the breaker stays closed.
func TestRetryAfterIsAPause(t *testing.T) {
	url, searches := counting(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	f := run(t, "node shop "+url+" {\n dialect gateway\n}")
	if _, call := f.app.Search(t.Context(), f.node("shop"), &SearchQuery{Text: "tea", Limit: 5}); call.Outcome != OutcomeThrottled {
		t.Fatal(call)
	}
	for range 50 {
		_, call := f.app.Search(t.Context(), f.node("shop"), &SearchQuery{Text: "tea", Limit: 5})
		if reason, wait := refusedFor(call); reason != ReasonPaused || wait < 20*time.Second || wait > 30*time.Second {
			t.Fatalf("%s %v", reason, wait)
		}
	}
	node := f.node("shop")
	if searches.Load() != 1 || node.Refusal() != ReasonPaused || node.PausedFor() <= 0 {
		t.Errorf("%d searches, refusal %q, paused for %v", searches.Load(), node.Refusal(), node.PausedFor())
	}
	if state := node.Breaker(); state.State != breaker.Closed {
		t.Errorf("the breaker is %+v", state)
	}
	if _, call := f.app.Probe(t.Context(), node); call.Err != nil {
		t.Errorf("a paused node is not probed: %v", call.Err)
	}
}

// A 429 of a node with a budget is no failure of it, whatever their number and
// without a Retry-After; of one without it is, and opens the breaker in the end.
func TestA429OfANodeWithABudgetOpensNoBreaker(t *testing.T) {
	url, _ := counting(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	f := run(t, "node shop "+url+" {\n dialect gateway\n budget 1000 1m\n}\nnode mill "+url+" {\n dialect gateway\n}\nnode other "+url+" {\n dialect gateway\n}")
	for range 100 {
		for _, slug := range []string{"shop", "mill"} {
			f.app.Search(t.Context(), f.node(slug), &SearchQuery{Text: "tea", Limit: 5})
		}
	}
	if state := f.node("shop").Breaker(); state.State != breaker.Closed || len(state.History) != 0 {
		t.Errorf("the breaker of a node with a budget is %+v", state)
	}
	if state := f.node("mill").Breaker(); state.State == breaker.Closed {
		t.Errorf("the breaker of a node without is %+v", state)
	}
}

// Gateways that share a store spend one budget, and pause together.
func TestGatewaysShareBudgetsAndPauses(t *testing.T) {
	common, err := memory.New(time.Now, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = common.Close() })
	url, searches := counting(t, nil)
	var gateways []*federated
	var start func(*testing.T)
	start = func(t *testing.T) { // within each other, for a name of its own each
		f := run(t, "node shop "+url+" {\n dialect gateway\n subject us\n budget 10 1h\n}")
		defer f.app.shared.limiter.Attach(common.Limits(), func() int { return 3 }, func(error) {})()
		if gateways = append(gateways, f); len(gateways) < 3 {
			t.Run("and", start)
			return
		}
		shareBudgetsAndPauses(t, gateways, common, searches)
	}
	start(t)
}

func shareBudgetsAndPauses(t *testing.T, gateways []*federated, common store.Store, searches *atomic.Int64) {
	for i := range 60 {
		g := gateways[i%3]
		g.app.Search(t.Context(), g.node("shop"), &SearchQuery{Text: "tea", Limit: 5})
	}
	if searches.Load() != 10 {
		t.Errorf("%d searches reached the node", searches.Load())
	}
	known := make([]map[*member]time.Time, 3)
	look := func() {
		t.Helper()
		for i, g := range gateways {
			if known[i] == nil {
				known[i] = make(map[*member]time.Time)
			}
			if err := g.app.exchangePauses(t.Context(), common, known[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	look()
	gateways[1].node("shop").gate.member.pause(time.Now().Add(30 * time.Second))
	look()
	look()
	for i, g := range gateways {
		if left := g.node("shop").PausedFor(); left < 20*time.Second || left > 30*time.Second {
			t.Errorf("gateway %d is paused for %v", i, left)
		}
	}
	gateways[2].node("shop").gate.member.pause(time.Now().Add(time.Minute)) // it may be longer by now
	look()
	if left := gateways[2].node("shop").PausedFor(); left < 50*time.Second {
		t.Errorf("a longer pause became %v", left)
	}
}
