package search

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// plain is a handler with the defaults, and 50 as the largest limit.
func plain() *Handler {
	return &Handler{Timeout: caddy.Duration(2 * time.Second), MinNodes: 1, Fusion: "rrf", Dedup: "exact", Limit: 10, MaxLimit: 50}
}

func post(body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/v1/search", strings.NewReader(body))
}

func get(query string) *http.Request {
	return &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/v1/search", RawQuery: query}}
}

func TestDefaultsAreTheHandlers(t *testing.T) {
	for _, r := range []*http.Request{
		post(`{"query":" tea "}`), get("q=+tea+"), get("query=tea&nodes=&collections=,"),
		post(`{"query":"tea","limit":null,"offset":null,"nodes":null,"collections":null,"filters":null,"options":null,"timeout_ms":null,"min_nodes":null,"fusion":null,"dedup":null}`),
	} {
		req, bad := plain().parseNative(r)
		if bad != nil {
			t.Errorf("refused: %s", bad)
			continue
		}
		if req.Query != "tea" || req.limit != 10 || req.Offset != 0 || req.timeout != 2*time.Second || *req.MinNodes != 1 ||
			req.Fusion != "rrf" || req.Dedup != "exact" || len(req.Nodes)+len(req.Collections) != 0 || req.Filters != nil || req.Options != nil {
			t.Errorf("%+v", req)
		}
	}
}

func TestEveryFieldIsRead(t *testing.T) {
	for _, r := range []*http.Request{
		post(`{"query":"tea","limit":50,"offset":950,"nodes":["a","b"],"collections":["x","y"],"filters":{"c":1},"options":{"o":[]},"timeout_ms":300,"min_nodes":2,"fusion":"raw","dedup":"off"}`),
		get("q=tea&limit=50&offset=950&nodes=a,+b&collections=x,y&timeout_ms=300&min_nodes=2&fusion=raw&dedup=off"),
	} {
		req, bad := plain().parseNative(r)
		if bad != nil {
			t.Fatalf("refused: %s", bad)
		}
		asked := req.query([]string{"me"})
		if asked.Text != "tea" || asked.Limit != 1000 || strings.Join(asked.Collections, " ") != "x y" || asked.Via[0] != "me" {
			t.Errorf("the nodes are asked %+v", asked)
		}
		if strings.Join(req.Nodes, " ") != "a b" || req.timeout != 300*time.Millisecond || *req.MinNodes != 2 || req.Fusion != "raw" || req.Dedup != "off" {
			t.Errorf("%+v", req)
		}
		if r.Method == http.MethodPost && (string(asked.Filters) != `{"c":1}` || string(asked.Options) != `{"o":[]}`) {
			t.Errorf("filters %s, options %s", asked.Filters, asked.Options)
		}
	}
}

func TestEveryMistakeOfARequestIsNamed(t *testing.T) {
	for _, c := range []struct {
		r    *http.Request
		says string
	}{
		{post(""), "the body is empty"},
		{post(" \n"), "the body is empty"},
		{post("null"), "query: required"},
		{post("7"), "not a JSON object"},
		{post("\ufeff{}"), "not valid JSON (at byte 0)"},
		{post(`{"query":"x"} {}`), "not valid JSON"},
		{post(`{"query":"x",}`), "not valid JSON"},
		{post(`{"query":"\ud800"}`), "not valid JSON"},
		{post("{\"query\":\"\xff\"}"), "not valid JSON"},
		{post("q=tea&limit=5"), "not valid JSON"},
		{post(`{"query":"x","query":"x"}`), "query: the field is given twice"},
		{post(`{"query":"x","options":{"a":1,"a":2}}`), "options/a: the field is given twice"},
		{post(`{"query":"x","` + strings.Repeat("y", 5000) + `":1}`), "yyy…: unknown field"},
		{post(`{"Query":"x"}`), "did you mean query?"},
		{post(`{"query":["x"]}`), "query: expected a string, got an array"},
		{post(`{"query":"x","limit":1.5}`), "limit: expected a whole number, got a number that does not fit"},
		{post(`{"query":"x","limit":1e400}`), "limit: expected a whole number"},
		{post(`{"query":"x","limit":99999999999999999999}`), "limit: expected a whole number"},
		{post(`{"query":"x","offset":9223372036854775807}`), "offset + limit"},
		{post(`{"query":"x","offset":991,"limit":10}`), "offset + limit"},
		{post(`{"query":"x","nodes":"a"}`), "nodes: expected an array of strings, got a string"},
		{post(`{"query":"x","nodes":["a",7]}`), "nodes/1: expected a string"},
		{post(`{"query":"x","filters":"a"}`), "filters: expected an object"},
		{post(`{"query":"x","options":7}`), "options: expected an object"},
		{post(`{"query":"x","timeout_ms":-1}`), "timeout_ms: expected a number above 0"},
		{post(`{"query":"x","min_nodes":0}`), "min_nodes: expected a number above 0"},
		{post(`{"query":"x","fusion":"RRF"}`), "did you mean rrf?"},
		{post(`{"query":"x","fusion":"adaptive"}`), "known are raw, relative, rrf"},
		{post(`{"query":"x","dedup":"exakt"}`), "did you mean exact?"},
		{post(`{"query":"` + strings.Repeat("ä", 4097) + `"}`), "4097 characters, expected at most 4096"},
		{get(""), "query: required"},
		{get("q=%20"), "query: required"},
		{get("q=%zz"), "the query string is not valid"},
		{get("q=a;b"), "the query string is not valid"},
		{get("q=%ff"), "query: expected valid UTF-8"},
		{get("q=a&q=b"), "q: the parameter is given 2 times"},
		{get("q=a&query=b"), "q and query are the same"},
		{get("q=a&filters={}"), "filters: a GET cannot carry it"},
		{get("q=a&limt=1"), "did you mean limit?"},
		{get("q=a&limit=ten"), "limit: expected a whole number"},
		{get("q=a&offset=0x1"), "offset: expected a whole number"},
		{get("q=a&min_nodes="), "min_nodes: expected a whole number"},
	} {
		_, bad := plain().parseNative(c.r)
		if bad == nil {
			t.Errorf("%q is not there: taken", c.says)
			continue
		}
		if bad.status != http.StatusBadRequest || bad.code == "" || !strings.Contains(bad.detail, c.says) || len(bad.detail) > 500 {
			t.Errorf("%d %s %q, expected %q", bad.status, bad.code, bad.detail, c.says)
		}
	}
}

func TestABodyMayHave64KiB(t *testing.T) {
	frame := `{"query":"x","options":{"a":""}}`
	fits := `{"query":"x","options":{"a":"` + strings.Repeat("x", maxBody-len(frame)) + `"}}`
	if len(fits) != 65536 {
		t.Fatalf("%d bytes", len(fits))
	}
	for _, chunked := range []bool{false, true} {
		for body, status := range map[string]int{fits: 0, fits + " ": 413, fits + strings.Repeat(" ", 1<<20): 413} {
			r := post(body)
			if chunked {
				r.ContentLength = -1
			}
			_, bad := plain().parseNative(r)
			if bad == nil && status != 0 || bad != nil && bad.status != status {
				t.Errorf("%d bytes, chunked %v: %v", len(body), chunked, bad)
			}
		}
	}
	r := post("")
	r.Body = io.NopCloser(iotest.ErrReader(errors.New("reset by 10.0.0.7")))
	if _, bad := plain().parseNative(r); bad == nil || bad.status != 400 || strings.Contains(bad.detail, "10.0.0.7") {
		t.Errorf("a body that breaks off: %v", bad)
	}
	if _, bad := plain().parseNative(get("q=" + strings.Repeat("x", maxBody))); bad == nil || bad.status != 413 {
		t.Errorf("a long query string: %v", bad)
	}
}

func TestACallerLowersTheTimeAndNeverRaisesIt(t *testing.T) {
	for _, c := range []struct {
		body   string
		prefer []string
		time   time.Duration
	}{
		{`{"query":"x","timeout_ms":300}`, nil, 300 * time.Millisecond},
		{`{"query":"x","timeout_ms":3000}`, nil, 2 * time.Second},
		{`{"query":"x","timeout_ms":9223372036854775807}`, nil, 2 * time.Second},
		{`{"query":"x"}`, []string{"wait=1"}, time.Second},
		{`{"query":"x"}`, []string{`respond-async, WAIT="1"`}, time.Second},
		{`{"query":"x"}`, []string{"respond-async", "wait=1"}, time.Second},
		{`{"query":"x"}`, []string{"wait=60"}, 2 * time.Second},
		{`{"query":"x"}`, []string{"wait=0", "wait=-1", "wait=x", "wait", "=", "wait=99999999999999999999"}, 2 * time.Second},
		{`{"query":"x","timeout_ms":300}`, []string{"wait=1"}, 300 * time.Millisecond},
	} {
		req, bad := plain().parseNative(post(c.body))
		if bad != nil {
			t.Fatal(bad)
		}
		req.preferWait(http.Header{"Prefer": c.prefer})
		if req.timeout != c.time {
			t.Errorf("%s with Prefer %q: %v, expected %v", c.body, c.prefer, req.timeout, c.time)
		}
	}
}

func compatible(contentType, body string) *http.Request {
	r := post(body)
	r.Header.Set("Content-Type", contentType)
	return r
}

func TestTheOldFaceIsLenientAsTheOldNodesAre(t *testing.T) {
	for _, c := range []struct {
		contentType, body string
		limit             int
	}{
		{"application/json", `{"query":"tea"}`, 10},
		{"", `{"query":"tea","limit":"5","unknown":1}`, 5},
		{"text/plain; charset=\"", `{"query":"tea","limit":5,"options":[]}`, 5},
		{"application/x-www-form-urlencoded", `query=tea&limit=5&options[x]=1`, 5},
		{"application/x-www-form-urlencoded", ` {"query":"tea","limit":5}`, 5},
		{"application/json", `{"query":"tea","limit":50,"options":{"collections":[],"filters":[]}}`, 50},
	} {
		req, refused := plain().parseCompatible(compatible(c.contentType, c.body))
		if refused != nil {
			t.Errorf("%s: %s %v", c.body, refused.Detail, refused.Fields)
			continue
		}
		if req.Query != "tea" || req.limit != c.limit || req.Filters != nil || req.Options != nil {
			t.Errorf("%s: %+v", c.body, req)
		}
	}
	req, refused := plain().parseCompatible(compatible("application/json",
		`{"query":"tea","options":{"collections":["App\\Models\\Tea"],"filters":{"colour":"green"},"threshold":0.2,"b":1}}`))
	if refused != nil {
		t.Fatal(refused.Fields)
	}
	if req.Collections[0] != `App\Models\Tea` || string(req.Filters) != `{"colour":"green"}` {
		t.Errorf("%+v", req)
	}
	var options map[string]any
	if err := json.Unmarshal(req.Options, &options); err != nil || len(options) != 2 || options["threshold"] != 0.2 {
		t.Errorf("options are %s", req.Options)
	}
}

func TestTheOldFaceNamesEveryField(t *testing.T) {
	for _, c := range []struct {
		body, field, says string
	}{
		{``, "query", "required"},
		{`nonsense`, "query", "required"},
		{`{"query":"x","query":"y"}`, "query", "required"}, // no JSON that we read; an empty body then
		{`{"query":null}`, "query", "required"},
		{`{"query":" "}`, "query", "required"},
		{`{"query":7}`, "query", "must be a string"},
		{`{"query":"` + strings.Repeat("x", 4097) + `"}`, "query", "at most 4096"},
		{`{"query":"x","limit":null}`, "limit", "whole number"},
		{`{"query":"x","limit":"five"}`, "limit", "whole number"},
		{`{"query":"x","limit":1.5}`, "limit", "whole number"},
		{`{"query":"x","limit":0}`, "limit", "at least 1"},
		{`{"query":"x","limit":51}`, "limit", "at most 50"},
		{`{"query":"x","limit":99999999999999999999}`, "limit", "whole number"},
		{`{"query":"x","options":null}`, "options", "must be an array"},
		{`{"query":"x","options":"y"}`, "options", "must be an array"},
		{`{"query":"x","options":{"collections":"y"}}`, "options", "array of strings"},
	} {
		_, refused := plain().parseCompatible(compatible("application/json", c.body))
		if refused == nil {
			t.Errorf("%s: taken", c.body)
			continue
		}
		if said := strings.Join(refused.Fields[c.field], ""); refused.Status != 422 || !strings.Contains(said, c.says) {
			t.Errorf("%s: %d %v, expected %q", c.body, refused.Status, refused.Fields, c.says)
		}
	}
	_, refused := plain().parseCompatible(compatible("application/json", strings.Repeat(" ", maxBody+1)))
	if refused == nil || refused.Status != 413 {
		t.Errorf("a large body: %+v", refused)
	}
}

func FuzzNativeRequest(f *testing.F) {
	for _, seed := range []string{`{"query":"tea","limit":5,"options":{"a":[1,{"b":null}]}}`, `{"query":"\ud83c\udf75","nodes":["a"],"filters":{}}`, `{"q":1}`, `[`, "", "\x00"} {
		f.Add(seed, "q=tea&limit=5&nodes=a,b")
	}
	f.Fuzz(func(t *testing.T, body, query string) {
		for _, r := range []*http.Request{post(body), get(query)} {
			req, bad := plain().parseNative(r)
			if bad != nil {
				if bad.status < 400 || bad.code == "" || bad.detail == "" {
					t.Errorf("refused without a reason: %+v", bad)
				}
				continue
			}
			if asked := req.query(nil); asked.Text == "" || asked.Limit < 1 || asked.Limit > maxWindow ||
				asked.Filters != nil && !asked.Filters.IsValid() || asked.Options != nil && !asked.Options.IsValid() {
				t.Errorf("the nodes would be asked %+v", asked)
			}
			if req.timeout <= 0 || req.timeout > 2*time.Second {
				t.Errorf("the search would take %v", req.timeout)
			}
		}
	})
}

func FuzzCompatibleRequest(f *testing.F) {
	f.Add("application/json", `{"query":"tea","limit":"5","options":{"collections":["x"],"filters":{"a":1},"z":[]}}`)
	f.Add("application/x-www-form-urlencoded", `query=tea&limit=5`)
	f.Add("", `{"query":"tea","options":[]}`)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		req, refused := plain().parseCompatible(compatible(contentType, body))
		if refused != nil {
			if refused.Status != 422 && refused.Status != 413 {
				t.Errorf("refused with %d", refused.Status)
			}
			return
		}
		if asked := req.query(nil); asked.Text == "" || asked.Limit < 1 || asked.Limit > compatibleMaxLimit ||
			asked.Filters != nil && !asked.Filters.IsValid() || asked.Options != nil && !asked.Options.IsValid() {
			t.Errorf("the nodes would be asked %+v", asked)
		}
	})
}
