// Package integration tests the whole: one Caddy in this process, real HTTP
// to real nodes. Its tests share that Caddy, so none of them is parallel.
package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-federation/caddy-federation"
)

// asCaddy makes this test program Caddy itself, for tests of its commands.
const asCaddy = "CADDY_FEDERATION_TEST_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	if os.Getenv(asTests) == "" {
		os.Exit(underReader())
	}
	http.DefaultClient.Transport = readAlong
	// what Caddy keeps must not meet what a real one keeps
	folder, err := os.MkdirTemp("", "caddy-federation-test")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"} {
		os.Setenv(name, folder)
	}
	code := m.Run()
	readAlong.readLog(accessLog())
	code = readAlong.report(code)
	os.RemoveAll(folder)
	os.Exit(code)
}

// adapt turns a Caddyfile into JSON.
func adapt(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// load runs a Caddyfile until the test ends.
func load(t testing.TB, text string) {
	t.Helper()
	config, err := adapt(text)
	if err != nil {
		t.Fatalf("adapting: %v", err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatalf("loading: %v", err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
}

// gateway is a running gateway.
type gateway struct {
	testing.TB
	url string
}

// federation writes a Caddyfile: the lines of the federation block, and those
// of federation_search.
func federation(port int, block, search string) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level ERROR
	}
	federation test {
		store memory
		%s
	}
}
http://127.0.0.1:%d {
	federation_search {
		%s
	}
}
`, block, port, search)
}

// serve runs a gateway until the test ends.
func serve(t testing.TB, block, search string) gateway {
	t.Helper()
	port := loopback.FreePort(t)
	load(t, federation(port, block, search))
	return gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
}

// answer is what the native face says.
type answer struct {
	Partial  bool `json:"partial"`
	Fallback bool `json:"fallback"`
	Total    struct {
		Value    int    `json:"value"`
		Relation string `json:"relation"`
	} `json:"total"`
	Coverage struct {
		Nodes  float64 `json:"nodes"`
		Weight float64 `json:"weight"`
	} `json:"coverage"`
	Merge struct {
		Overlap      float64 `json:"overlap"`
		Deduplicated int     `json:"deduplicated"`
	} `json:"merge"`
	Hits []struct {
		ID      string  `json:"id"`
		Title   string  `json:"title"`
		Content string  `json:"content"`
		URL     string  `json:"url"`
		Score   float64 `json:"score"`
		Rank    int     `json:"rank"`
		Node    string  `json:"node"`
		Sources []struct {
			Node  string   `json:"node"`
			Rank  int      `json:"rank"`
			Score *float64 `json:"score"`
		} `json:"sources"`
		Metadata map[string]any `json:"metadata"`
	} `json:"hits"`
	Nodes []report `json:"nodes"`

	// of a problem
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Trace  string `json:"trace_id"`

	header http.Header
	took   time.Duration
	raw    string
}

type report struct {
	Node       string  `json:"node"`
	Status     string  `json:"status"`
	Hits       int     `json:"hits"`
	TookMS     float64 `json:"took_ms"`
	HTTPStatus int     `json:"http_status"`
	Error      string  `json:"error"`
	Reason     string  `json:"reason"`
}

func (a *answer) node(name string) report {
	for _, r := range a.Nodes {
		if r.Node == name {
			return r
		}
	}
	return report{Status: "not in the report"}
}

// search posts a body and expects a status.
func (g gateway) search(status int, body string) *answer {
	g.Helper()
	return g.post("/v1/search", status, body)
}

func (g gateway) post(path string, status int, body string) *answer {
	g.Helper()
	request, err := http.NewRequest(http.MethodPost, g.url+path, strings.NewReader(body))
	if err != nil {
		g.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return g.do(status, request)
}

func (g gateway) do(status int, request *http.Request) *answer {
	g.Helper()
	start := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		g.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		g.Fatal(err)
	}
	a := &answer{header: response.Header, took: time.Since(start), raw: string(body)}
	if response.StatusCode != status {
		g.Fatalf("status %d, expected %d: %s", response.StatusCode, status, body)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(a); err != nil {
		g.Fatalf("%v in %s", err, body)
	}
	return a
}

// node serves a handler until the test ends, as a node that speaks gateway.
func node(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// hits is a gateway's answer with these documents; the title is the id.
func hits(ids ...string) string {
	var b strings.Builder
	b.WriteString(`{"total":{"value":` + fmt.Sprint(len(ids)) + `,"relation":"eq"},"hits":[`)
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%q,"title":%q,"content":"text of %s","url":"https://docs.example/%s","score":%d}`, id, id, id, id, 100-i)
	}
	b.WriteString(`]}`)
	return b.String()
}

// answers serves a body as JSON.
func answers(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
}
