package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// proxying writes a Caddyfile with two sites, /a and /b, each a reverse_proxy.
func proxying(port int, federation, a, b string) string {
	if federation != "" {
		federation = "federation proxied {\nstore memory\n" + federation + "\n}"
	}
	return fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 5s
	log {
		level ERROR
		exclude http.log.error http.handlers.reverse_proxy
	}
	servers {
		protocols h1 h2c
	}
	%s
}
http://127.0.0.1:%d {
	handle_path /a/* {
		reverse_proxy %s
	}
	handle_path /b/* {
		reverse_proxy %s
	}
}
`, federation, port, a, b)
}

// running is the federation of the config that runs.
func running(t testing.TB) *fleet.App {
	t.Helper()
	app := fleet.Running("proxied")
	if app == nil {
		t.Fatal("no federation runs")
	}
	return app
}

const ours = `{
	dynamic federation
	lb_policy federation
	lb_retries 1
	transport federation {
		transport http {
			dial_timeout 3s
			response_header_timeout 3s
		}
	}
}`

// TestDrainingLetsRunningRequestsFinish and sends no new one.
func TestDrainingLetsRunningRequestsFinish(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	var late atomic.Bool
	leaving := node(t, func(w http.ResponseWriter, r *http.Request) {
		if late.Load() {
			t.Error("a new request was sent to the draining node")
		}
		if r.URL.Path != "/long" {
			return
		}
		_, _ = io.WriteString(w, "begun, ")
		w.(http.Flusher).Flush()
		entered <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "finished")
	})
	port := loopback.FreePort(t)
	load(t, proxying(port, "node leaving "+leaving, ours, ours))
	url := fmt.Sprintf("http://127.0.0.1:%d/a", port)

	response, err := http.Get(url + "/long")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	<-entered
	staying := node(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "staying") })
	if _, err := running(t).AddNode(t.Context(), fleet.NodeConfig{Slug: "staying", URL: staying}); err != nil {
		t.Fatal(err)
	}
	if _, err := running(t).SetAdminState(t.Context(), "leaving", fleet.AdminDraining); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return running(t).Snapshot().Node("leaving").AdminState == fleet.AdminDraining })
	late.Store(true)
	for range 50 {
		other, err := http.Get(url + "/short")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(other.Body)
		other.Body.Close()
		if string(body) != "staying" {
			t.Fatalf("while the node drains: %s %s", other.Status, body)
		}
	}
	if n := running(t).Snapshot().Node("leaving").Load().InFlight; n != 1 {
		t.Errorf("the draining node has %d requests in flight, expected the long one", n)
	}
	close(release)
	if body, err := io.ReadAll(response.Body); string(body) != "begun, finished" || err != nil {
		t.Errorf("the long request ended with %q, %v", body, err)
	}
	if response, err := http.Get(url + "/short"); err != nil || response.StatusCode != 200 {
		t.Errorf("%v, %v", response, err)
	}
	// with nobody left the answer is 503, not an error of Caddy's
	if _, err := running(t).SetAdminState(t.Context(), "staying", fleet.AdminMaintenance); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		response, err := http.Get(url + "/short")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode == http.StatusServiceUnavailable
	})
}

// TestAReloadKeepsAnOpenBreaker, without any federation block.
func TestAReloadKeepsAnOpenBreaker(t *testing.T) {
	var reached atomic.Int64
	bad := strings.TrimPrefix(node(t, func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	}), "http://")
	good := strings.TrimPrefix(node(t, func(http.ResponseWriter, *http.Request) {}), "http://")
	port := loopback.FreePort(t)
	site := bad + " " + good + ` {
		lb_policy federation round_robin
		transport federation {
			breaker {
				open 1m
			}
		}
	}`
	// a reload closes idle connections, which a POST must not meet
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func() int {
		response, err := client.Post(fmt.Sprintf("http://127.0.0.1:%d/a/", port), "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	load(t, proxying(port, "", site, good))
	if fleet.Running("default") != nil {
		t.Error("a federation runs that nobody asked for")
	}
	for range 20 {
		ask()
	}
	if n := reached.Load(); n != 5 {
		t.Fatalf("the failing upstream was asked %d times, expected five", n)
	}
	for range 3 {
		load(t, proxying(port, "", site, bad+" "+good))
		for range 10 {
			if status := ask(); status != http.StatusOK {
				t.Errorf("after a reload: status %d", status)
			}
		}
	}
	if n := reached.Load(); n != 5 {
		t.Errorf("after the reloads the failing upstream was asked %d times", n)
	}
}

// TestAnAbortedUploadIsNotTheNodesFault: the node sees half a request, and the
// gateway an error.
func TestAnAbortedUploadIsNotTheNodesFault(t *testing.T) {
	var reached atomic.Int64
	reading := node(t, func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
	})
	port := loopback.FreePort(t)
	load(t, proxying(port, "node a "+reading+"\nnode b "+reading, ours, ours))
	for i := range 200 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST /a/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nhalf of it")
		if i%2 == 0 { // without waiting for the node, and after it was reached
			time.Sleep(time.Millisecond)
		}
		conn.Close()
	}
	eventually(t, func() bool {
		load := func(slug string) fleet.Load { return running(t).Snapshot().Node(slug).Load() }
		return load("a").InFlight == 0 && load("b").InFlight == 0
	})
	for _, slug := range []string{"a", "b"} {
		node := running(t).Snapshot().Node(slug)
		if calls := node.Load().Calls; calls[fleet.OutcomeHard] != 0 || calls[fleet.OutcomeSoft] != 0 || node.Refusal() != "" {
			t.Errorf("%s: calls %v, refusal %q", slug, calls, node.Refusal())
		}
	}
	if reached.Load() == 0 {
		t.Error("no upload reached a node: nothing was shown")
	}
}

// TestEveryMistakeInAProxyIsNamed: as in TestEveryMistakeIsNamed, for the guests
// of reverse_proxy.
func TestEveryMistakeInAProxyIsNamed(t *testing.T) {
	for _, c := range []struct{ block, says string }{
		{"transport federation x", "wrong argument count"},
		{"transport federation {\ntransprt http\n}", "transport federation: unknown subdirective transprt; did you mean transport?"},
		{"transport federation {\ntransport\n}", "the name of a module is missing"},
		{"transport federation {\ntransport htpp\n}", "unknown module htpp; did you mean http?"},
		{"transport federation {\ntransport federation\n}", "unknown module federation"},
		{"transport federation {\ntransport http\ntransport http\n}", "transport is set twice"},
		{"transport federation {\ncredentials maybe\n}", "expected on or off, got maybe"},
		{"transport federation {\nbreaker {\nconsecutiv 3\n}\n}", "did you mean consecutive?"},
		{"lb_policy federation latncy", "unknown policy latncy; did you mean latency?"},
		{"lb_policy federation latency x", "wrong argument count"},
		{"lb_policy federation {\nslow_strt 1s\n}", "did you mean slow_start?"},
		{"lb_policy federation {\nslow_start soon\n}", "slow_start: soon is not a duration above 0"},
		{"lb_policy federation {\nslow_start 1s\nslow_start 2s\n}", "slow_start is set twice"},
		{"lb_policy federation least_conn {\npeers yes\n}", "peers: expected on or off, got yes"},
		{"lb_policy federation {\npeers on\n}", "peers: only least_conn counts what other gateways have in flight"},
		{"dynamic federation x", "wrong argument count"},
		{"dynamic federation {\ncapabilty search\n}", "did you mean capability?"},
		{"dynamic federation {\ncapability\n}", "capability takes at least one argument"},
		{"dynamic federation {\nnodes One\n}", "nodes: One is not a slug"},
	} {
		_, err := adapt(proxying(8080, "", "{\n"+c.block+"\n}", "127.0.0.1:1"))
		if err == nil {
			t.Errorf("%s: adapted", c.block)
			continue
		}
		if !strings.Contains(err.Error(), c.says) || !regexp.MustCompile(`Caddyfile:\d+`).MatchString(err.Error()) {
			t.Errorf("%s: error is %v, expected %q with file and line", c.block, err, c.says)
		}
	}
}

// TestARetryAfterPausesTheNodeThatTheGatewaySignedFor: what a node tells one
// client to wait is that client's alone, what it tells the gateway is for all.
func TestARetryAfterPausesTheNodeThatTheGatewaySignedFor(t *testing.T) {
	var asked atomic.Int64
	limited := node(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/work" {
			return // a check
		}
		asked.Add(1)
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	port := loopback.FreePort(t)
	signing := "{\ndynamic federation\nlb_policy federation\ntransport federation {\ncredentials on\n}\n}"
	load(t, proxying(port, "key main hs256 a-secret-of-more-than-thirty-two-bytes\nnode limited "+limited+" {\ndialect json {\npath /work\n}\nbudget 1000 1m\n}", ours, signing))
	n := running(t).Snapshot().Node("limited")
	get := func(site string) int {
		response, err := http.Get(address(port, site+"/work"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for range 3 {
		if status := get("/a"); status != 429 || n.PausedFor() != 0 || n.Refusal() != "" {
			t.Fatalf("the client's own limit: status %d, paused for %v, refusal %q", status, n.PausedFor(), n.Refusal())
		}
	}
	if status := get("/b"); status != 429 || n.PausedFor() < 50*time.Second || n.Refusal() != fleet.ReasonPaused {
		t.Fatalf("the gateway's limit: status %d, paused for %v, refusal %q", status, n.PausedFor(), n.Refusal())
	}
	for _, site := range []string{"/a", "/b"} {
		if status := get(site); status != 503 || asked.Load() != 4 {
			t.Errorf("%s while it is paused: status %d, asked %d times", site, status, asked.Load())
		}
	}
}
