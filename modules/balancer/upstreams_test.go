package balancer

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

const together = `{"dynamic_upstreams":{"source":"federation"%s},"transport":{"protocol":"federation"%s},
	"load_balancing":{"retries":1,"selection_policy":{"policy":"federation"%s}}}`

func node(slug, url, more string) string {
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf(`{"slug":%q,"url":%q%s}`, slug, url, more)
}

// dials are the addresses that a source returns.
func dials(t *testing.T, p *proxy) (addresses []string) {
	t.Helper()
	r := attempt(t, t.Context(), new(reverseproxy.Upstream), nil)
	upstreams, err := p.handler.DynamicUpstreams.GetUpstreams(r)
	if err != nil || upstreams == nil {
		t.Fatalf("%v, %v", upstreams, err)
	}
	for _, u := range upstreams {
		addresses = append(addresses, u.Dial)
	}
	return addresses
}

func TestWhichNodesAreUpstreams(t *testing.T) {
	nodes := []string{
		node("a", "http://10.0.0.1", `"capabilities":["search"],"domains":["shop"]`),
		node("b", "http://10.0.0.2:8080", `"capabilities":["search","actions"],"domains":["shop","wiki"]`),
		node("c", "https://10.0.0.3", `"capabilities":["actions"],"domains":["wiki"]`),
		node("d", "http://[fd00::4]:80/api", `"capabilities":["search"]`),
		node("e", "http://10.0.0.5", `"capabilities":["search"],"admin_state":"draining"`),
	}
	for _, c := range []struct {
		filter, transport string
		expected          []string
	}{
		{"", `"federation"`, []string{"10.0.0.1:80", "10.0.0.2:8080", "10.0.0.3:443", "[fd00::4]:80"}},
		{`,"capabilities":["search"]`, `"federation"`, []string{"10.0.0.1:80", "10.0.0.2:8080", "[fd00::4]:80"}},
		{`,"capabilities":["search","actions"]`, `"federation"`, []string{"10.0.0.2:8080"}},
		{`,"domains":["wiki","none"]`, `"federation"`, []string{"10.0.0.2:8080", "10.0.0.3:443"}},
		{`,"nodes":["c","a","e","unknown"]`, `"federation"`, []string{"10.0.0.1:80", "10.0.0.3:443"}},
		{`,"nodes":["unknown"]`, `"federation"`, nil},
		{"", `"http"`, []string{"10.0.0.1:80", "10.0.0.2:8080"}},
		{"", `"http","tls":{}`, []string{"10.0.0.3:443"}},
	} {
		handler := fmt.Sprintf(`{"dynamic_upstreams":{"source":"federation"%s},"transport":{"protocol":%s}}`, c.filter, c.transport)
		t.Run(c.filter+c.transport, func(t *testing.T) {
			if got := dials(t, serve(t, handler, nodes...)); !slices.Equal(got, c.expected) {
				t.Errorf("got %v, expected %v", got, c.expected)
			}
		})
	}
}

func TestUpstreamsAreFreshEachTime(t *testing.T) {
	for _, handler := range []string{`{"dynamic_upstreams":{"source":"federation"}}`, fmt.Sprintf(together, "", "", "")} {
		p := serve(t, handler, node("a", "http://10.0.0.1", ""))
		var group sync.WaitGroup
		var mu sync.Mutex
		seen := make(map[*reverseproxy.Upstream]bool)
		for range 8 {
			group.Go(func() {
				r := attempt(t, t.Context(), new(reverseproxy.Upstream), nil)
				for range 3 { // retries of one request too
					upstreams, _ := p.handler.DynamicUpstreams.GetUpstreams(r)
					mu.Lock()
					if len(upstreams) != 1 || seen[upstreams[0]] {
						t.Errorf("%v was returned twice", upstreams)
					}
					seen[upstreams[0]] = true
					mu.Unlock()
				}
			})
		}
		group.Wait()
	}
}

func TestNoNodeIsAnEmptyList(t *testing.T) {
	for _, handler := range []string{
		`{"dynamic_upstreams":{"source":"federation"},"upstreams":[{"dial":"127.0.0.1:1"}]}`,
		fmt.Sprintf(together, "", "", ""),
	} {
		p := serve(t, handler, node("a", "http://10.0.0.1", `"admin_state":"maintenance"`))
		if got := p.get(http.MethodGet); got != http.StatusServiceUnavailable {
			t.Errorf("status %d, expected 503", got)
		}
	}
}

// echo answers with what reached it.
func echo(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s host=%s auth=%q token=%q tenant=%q", name, r.URL.RequestURI(), r.Host,
			r.Header.Get("Authorization"), r.Header.Get("X-Node-Token"), r.Header.Get("X-Tenant"))
	}
}

func (p *proxy) body(request *http.Request) string {
	p.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return fmt.Sprint(response.StatusCode, " ", string(text))
}

// TestHTTPAndHTTPSNodesSideBySide: each request gets the scheme, the path and
// the Host of the node that it goes to, also on a retry.
func TestHTTPAndHTTPSNodesSideBySide(t *testing.T) {
	plain := httptest.NewServer(echo("plain"))
	defer plain.Close()
	secure := httptest.NewTLSServer(echo("secure"))
	defer secure.Close()
	secureHost := strings.TrimPrefix(secure.URL, "https://")
	for _, c := range []struct{ headers, expected string }{
		{"", "200 secure /app/a%2Fb?q=1 host=" + secureHost},
		{`,"headers":{"request":{"set":{"Host":["{http.request.host}"]}}}`, "200 secure /app/a%2Fb?q=1 host=shop.example"},
	} {
		handler := fmt.Sprintf(`{"dynamic_upstreams":{"source":"federation"},"transport":{"protocol":"federation"},
			"load_balancing":{"retries":1,"selection_policy":{"policy":"federation","algorithm":"round_robin"}}%s}`, c.headers)
		own := `"transport":{"protocol":"http","tls":{"insecure_skip_verify":true}}`
		p := serve(t, handler, node("plain", plain.URL, ""), node("secure", secure.URL+"/app", own))
		seen := map[string]bool{}
		for range 4 {
			request, _ := http.NewRequest(http.MethodGet, p.url+"/a%2Fb?q=1", nil)
			request.Host = "shop.example"
			request.Header.Set("Authorization", "Bearer of the caller")
			answer, rest, _ := strings.Cut(p.body(request), " auth=")
			seen[answer] = true
			if !strings.HasPrefix(rest, `"Bearer of the caller"`) {
				t.Errorf("the caller's credentials became %s", rest)
			}
		}
		if expected := "200 plain /a%2Fb?q=1 host=shop.example"; len(seen) != 2 || !seen[expected] || !seen[c.expected] {
			t.Errorf("got %v, expected %q and %q", seen, expected, c.expected)
		}
	}
	// a node that cannot be reached is retried on the other one, with its own scheme
	p := serve(t, fmt.Sprintf(together, "", "", `,"algorithm":"round_robin"`), node("plain", plain.URL, ""), node("secure", "https://"+nobody(t)+"/app", ""))
	for range 4 {
		request, _ := http.NewRequest(http.MethodPost, p.url+"/x", nil)
		if answer := p.body(request); !strings.HasPrefix(answer, "200 plain /x host=") {
			t.Errorf("got %s", answer)
		}
	}
}

func TestCredentials(t *testing.T) {
	server := httptest.NewServer(echo("node"))
	defer server.Close()
	for _, c := range []struct{ transport, expected string }{
		{"", `auth="Bearer caller" token="caller's" tenant="acme"`},
		{`,"credentials":true`, `auth="Bearer secret" token="secret" tenant="acme"`},
	} {
		p := serve(t, fmt.Sprintf(together, "", c.transport, ""),
			node("a", server.URL, `"credentials":{"type":"bearer","value":"secret"},"header_up":{"X-Tenant":["acme"]}`))
		app := p.handler.DynamicUpstreams.(*Upstreams).app
		if err := app.Start(); err != nil {
			t.Fatal(err)
		}
		request, _ := http.NewRequest(http.MethodGet, p.url, nil)
		request.Header.Set("Authorization", "Bearer caller")
		request.Header.Set("X-Node-Token", "caller's")
		if answer := p.body(request); !strings.Contains(answer, c.expected) {
			t.Errorf("got %s, expected %s", answer, c.expected)
		}
		if err := app.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestOnlyAnswersToTheGatewayPause: a limit that a node holds against one
// caller is not one against all.
func TestOnlyAnswersToTheGatewayPause(t *testing.T) {
	for _, c := range []struct {
		name, transport, retryAfter string
		status                      int
		paused                      bool
	}{
		{"a caller's 429", "", "30", 429, false},
		{"a caller's 503", "", "30", 503, false},
		{"our 429", `,"credentials":true`, "30", 429, true},
		{"our 503", `,"credentials":true`, "30", 503, true},
		{"a 429 that asks for nothing", `,"credentials":true`, "", 429, false},
		{"a 503 that asks for nothing", `,"credentials":true`, "", 503, false},
		{"a 500", `,"credentials":true`, "30", 500, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int64
			address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				if c.retryAfter != "" {
					w.Header().Set("Retry-After", c.retryAfter)
				}
				w.WriteHeader(c.status)
			})
			p := serve(t, fmt.Sprintf(together, "", c.transport, ""), node("a", "http://"+address, `"credentials":{"type":"bearer","value":"secret"}`))
			if status := p.get(http.MethodPost); status != c.status {
				t.Fatalf("status %d", status)
			}
			refusal := p.handler.DynamicUpstreams.(*Upstreams).app.Snapshot().Node("a").Refusal()
			if (refusal == fleet.ReasonPaused) != c.paused {
				t.Errorf("the refusal is %q", refusal)
			}
			expected, calls := c.status, int64(2)
			if c.paused { // nobody else is left, and it is not the last resort
				expected, calls = 503, 1
			}
			if status := p.get(http.MethodPost); status != expected || asked.Load() != calls {
				t.Errorf("status %d, and the node was asked %d times", status, asked.Load())
			}
		})
	}
}

func TestNodesWithCaddysOwnTransportAndPolicy(t *testing.T) {
	address, asked := counted(t, 200)
	for _, policy := range []string{`{"policy":"round_robin"}`, `{"policy":"federation"}`} {
		asked.Store(0)
		p := serve(t, fmt.Sprintf(`{"dynamic_upstreams":{"source":"federation"},"load_balancing":{"retries":2,"selection_policy":%s}}`, policy),
			node("a", "http://"+address, ""), node("b", "http://"+address, ""), node("refusing", "http://"+nobody(t), ""))
		for range 9 {
			if status := p.get(http.MethodPost); status != 200 {
				t.Errorf("%s: status %d", policy, status)
			}
		}
		if asked.Load() != 9 {
			t.Errorf("%s: %d requests reached a node", policy, asked.Load())
		}
	}
}

func TestWeightsOfNodes(t *testing.T) {
	first, asked := counted(t, 200)
	second, other := counted(t, 200)
	p := serve(t, fmt.Sprintf(together, "", "", `,"algorithm":"weighted","slow_start":-1`),
		node("a", "http://"+first, `"weight":3`), node("b", "http://"+second, ""))
	for range 40 {
		p.get(http.MethodGet)
	}
	if asked.Load() != 30 || other.Load() != 10 {
		t.Errorf("the weights are 3 and 1, the requests were %d and %d", asked.Load(), other.Load())
	}
}

// TestANodesBulkheadIsKept: also when requests come at once.
func TestANodesBulkheadIsKept(t *testing.T) {
	hold := make(chan bool)
	address := upstream(t, func(http.ResponseWriter, *http.Request) { <-hold })
	p := serve(t, fmt.Sprintf(together, "", "", ""), node("a", "http://"+address, `"max_requests":3`))
	statuses := make(chan int, 10)
	for range 10 {
		go func() { statuses <- p.get(http.MethodGet) }()
	}
	for range 7 {
		if status := <-statuses; status != http.StatusServiceUnavailable {
			t.Errorf("beyond the bulkhead: %d", status)
		}
	}
	close(hold)
	for range 3 {
		if status := <-statuses; status != 200 {
			t.Errorf("within the bulkhead: %d", status)
		}
	}
}

// TestTheLastResort: the breakers' guards count the nodes of the federation, and
// this handler has two of them.
func TestTheLastResort(t *testing.T) {
	bad, reached := counted(t, 502)
	nodes := []string{node("a", "http://"+bad, ""), node("b", "http://"+bad, "")}
	for i := range 4 {
		nodes = append(nodes, node(fmt.Sprintf("other-%d", i), "http://10.0.0.1", ""))
	}
	p := serve(t, fmt.Sprintf(together, `,"nodes":["a","b"]`, "", ""), nodes...)
	snapshot := p.handler.DynamicUpstreams.(*Upstreams).app.Snapshot()
	a, b := snapshot.Node("a").Gate(), snapshot.Node("b").Gate()
	eventually(t, "both breakers open", func() bool {
		p.get(http.MethodPost)
		return a.Refusal() == "open" && b.Refusal() == "open"
	})
	before := reached.Load()
	for range 10 {
		if status := p.get(http.MethodPost); status != http.StatusBadGateway {
			t.Errorf("status %d, expected the node's own 502", status)
		}
	}
	if got := reached.Load() - before; got != 10 {
		t.Errorf("%d of 10 requests reached a node", got)
	}
	if calls := a.Load().InFlight + b.Load().InFlight; calls != 0 {
		t.Errorf("%d are in flight", calls)
	}
	for _, gate := range []interface {
		Force(word, reason, actor string, lasts time.Duration) error
	}{a, b} {
		if err := gate.Force("open", "broken disk", "somebody", 0); err != nil {
			t.Fatal(err)
		}
	}
	before = reached.Load()
	if status := p.get(http.MethodPost); status != http.StatusServiceUnavailable || reached.Load() != before {
		t.Errorf("forced open: status %d, %d requests reached a node", status, reached.Load()-before)
	}
}
