package balancer

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/balancer/policy"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// counted is an upstream that answers with a status, and how often it was asked.
func counted(t *testing.T, status int) (string, *atomic.Int64) {
	asked := new(atomic.Int64)
	return upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(status)
	}), asked
}

func TestARetryGoesElsewhere(t *testing.T) {
	for _, name := range policy.Names {
		t.Run(name, func(t *testing.T) {
			good, asked := counted(t, 200)
			p := serve(t, static(name, nobody(t), nobody(t), good))
			p.handler.LoadBalancing.Retries = 2
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				for range 20 {
					if status := p.get(method); status != 200 {
						t.Fatalf("%s: status %d", method, status)
					}
				}
			}
			if asked.Load() != 40 {
				t.Errorf("the one that listens was asked %d times", asked.Load())
			}
		})
	}
}

func TestARetryGoesElsewhereWithAnotherTransport(t *testing.T) {
	good, _ := counted(t, 200)
	p := serve(t, strings.Replace(static("least_conn", nobody(t), good), `"transport":{"protocol":"federation"},`, "", 1))
	for range 20 {
		if status := p.get(http.MethodPost); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
}

func TestOneUpstreamIsTriedAgain(t *testing.T) {
	var asked atomic.Int64
	address := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1)%2 == 1 {
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
		}
	})
	p := serve(t, static("latency", address))
	for range 5 {
		if status := p.get(http.MethodGet); status != 200 {
			t.Errorf("status %d", status)
		}
	}
}

// TestPOSTIsRetriedOnlyWhenNothingWasSent: an upstream that took the request and
// then failed may have done what it asks; one that refuses, or whose breaker is
// open, has not.
func TestPOSTIsRetriedOnlyWhenNothingWasSent(t *testing.T) {
	var reached atomic.Int64
	resetting := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	})
	good, asked := counted(t, 200)
	p := serve(t, strings.Replace(static("round_robin", resetting, good, nobody(t)), `{"protocol":"federation"}`,
		`{"protocol":"federation","breaker":{"max_ejected":-1,"panic":-1,"open":60000000000}}`, 1))
	p.handler.LoadBalancing.Retries = 2
	for round := range 40 {
		before := reached.Load()
		status := p.get(http.MethodPost)
		hit := reached.Load() - before
		if hit > 1 || hit == 1 && status != http.StatusBadGateway || hit == 0 && status != 200 {
			t.Fatalf("round %d: it reached the failing upstream %d times and ended with %d", round, hit, status)
		}
	}
	if reached.Load() == 0 || asked.Load() == 0 {
		t.Errorf("%d failed, %d were answered: nothing was shown", reached.Load(), asked.Load())
	}
	gate := p.transport().upstreams.target(resetting).gate
	if gate.Refusal() != "open" {
		t.Fatalf("the failing upstream's breaker is not open after %d resets", reached.Load())
	}
	before := reached.Load()
	for range 20 {
		if status := p.get(http.MethodPost); status != 200 {
			t.Errorf("status %d while the failing upstream is left out", status)
		}
	}
	if reached.Load() != before {
		t.Errorf("%d requests reached it through an open breaker", reached.Load()-before)
	}
}

// TestCaddysOwnPolicyDoesNotKnowOfBreakers: the transport refuses all the same,
// and a policy that insists on one upstream gets 503.
func TestCaddysOwnPolicyDoesNotKnowOfBreakers(t *testing.T) {
	good, asked := counted(t, 200)
	bad, reached := counted(t, 502)
	for _, c := range []struct {
		policy   string
		statuses []int
	}{
		{"first", []int{http.StatusServiceUnavailable}},
		{"round_robin", []int{http.StatusOK}},
	} {
		handler := strings.Replace(static("latency", bad, good), `"policy":"federation","algorithm":"latency"`, fmt.Sprintf(`"policy":%q`, c.policy), 1)
		p := serve(t, strings.Replace(handler, `{"protocol":"federation"}`, `{"protocol":"federation","breaker":{"open":60000000000}}`, 1))
		gate := p.transport().upstreams.target(bad).gate
		eventually(t, "the breaker opens", func() bool { p.get(http.MethodPost); return gate.Refusal() == "open" })
		before, answered := reached.Load(), asked.Load()
		for range 6 {
			if status := p.get(http.MethodPost); !slices.Contains(c.statuses, status) {
				t.Errorf("%s: status %d, expected %v", c.policy, status, c.statuses)
			}
		}
		if reached.Load() != before || c.policy == "first" && asked.Load() != answered {
			t.Errorf("%s: %d and %d requests", c.policy, reached.Load()-before, asked.Load()-answered)
		}
		_ = gate.Force("reset", "", "", 0)
	}
}

func TestATrialBringsAnUpstreamBack(t *testing.T) {
	var healthy atomic.Bool
	var reached atomic.Int64
	flaky := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		if !healthy.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	good, _ := counted(t, 200)
	handler := strings.Replace(static("latency", flaky, good), `{"protocol":"federation"}`,
		`{"protocol":"federation","breaker":{"consecutive":2,"open":50000000,"max_open":50000000,"ramp":-1}}`, 1)
	handler = strings.Replace(handler, `"algorithm":"latency"`, `"algorithm":"round_robin","slow_start":-1`, 1)
	p := serve(t, handler)
	gate := p.transport().upstreams.target(flaky).gate
	eventually(t, "the breaker opens", func() bool { p.get(http.MethodGet); return gate.Refusal() == "open" })
	healthy.Store(true)
	eventually(t, "the breaker closes", func() bool { p.get(http.MethodGet); return gate.Breaker().State == "closed" })
	before := reached.Load()
	for range 20 {
		p.get(http.MethodGet)
	}
	if got := reached.Load() - before; got < 9 {
		t.Errorf("after it came back it got %d of 20 requests", got)
	}
	// and requests that cannot be repeated bring it back too
	healthy.Store(false)
	eventually(t, "the breaker opens again", func() bool { p.get(http.MethodPost); return gate.Refusal() == "open" })
	healthy.Store(true)
	eventually(t, "the breaker closes again", func() bool { p.get(http.MethodPost); return gate.Breaker().State == "closed" })
	if n := gate.InFlight(); n != 0 {
		t.Errorf("%d are in flight", n)
	}
}

// TestATrialThatIsNotUsedIsGivenBack: between the choice and the transport
// Caddy may still refuse the request.
func TestATrialThatIsNotUsedIsGivenBack(t *testing.T) {
	bad, _ := counted(t, 502)
	good, _ := counted(t, 200)
	p := serve(t, strings.Replace(static("round_robin", bad, good), `{"protocol":"federation"}`,
		`{"protocol":"federation","breaker":{"consecutive":2,"open":1000000,"max_open":1000000}}`, 1))
	gate := p.transport().upstreams.target(bad).gate
	eventually(t, "the breaker opens", func() bool { p.get(http.MethodGet); return gate.Breaker().State != "closed" })
	eventually(t, "a trial is due", gate.TrialDue)
	selection := p.handler.LoadBalancing.SelectionPolicy.(*Selection)
	unused := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := selection.Select(p.handler.Upstreams, r, w); got == nil || got.Dial != bad {
			t.Errorf("chose %v, expected the one that waits for a trial", got)
		}
		if gate.TrialDue() || gate.InFlight() != 1 {
			t.Errorf("the trial was not taken: %d in flight", gate.InFlight())
		}
	})
	front := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		request := attempt(t, r.Context(), p.handler.Upstreams[0], nil)
		unused.ServeHTTP(w, request)
	})
	if _, err := http.Get("http://" + front); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the place is given back", func() bool { return gate.InFlight() == 0 && gate.TrialDue() })
}

func TestCaddysOwnHealthChecksCount(t *testing.T) {
	bad, reached := counted(t, 500)
	good, _ := counted(t, 200)
	handler := strings.Replace(static("random", bad, good), `{"transport"`,
		`{"health_checks":{"passive":{"fail_duration":60000000000,"unhealthy_status":[500]}},"transport"`, 1)
	p := serve(t, handler)
	for range 50 {
		p.get(http.MethodGet)
	}
	if reached.Load() != 1 {
		t.Errorf("the upstream that Caddy holds unhealthy was asked %d times", reached.Load())
	}
}

func TestStateIsKeptOverReloads(t *testing.T) {
	bad, reached := counted(t, 502)
	good, _ := counted(t, 200)
	aMinute := func(handler string) string { // no trial comes in between
		return strings.Replace(handler, `{"protocol":"federation"}`, `{"protocol":"federation","breaker":{"open":60000000000}}`, 1)
	}
	first := serve(t, aMinute(static("round_robin", bad, good)))
	for range 12 {
		first.get(http.MethodGet)
	}
	if gate := first.transport().upstreams.target(bad).gate; gate.Refusal() != "open" {
		t.Fatalf("the breaker is not open after %d failures", reached.Load())
	}
	// the next config is loaded before the first is gone, and adds an upstream
	more, _ := counted(t, 200)
	second := serve(t, aMinute(static("latency", bad, good, more)))
	first.unload()
	before := reached.Load()
	for range 12 {
		if status := second.get(http.MethodPost); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	if reached.Load() != before {
		t.Errorf("after the reload %d requests reached the upstream whose breaker was open", reached.Load()-before)
	}
	meter := second.transport().upstreams.target(good).meter
	if latency := meter.Candidate(sinceEpoch(time.Now()), 1, 1, 0).Latency; latency == 0 {
		t.Error("what was learnt is gone")
	}
}

func TestAManyUpstreamsAreNotKept(t *testing.T) {
	memory := &memory{meters: make(map[string]*policy.Meter)}
	u := newUpstreams(memory, nil)
	for i := range 3 * maxMeters {
		u.target(fmt.Sprintf("10.0.%d.%d:80", i/256, i%256))
	}
	if len(memory.meters) > maxMeters || len(*u.known.Load()) > maxMeters+1 {
		t.Errorf("%d meters and %d upstreams are kept", len(memory.meters), len(*u.known.Load()))
	}
}

func TestChoosingAllocatesNothing(t *testing.T) {
	p := serve(t, static("latency", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"))
	selection := p.handler.LoadBalancing.SelectionPolicy.(*Selection)
	r := attempt(t, t.Context(), p.handler.Upstreams[0], nil)
	if n := testing.AllocsPerRun(100, func() { selection.Select(p.handler.Upstreams, r, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestProvisioningNamesTheMistake(t *testing.T) {
	for _, c := range []struct{ handler, says string }{
		{`{"load_balancing":{"selection_policy":{"policy":"federation","algorithm":"latncy"}}}`, "did you mean latency?"},
		{`{"load_balancing":{"selection_policy":{"policy":"federation","slow_start":-5}}}`, "slow_start"},
		{`{"load_balancing":{"selection_policy":{"policy":"federation","peers":true}}}`, "peers is for the algorithm least_conn, not for latency"},
		{`{"transport":{"protocol":"federation","transport":{"protocol":"federation"}}}`, "federation transport too"},
		{`{"transport":{"protocol":"federation","transport":{"protocol":"paper"}}}`, "paper"},
		{`{"transport":{"protocol":"federation","breaker":{"failure_ratio":2}}}`, "failure_ratio"},
		{`{"transport":{"protocol":"federation","credentials":true},"upstreams":[{"dial":"10.0.0.1:80"}]}`, "dynamic federation"},
		{`{"circuit_breaker":{"type":"federation","window":1}}`, "window"},
		{`{"circuit_breaker":{"type":"federation","open":"x"}}`, `open: "x" is not a duration`},
		{`{"circuit_breaker":{"type":"federation","opn":"5s"}}`, `unknown field "opn"`},
		{`{"transport":{"protocol":"federation","breaker":{"open":"x"}}}`, `breaker.open: "x" is not a duration`},
		{`{"load_balancing":{"selection_policy":{"policy":"federation","slow_start":"x"}}}`, `slow_start: "x" is not a duration`},
		{`{"dynamic_upstreams":{"source":"federation","nodes":["No"]}}`, "not a slug"},
	} {
		if err := provisioning(t, c.handler); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: the error is %v, expected %q", c.handler, err, c.says)
		}
	}
	if learnt.Range(func(key, _ any) bool { t.Errorf("%v is still held", key); return true }); t.Failed() {
		t.Error("a failed Provision keeps what it took")
	}
}

func TestCircuitBreakerOfAHandler(t *testing.T) {
	var status atomic.Int64
	status.Store(502)
	address := upstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) })
	p := serve(t, fmt.Sprintf(`{"circuit_breaker":{"type":"federation","consecutive":3,"open":50000000,"max_open":50000000},"upstreams":[{"dial":%q}]}`, address))
	for i := range 3 {
		if got := p.get(http.MethodGet); got != 502 {
			t.Fatalf("request %d: %d", i, got)
		}
	}
	if got := p.get(http.MethodGet); got != http.StatusServiceUnavailable {
		t.Errorf("after three failures: %d", got)
	}
	status.Store(200)
	eventually(t, "it closes", func() bool {
		p.get(http.MethodGet)
		return p.handler.CB.(*CircuitBreaker).gate.Breaker().State == "closed"
	})
	if got := p.get(http.MethodGet); got != 200 {
		t.Errorf("after it closed: %d", got)
	}
	if load := p.handler.CB.(*CircuitBreaker).gate.Load(); load.InFlight != 0 || load.Calls[fleet.OutcomeHard] != 3 {
		t.Errorf("%+v", load)
	}
}

// TestCircuitBreakersOfHandlersWithOtherUpstreams know nothing of each other, also
// where the upstreams are dynamic.
func TestCircuitBreakersOfHandlersWithOtherUpstreams(t *testing.T) {
	bad, _ := counted(t, 502)
	good, _ := counted(t, 200)
	nodes := []string{node("bad", "http://"+bad, ""), node("good", "http://"+good, "")}
	const handler = `{"circuit_breaker":{"type":"federation","consecutive":3},"dynamic_upstreams":{"source":"federation","nodes":[%q]}}`
	first, second := serve(t, fmt.Sprintf(handler, "bad"), nodes...), serve(t, fmt.Sprintf(handler, "good"), nodes...)
	eventually(t, "the breaker opens", func() bool { return first.get(http.MethodGet) == http.StatusServiceUnavailable })
	if status := second.get(http.MethodGet); status != http.StatusOK {
		t.Errorf("the other handler answers %d", status)
	}
}

// TestOneClientBeyondItsLimitCostsNobodyElse: an upstream that limits its callers
// one by one stays where it is for all others.
func TestOneClientBeyondItsLimitCostsNobodyElse(t *testing.T) {
	var asked [2]atomic.Int64
	var addresses []string
	for i := range asked {
		addresses = append(addresses, upstream(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Client") == "greedy" {
				w.Header().Set("Retry-After", "300")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			asked[i].Add(1)
		}))
	}
	p := serve(t, static("latency", addresses...))
	send := func(client string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Client", client)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for range 100 {
		if status := send("greedy"); status != http.StatusTooManyRequests {
			t.Fatalf("status %d", status)
		}
	}
	transport := p.handler.Transport.(*Transport)
	for _, address := range addresses {
		target := transport.upstreams.target(address)
		if status := target.gate.Breaker(); status.Opens != 0 || status.Guarded != 0 || status.Window.Failed != 0 {
			t.Errorf("the breaker: %+v", status)
		}
		if latency := target.meter.Candidate(sinceEpoch(time.Now()), 0, 1, 0).Latency; latency > 0.5 {
			t.Errorf("the upstream counts as one that takes %v s", latency)
		}
	}
	for range 40 {
		if status := send("modest"); status != http.StatusOK {
			t.Errorf("another client is answered %d", status)
		}
	}
	if a, b := asked[0].Load(), asked[1].Load(); a == 0 || b == 0 {
		t.Errorf("of the other client's requests %d and %d reached the upstreams", a, b)
	}
}
