package integration

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// TestNodesAreAskedAtOnce searches a few times: the machine may take the
// processor away between two calls, but not each time.
func TestNodesAreAskedAtOnce(t *testing.T) {
	var mu sync.Mutex
	var asked []time.Time
	var block strings.Builder
	for i := range 4 {
		url := node(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				http.NotFound(w, r)
				return
			}
			mu.Lock()
			asked = append(asked, time.Now())
			mu.Unlock()
			time.Sleep(500 * time.Millisecond) // a slow node
			answers(hits(fmt.Sprintf("doc-%d", i)))(w, r)
		})
		fmt.Fprintf(&block, "node n%d %s {\n dialect gateway\n}\n", i, url)
	}
	g := serve(t, block.String(), "timeout 2s")
	narrowest, fastest := time.Hour, time.Hour
	for range 5 {
		a := g.search(200, `{"query":"kettle"}`)
		if len(a.Hits) != 4 || a.Partial {
			t.Fatalf("got %d hits, partial %v: %s", len(a.Hits), a.Partial, a.raw)
		}
		mu.Lock()
		slices.SortFunc(asked, time.Time.Compare)
		if len(asked) != 4 {
			t.Fatalf("%d nodes were asked, expected 4", len(asked))
		}
		narrowest, fastest = min(narrowest, asked[3].Sub(asked[0])), min(fastest, a.took)
		asked = nil
		mu.Unlock()
		if narrowest <= 5*time.Millisecond && fastest <= 600*time.Millisecond {
			return
		}
	}
	t.Errorf("the nodes were asked within %v, expected 5ms; the search took %v, expected 600ms", narrowest, fastest)
}

func TestMergeKeepsTheBestCopyAndAllSources(t *testing.T) {
	one := node(t, answers(hits("a", "shared", "b")))
	two := node(t, answers(hits("shared", "c")))
	g := serve(t, fmt.Sprintf("node one %s {\n dialect gateway\n}\nnode two %s {\n dialect gateway\n weight 2\n}", one, two), "")
	a := g.search(200, `{"query":"x"}`)
	if a.Total.Value != 4 || a.Merge.Deduplicated != 1 || a.Merge.Overlap != 0.25 {
		t.Errorf("total %d, deduplicated %d, overlap %v", a.Total.Value, a.Merge.Deduplicated, a.Merge.Overlap)
	}
	best := a.Hits[0]
	if best.ID != "shared" || best.Node != "two" || len(best.Sources) != 2 {
		t.Errorf("the best hit is %+v", best)
	}
	if s := best.Sources; s[0].Node != "two" || s[0].Rank != 1 || s[1].Node != "one" || s[1].Rank != 2 || *s[1].Score != 99 {
		t.Errorf("sources are %+v", s)
	}
	for i, hit := range a.Hits {
		if hit.Rank != i+1 {
			t.Errorf("hit %d has rank %d", i, hit.Rank)
		}
	}
	// the same in every order of arrival: twenty searches, one order
	for range 20 {
		again := g.search(200, `{"query":"x"}`)
		for i := range again.Hits {
			if again.Hits[i].ID != a.Hits[i].ID {
				t.Fatalf("order changed: %s", again.raw)
			}
		}
	}
	page := g.search(200, `{"query":"x","limit":2,"offset":1}`)
	if len(page.Hits) != 2 || page.Hits[0].ID != a.Hits[1].ID || page.Hits[0].Rank != 2 || page.Total.Value != 4 {
		t.Errorf("page is %s", page.raw)
	}
	off := g.search(200, `{"query":"x","dedup":"off"}`)
	if off.Total.Value != 5 {
		t.Errorf("without dedup there are %d", off.Total.Value)
	}
	if got := g.search(200, `{"query":"x","nodes":["one"]}`); got.Total.Value != 3 || len(got.Nodes) != 1 {
		t.Errorf("named node: %s", got.raw)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	g := serve(t, "node one "+node(t, answers(hits("a")))+" {\n dialect gateway\n}", "limit 10 50")
	for _, c := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"no body", ``, 400, "expected a JSON object"},
		{"not JSON", `{"query":`, 400, "not valid JSON"},
		{"an array", `[]`, 400, "not a JSON object"},
		{"no query", `{"limit":1}`, 400, "query: required"},
		{"blank query", `{"query":"  "}`, 400, "query: required"},
		{"long query", `{"query":"` + strings.Repeat("x", 4097) + `"}`, 400, "4097 characters"},
		{"query of another type", `{"query":7}`, 400, "query: expected a string"},
		{"unknown field", `{"query":"x","limt":1}`, 400, "did you mean limit?"},
		{"field twice", `{"query":"x","query":"y"}`, 400, "given twice"},
		{"limit 0", `{"query":"x","limit":0}`, 400, "1 to 50"},
		{"limit above the maximum", `{"query":"x","limit":51}`, 400, "1 to 50"},
		{"limit as text", `{"query":"x","limit":"5"}`, 400, "limit: expected a whole number"},
		{"negative offset", `{"query":"x","offset":-1}`, 400, "offset"},
		{"window", `{"query":"x","offset":991}`, 400, "1 to 1000"},
		{"unknown node", `{"query":"x","nodes":["two"]}`, 400, "no such node: two"},
		{"unknown fusion", `{"query":"x","fusion":"rff"}`, 400, "did you mean rrf?"},
		{"unknown dedup", `{"query":"x","dedup":"near"}`, 400, "dedup"},
		{"timeout 0", `{"query":"x","timeout_ms":0}`, 400, "timeout_ms"},
		{"filters", `{"query":"x","filters":[]}`, 400, "filters: expected an object"},
		{"deep", `{"query":"x","options":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, 400, ""},
		{"too large", `{"query":"x","options":{"a":"` + strings.Repeat("x", 70<<10) + `"}}`, 413, "64 KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gateway{t, g.url}
			a := g.search(c.status, c.body)
			if !strings.Contains(a.Detail, c.says) {
				t.Errorf("detail is %q, expected %q in it", a.Detail, c.says)
			}
			if a.header.Get("Content-Type") != "application/problem+json" || a.Code == "" || a.Trace == "" {
				t.Errorf("not a whole problem: %s", a.raw)
			}
		})
	}
	request, _ := http.NewRequest(http.MethodDelete, g.url+"/v1/search", http.NoBody)
	if a := g.do(405, request); a.header.Get("Allow") != "GET, POST" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
	request, _ = http.NewRequest(http.MethodGet, g.url+"/v1/search?q=x&limit=1&nodes=one", http.NoBody)
	if a := g.do(200, request); len(a.Hits) != 1 {
		t.Errorf("GET answered %s", a.raw)
	}
	request, _ = http.NewRequest(http.MethodGet, g.url+"/v1/search?q=x&limt=1", http.NoBody)
	if a := g.do(400, request); !strings.Contains(a.Detail, "did you mean limit?") {
		t.Errorf("GET said %s", a.raw)
	}
}

func TestStatusRules(t *testing.T) {
	good := node(t, answers(hits("a")))
	refusing := "http://127.0.0.1:" + fmt.Sprint(loopback.FreePort(t))
	hanging := node(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	throttling := node(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(429)
	})
	block := func(lines ...string) string {
		var b strings.Builder
		for i := 0; i+1 < len(lines); i += 2 {
			fmt.Fprintf(&b, "node %s %s\n", lines[i], lines[i+1])
		}
		return "node_defaults {\n dialect gateway\n}\n" + b.String()
	}
	for _, c := range []struct {
		name, block, search, body string
		status                    int
		code                      string
		retryAfter                string
		header                    string
	}{
		{"one good is enough", block("good", good, "bad", refusing), "", `{"query":"x"}`, 200, "", "", "asked=2, ok=1, failed=1"},
		{"two are needed", block("good", good, "bad", refusing), "min_nodes 2", `{"query":"x"}`, 502, "nodes_failed", "", "asked=2, ok=1, failed=1"},
		{"the caller needs two", block("good", good, "bad", refusing), "", `{"query":"x","min_nodes":2}`, 502, "nodes_failed", "", ""},
		{"all fail", block("bad", refusing), "", `{"query":"x"}`, 502, "nodes_failed", "", ""},
		{"all run out of time", block("slow", hanging), "timeout 200ms", `{"query":"x"}`, 504, "nodes_timed_out", "", ""},
		{"the caller lowers the time", block("slow", hanging), "timeout 60s", `{"query":"x","timeout_ms":150}`, 504, "nodes_timed_out", "", ""},
		{"all throttle", block("busy", throttling), "", `{"query":"x"}`, 502, "nodes_failed", "7", ""},
		{"no node", "", "", `{"query":"x"}`, 503, "no_node_available", "5", "asked=0, ok=0, failed=0"},
		{"in maintenance", block("down", good+" {\n admin_state maintenance\n}"), "", `{"query":"x"}`, 503, "no_node_available", "5", ""},
		{"required and missing", block("good", good, "bad", refusing+" {\n required\n}"), "", `{"query":"x"}`, 502, "required_node_missing", "", ""},
		{"required and late", block("good", good, "late", hanging+" {\n required\n}"), "timeout 200ms", `{"query":"x"}`, 504, "required_node_missing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := serve(t, c.block, c.search)
			a := g.search(c.status, c.body)
			if a.Code != c.code || a.header.Get("Retry-After") != c.retryAfter {
				t.Errorf("code %q, Retry-After %q: %s", a.Code, a.header.Get("Retry-After"), a.raw)
			}
			if c.header != "" && a.header.Get("Federation-Nodes") != c.header {
				t.Errorf("Federation-Nodes is %q", a.header.Get("Federation-Nodes"))
			}
			if c.status != 200 && a.Nodes == nil {
				t.Errorf("no report: %s", a.raw)
			}
			if c.status == 200 && (!a.Partial || a.header.Get("Federation-Partial") != "true" || a.Coverage.Nodes != 0.5) {
				t.Errorf("not partial: %s", a.raw)
			}
			if strings.Contains(a.raw, "127.0.0.1") || strings.Contains(a.raw, "dial tcp") {
				t.Errorf("an address or a Go error got out: %s", a.raw)
			}
		})
	}
}

func TestDrainingAndDisabledNodesAreReported(t *testing.T) {
	good := node(t, answers(hits("a")))
	g := serve(t, fmt.Sprintf(`node good %[1]s {
	dialect gateway
}
node leaving %[1]s {
	admin_state draining
}
node off %[1]s {
	admin_state disabled
}
node mute %[1]s {
	capabilities actions
}`, good), "")
	a := g.search(200, `{"query":"x"}`)
	if len(a.Nodes) != 2 || a.node("leaving").Status != "draining" || a.Coverage.Nodes != 0.5 || a.Partial {
		t.Errorf("got %s", a.raw)
	}
	a = g.search(200, `{"query":"x","nodes":["good","off","mute"]}`)
	if a.node("off").Reason != "disabled" || a.node("mute").Reason != "has no capability search" {
		t.Errorf("got %s", a.raw)
	}
}

func TestASearchThatComesRoundIsRefused(t *testing.T) {
	port := loopback.FreePort(t)
	load(t, federation(port, fmt.Sprintf("node myself http://127.0.0.1:%d {\n dialect gateway\n}", port), "timeout 3s"))
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	a := g.search(502, `{"query":"x"}`)
	if r := a.node("myself"); r.HTTPStatus != http.StatusLoopDetected {
		t.Errorf("got %s", a.raw)
	}
	if a.took > time.Second {
		t.Errorf("the loop went on for %v", a.took)
	}
}

func TestTheTraceGoesToEveryNode(t *testing.T) {
	seen := make(chan http.Header, 1)
	url := node(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/search" {
			seen <- r.Header.Clone()
		}
		answers(hits("a"))(w, r)
	})
	g := serve(t, `key main hs256 "a secret of more than thirty-two bytes"
node one `+url+` {
	dialect gateway
	header_up X-Tenant acme
}`, "")
	request, _ := http.NewRequest(http.MethodPost, g.url+"/v1/search", strings.NewReader(`{"query":"x"}`))
	request.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	request.Header.Set("X-Request-Id", "r-1")
	request.Header.Set("X-User-Id", "42")
	request.Header.Set("Cookie", "session=secret")
	a := g.do(200, request)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	if a.header.Get("X-Trace-Id") != trace || a.Trace != trace || a.header.Get("X-Request-Id") != "r-1" {
		t.Errorf("the caller got %v", a.header)
	}
	header := <-seen
	parent := header.Get("Traceparent")
	if !strings.HasPrefix(parent, "00-"+trace+"-") || !strings.HasSuffix(parent, "-01") || strings.Contains(parent, "b7ad6b7169203331") {
		t.Errorf("traceparent is %q", parent)
	}
	if header.Get("X-Trace-Id") != trace || header.Get("X-Tenant") != "acme" || header.Get("Accept") != "application/json" {
		t.Errorf("the node got %v", header)
	}
	if header.Get("Authorization") == "" || header.Get("X-Federation-Timeout-Ms") == "" || header.Get("Federation-Via") == "" {
		t.Errorf("the node got %v", header)
	}
	for _, name := range []string{"X-User-Id", "Cookie", "X-Request-Id", "X-Forwarded-For", "X-Idempotency-Key"} {
		if _, got := header[name]; got {
			t.Errorf("%s of the caller got to the node", name)
		}
	}
}

func TestHandlersOfOneConfigKeepTheirOwnSettings(t *testing.T) {
	port, folder := loopback.FreePort(t), t.TempDir()
	one := node(t, answers(hits("a", "b", "c", "d", "e", "f")))
	load(t, fmt.Sprintf(`{
	admin off
	auto_https off
	federation test {
		store memory
		node one %s {
			dialect gateway
		}
	}
}
http://127.0.0.1:%d {
	handle_path /short/* {
		federation_search {
			limit 2 3
			fusion raw
		}
	}
	handle /deep/down/* {
		federation_search {
			limit 4
			server_timing
		}
	}
	@mine header X-Mine yes
	handle @mine {
		federation_search {
			local bleve %s {
				path %s
			}
		}
	}
	handle {
		respond "nothing here" 404
	}
}
`, one, port, folder, t.TempDir()))
	ask := func(path, mine string, status int) *answer {
		t.Helper()
		request, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), http.NoBody)
		request.Header.Set("X-Mine", mine)
		return gateway{t, ""}.do(status, request)
	}
	if a := ask("/short/v1/search?q=x", "", 200); len(a.Hits) != 2 || a.Hits[0].Score != 100 || a.header.Get("Server-Timing") != "" {
		t.Errorf("short: %s", a.raw)
	}
	if a := ask("/short/v1/search?q=x&limit=4", "", 400); !strings.Contains(a.Detail, "1 to 3") {
		t.Errorf("short and more: %s", a.raw)
	}
	if a := ask("/deep/down/v1/search?q=x", "", 200); len(a.Hits) != 4 || a.Hits[0].Score >= 1 || a.header.Get("Server-Timing") == "" {
		t.Errorf("deep: %s", a.raw)
	}
	if a := ask("/v1/search?q=x", "yes", 200); len(a.Hits) != 6 || len(a.Nodes) != 2 {
		t.Errorf("mine: %s", a.raw)
	}
	request, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/v1/search?q=x", port), http.NoBody)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 404 {
		t.Errorf("elsewhere: %d", response.StatusCode)
	}
}
