package integration

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// claims reads a token's claims without checking it.
func claims(t *testing.T, authorization string) map[string]any {
	t.Helper()
	parts := strings.Split(strings.TrimPrefix(authorization, "Bearer "), ".")
	if len(parts) != 3 {
		t.Fatalf("not a token: %q", authorization)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnOldNodeIsSpokenToAsItsMasterDid(t *testing.T) {
	type call struct {
		path   string
		header http.Header
		body   map[string]any
	}
	calls := make(chan call, 100)
	url := node(t, func(w http.ResponseWriter, r *http.Request) {
		c := call{path: r.URL.Path, header: r.Header.Clone()}
		_ = json.NewDecoder(r.Body).Decode(&c.body)
		switch r.URL.Path {
		case "/app/api/ai-engine/health":
			answers(`{"status":"healthy","version":"1.0.0","capabilities":["search"],"timestamp":"2026-01-01T12:00:00+00:00"}`)(w, r)
		case "/app/api/ai-engine/search":
			calls <- c
			answers(`{"results":[{"id":1,"content":"A blue kettle","score":"0.99","model_class":"App\\Models\\Product","model_type":"Product"}],"count":1,"duration_ms":12}`)(w, r)
		default:
			w.WriteHeader(404)
			answers(`{"message":""}`)(w, r)
		}
	})
	g := serve(t, `key main hs256 orchard-gateway-fixture-secret-2026-0001
issuer http://gateway.orchard.test
node orchard-shop `+url+`/app/ {
	name "Orchard Shop"
	collections App\Models\Product
	subject 17
}`, "")
	a := g.search(200, `{"query":"kettle","limit":5,"options":{"user_id":7,"threshold":null}}`)
	c := <-calls
	if c.header.Get("X-Node-Token") == "" || c.header.Get("Authorization") != "Bearer "+c.header.Get("X-Node-Token") {
		t.Errorf("the token is in %v", c.header)
	}
	got := claims(t, c.header.Get("Authorization"))
	now := float64(time.Now().Unix())
	if got["iss"] != "http://gateway.orchard.test" || got["sub"] != 17.0 || got["node_slug"] != "orchard-shop" ||
		got["node_name"] != "Orchard Shop" || got["type"] != "child" {
		t.Errorf("claims are %v", got)
	}
	if iat := got["iat"].(float64); iat > now-30 || iat < now-60 {
		t.Errorf("iat is %v seconds ago", now-iat)
	}
	if exp := got["exp"].(float64); exp < now+60 || exp > now+300 {
		t.Errorf("exp is in %v seconds", exp-now)
	}
	options := c.body["options"].(map[string]any)
	if c.body["query"] != "kettle" || c.body["limit"] != 5.0 || options["user_id"] != 7.0 ||
		fmt.Sprint(options["collections"]) != `[App\Models\Product]` || len(options) != 2 {
		t.Errorf("the node got %v", c.body)
	}
	hit := a.Hits[0]
	if hit.ID != "1" || hit.Content != "A blue kettle" || *hit.Sources[0].Score != 0.99 || hit.Metadata["model_class"] != `App\Models\Product` {
		t.Errorf("got %s", a.raw)
	}

	old := g.post("/api/ai-engine/search", 200, `{"query":"kettle","limit":"5","options":{"collections":["App\\Models\\Product"]}}`)
	<-calls
	var body map[string]any
	if err := json.Unmarshal([]byte(old.raw), &body); err != nil {
		t.Fatal(err)
	}
	item := body["results"].([]any)[0].(map[string]any)
	if body["count"] != 1.0 || body["total_results"] != 1.0 || body["nodes_searched"] != 1.0 || body["query"] != "kettle" ||
		fmt.Sprint(body["node_breakdown"]) != "map[orchard-shop:1]" || body["duration_ms"] == nil {
		t.Errorf("the old face answered %s", old.raw)
	}
	if item["id"] != 1.0 || item["source_node"] != "orchard-shop" || item["source_node_name"] != "Orchard Shop" ||
		item["score"] != 0.99 || item["model_type"] != "Product" {
		t.Errorf("the item is %v", item)
	}
}

func TestTheOldFaceRefusesAsTheOldNodesDid(t *testing.T) {
	g := serve(t, "node one "+node(t, answers(hits("a")))+" {\n dialect gateway\n}", "")
	for body, field := range map[string]string{
		`{"limit":5}`:                  "query",
		`{"query":""}`:                 "query",
		`{"query":7}`:                  "query",
		`{"query":`:                    "query",
		`{"query":"x","limit":0}`:      "limit",
		`{"query":"x","limit":101}`:    "limit",
		`{"query":"x","limit":null}`:   "limit",
		`{"query":"x","options":null}`: "options",
	} {
		a := g.post("/api/ai-engine/search", 422, body)
		var refused struct {
			Success *bool               `json:"success"`
			Message string              `json:"message"`
			Errors  map[string][]string `json:"errors"`
		}
		if err := json.Unmarshal([]byte(a.raw), &refused); err != nil {
			t.Fatal(err)
		}
		if len(refused.Errors) != 1 || len(refused.Errors[field]) != 1 || refused.Message == "" || refused.Success == nil || *refused.Success {
			t.Errorf("%s: %s", body, a.raw)
		}
	}
	// what they did not know, they ignored
	g.post("/api/ai-engine/search", 200, `{"query":"x","surprise":1,"options":[]}`)
	request, _ := http.NewRequest(http.MethodPost, g.url+"/api/ai-engine/search", strings.NewReader("query=x&limit=3"))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	g.do(200, request)
}

func TestTheLocalIndexIsAMemberAndAFallback(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "tea.md"), []byte("# Green tea\n\nTea leaves that were not fermented, in a *kettle*.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	local := "timeout 1s\nlocal bleve " + folder + " {\n path " + t.TempDir() + "\n}"
	t.Run("member", func(t *testing.T) {
		g := serve(t, "node one "+node(t, answers(hits("a")))+" {\n dialect gateway\n}", local)
		eventually(t, func() bool { return g.search(200, `{"query":"kettle"}`).node("local").Hits == 1 })
		a := g.search(200, `{"query":"kettle"}`)
		if a.Fallback || a.Partial || len(a.Hits) != 2 || a.Nodes[1].Node != "local" {
			t.Errorf("got %s", a.raw)
		}
		if only := g.search(200, `{"query":"kettle","nodes":["local"]}`); len(only.Nodes) != 1 || !only.Fallback {
			t.Errorf("got %s", only.raw)
		}
	})
	t.Run("fallback", func(t *testing.T) {
		g := serve(t, fmt.Sprintf("node one http://127.0.0.1:%d", loopback.FreePort(t)), local)
		eventually(t, func() bool { return g.search(200, `{"query":"kettle"}`).node("local").Hits == 1 })
		a := g.search(200, `{"query":"kettle"}`)
		if !a.Fallback || !a.Partial || a.Hits[0].Title != "Green tea" || a.Hits[0].Node != "local" {
			t.Errorf("got %s", a.raw)
		}
	})
}

// eventually waits for what another goroutine brings about.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 10s")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAnIndexIsAWholeNode(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "docs.jsonl"), []byte(`{"id":"k1","title":"Kettle","text":"boils water","url":"https://shop.example/k1","collection":"product","colour":"blue"}
{"id":"k2","title":"Teapot","text":"holds tea and water","collection":"product","colour":"red"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dialect := range []string{"gateway", "laravel", "laravel_enveloped"} {
		t.Run(dialect, func(t *testing.T) {
			port, nodePort := loopback.FreePort(t), loopback.FreePort(t)
			load(t, federation(port, fmt.Sprintf("node shop http://127.0.0.1:%d", nodePort), "")+fmt.Sprintf(
				"http://127.0.0.1:%d {\n federation_index %s/docs.jsonl {\n dialect %s\n path %s\n}\n}\n", nodePort, folder, dialect, t.TempDir()))
			g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
			eventually(t, func() bool { return len(g.search(200, `{"query":"water"}`).Hits) == 2 })
			a := g.search(200, `{"query":"water kettle"}`)
			if a.Hits[0].ID != "k1" || a.Hits[0].Title != "Kettle" || a.Hits[0].URL != "https://shop.example/k1" {
				t.Errorf("got %s", a.raw)
			}
			one := g.search(200, `{"query":"water","filters":{"colour":"red"},"collections":["product"]}`)
			if len(one.Hits) != 1 || one.Hits[0].ID != "k2" {
				t.Errorf("filtered: %s", one.raw)
			}
			if dialect == "gateway" {
				index := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", nodePort)}
				for body, status := range map[string]int{
					`{"query":"water","offset":9223372036854775807}`: 400, `{"query":"water","limit":101}`: 400, `{"query":"water","offset":991}`: 400,
					`{"query":"water","filters":[]}`: 400, `{"query":"water","filters":null,"options":null}`: 200, `{"query":"water","offset":990,"limit":10}`: 200,
				} {
					index.search(status, body)
				}
				if second := index.search(200, `{"query":"water kettle","offset":1,"limit":1}`); len(second.Hits) != 1 || second.Hits[0].ID != "k2" || second.Hits[0].Rank != 2 {
					t.Errorf("the second page is %s", second.raw)
				}
			}
			none := g.search(200, `{"query":"water","collections":["person"]}`)
			if none.node("shop").Status != "empty" {
				t.Errorf("another collection: %s", none.raw)
			}
		})
	}
}
