package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"
)

// limited writes a Caddyfile: the lines of federation_rate_limit, and those of
// the site after it.
func limited(port int, federation, limit, site string) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level ERROR
	}
	%s
}
http://127.0.0.1:%d {
	federation_rate_limit {
		%s
	}
	%s
}
`, federation, port, limit, site)
}

// statuses asks so many times and returns the statuses and the last answer.
func statuses(t *testing.T, url string, n int) (seen []int, last *http.Response, body string) {
	t.Helper()
	for range n {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		seen, last, body = append(seen, response.StatusCode), response, string(text)
	}
	return seen, last, body
}

// The limiter works alone, in front of any handler, and its counts outlive a
// reload.
func TestRateLimitAlone(t *testing.T) {
	port := loopback.FreePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	load(t, limited(port, "", "policy alone {\n limit 3 1h\n}", "respond hello"))
	if seen, last, _ := statuses(t, url, 2); fmt.Sprint(seen) != "[200 200]" || last.Header.Get("RateLimit") != `"alone";r=1;t=2400` {
		t.Errorf("%v %v", seen, last.Header)
	}
	load(t, limited(port, "", "policy alone {\n limit 3 1h\n}", "respond world"))
	seen, last, body := statuses(t, url, 2)
	if fmt.Sprint(seen) != "[200 429]" || last.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, `"rate_limited"`) {
		t.Errorf("%v %v %s", seen, last.Header, body)
	}
}

// In front of a proxy the caller reads the gateway's limit, not the node's.
func TestRateLimitInFrontOfAProxy(t *testing.T) {
	upstream := node(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "60")
		w.Header().Set("X-RateLimit-Remaining", "17")
		w.WriteHeader(http.StatusEarlyHints)
		answers("{}")(w, nil)
	})
	port := loopback.FreePort(t)
	load(t, limited(port, "", "policy proxied {\n limit 2 1h\n}", "reverse_proxy "+upstream))
	seen, last, _ := statuses(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 1)
	if fmt.Sprint(seen) != "[200]" || fmt.Sprint(last.Header.Values("X-RateLimit-Remaining")) != "[1]" || fmt.Sprint(last.Header.Values("X-RateLimit-Limit")) != "[2]" {
		t.Errorf("%v %v", seen, last.Header)
	}
}

// A refused search reaches no node.
func TestRateLimitInFrontOfASearch(t *testing.T) {
	asked := make(chan bool, 10)
	one := node(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/search") {
			asked <- true
		}
		answers(hits("a"))(w, r)
	})
	port := loopback.FreePort(t)
	load(t, limited(port, "federation limited {\nstore memory\nnode one "+one+" {\n dialect gateway\n}\n}",
		"policy searches {\n limit 2 1h\n per_path\n}", "federation_search"))
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	g.search(http.StatusOK, `{"query":"tea"}`)
	g.search(http.StatusOK, `{"query":"tea"}`)
	g.search(http.StatusTooManyRequests, `{"query":"tea"}`)
	a := g.post("/api/ai-engine/search", http.StatusOK, `{"query":"tea"}`)
	if a.header.Get("X-RateLimit-Remaining") != "1" {
		t.Errorf("another path: %v", a.header)
	}
	if len(asked) != 3 {
		t.Errorf("the node was asked %d times", len(asked))
	}
}

// A node whose budget is used up is not asked, and the report says why.
func TestASearchSpendsTheBudgetsOfNodes(t *testing.T) {
	asked := make(chan string, 100)
	url := node(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/search") {
			asked <- r.URL.Path
		}
		answers(hits("a"))(w, r)
	})
	g := serve(t, "node tight "+url+"/tight {\n dialect gateway\n budget 2 1h per_path\n}\nnode wide "+url+"/wide {\n dialect gateway\n}", "")
	for range 2 {
		if a := g.search(http.StatusOK, `{"query":"tea"}`); a.node("tight").Status != "ok" || a.Partial {
			t.Errorf("within the budget: %s", a.raw)
		}
	}
	a := g.search(http.StatusOK, `{"query":"tea"}`)
	if a.node("tight").Status != "throttled" || a.node("tight").Reason != "budget" || a.node("wide").Status != "ok" || !a.Partial {
		t.Errorf("above the budget: %s", a.raw)
	}
	if len(asked) != 5 {
		t.Errorf("the nodes were asked %d times", len(asked))
	}
	a = g.search(http.StatusServiceUnavailable, `{"query":"tea","nodes":["tight"]}`)
	if wait := a.header.Get("Retry-After"); wait == "" || wait == "5" {
		t.Errorf("the caller is told to come back in %q s", wait)
	}
}

func TestEveryMistakeInRateLimitsIsNamed(t *testing.T) {
	for _, c := range []struct{ limit, says string }{
		{"", "there is no policy"},
		{"polcy a", "did you mean policy?"},
		{"policy", "policy takes a name"},
		{"policy a b", "policy takes a name"},
		{"policy a/b {\n limit 1 1m\n}", "a name is"},
		{"policy a", "the limit is missing"},
		{"policy a {\n limit 1 1m\n}\npolicy a {\n limit 1 1m\n}", "policy a is set twice"},
		{"policy a {\n limt 1 1m\n}", "did you mean limit?"},
		{"policy a {\n limit 60\n}", "limit takes <events> <window>"},
		{"policy a {\n limit many 1m\n}", "whole number above 0"},
		{"policy a {\n limit 0 1m\n}", "whole number above 0"},
		{"policy a {\n limit 1 soon\n}", "not a duration"},
		{"policy a {\n limit 1 1m\n limit 2 1m\n}", "limit is set twice"},
		{"policy a {\n limit 1000000 1s\n}", "more than 100000 a second"},
		{"policy a {\n limit 1 1m\n burst none\n}", "burst: none"},
		{"policy a {\n limit 1 1m\n cost -1\n}", `the cost "-1"`},
		{"policy a {\n limit 1 1m\n cost 2\n}", "above the burst"},
		{"policy a {\n limit 1 1m\n key\n}", "key takes one argument"},
		{"policy a {\n limit 1 1m\n per_path yes\n}", "takes no argument"},
		{"headers some", "is not draft, legacy, both or off"},
		{"on_store_failure panic", "is not local, open or closed"},
		{"shadow on", "takes no argument"},
		{"on_refusal", "on_refusal takes one argument"},
		{"on_refusal body", "is not answer or error"},
		{strings.Repeat("policy a {\n limit 1 1m\n}\n", 2), "set twice"},
	} {
		_, err := adapt(limited(8080, "", c.limit, "respond hello"))
		if err == nil || !strings.Contains(err.Error(), c.says) || !regexp.MustCompile(`Caddyfile:\d+`).MatchString(err.Error()) {
			t.Errorf("%s: error is %v, expected %q with file and line", c.limit, err, c.says)
		}
	}
	for _, c := range []struct{ budget, says string }{
		{"", "budget takes at least one argument"},
		{"60", "budget takes <calls> <window>"},
		{"60 1m per_node", "budget takes <calls> <window>"},
		{"some 1m", "whole number above 0"},
		{"60 soon", "not a duration"},
		{"1000000 1s", "more than 100000 a second"},
		{"60 1m\n budget off", "budget is set twice"},
	} {
		_, err := adapt(federation(8080, "node a http://x {\n budget "+c.budget+"\n}", ""))
		if err == nil || !strings.Contains(err.Error(), c.says) || !regexp.MustCompile(`Caddyfile:\d+`).MatchString(err.Error()) {
			t.Errorf("budget %s: error is %v, expected %q with file and line", c.budget, err, c.says)
		}
	}
	_, err := adapt(limited(8080, "federation {\non_store_failure maybe\n}", "policy a {\n limit 1 1m\n}", ""))
	if err == nil || !strings.Contains(err.Error(), "on_store_failure") {
		t.Errorf("error is %v", err)
	}
	var config caddy.Config
	if err := json.Unmarshal([]byte(`{"admin":{"disabled":true},"apps":{"federation":{"on_store_failure":"maybe"}}}`), &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&config); err == nil || !strings.Contains(err.Error(), "on_store_failure") {
		t.Errorf("error is %v", err)
	}
}
