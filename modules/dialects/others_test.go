package dialects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

const gatewayAnswer = `{"query":"kettle","partial":true,"total":{"value":37,"relation":"eq"},"hits":[
{"id":"17","title":"Kettle","content":"boils","url":"https://shop.example/17","score":0.5,"rank":1,"node":"inner",
"sources":[{"node":"inner","rank":1}],"metadata":{"colour":"blue"}},{"id":"18","title":"Pot"}],"nodes":[]}`

func TestGateway(t *testing.T) {
	var got struct {
		path string
		via  string
		body map[string]any
	}
	node := connect(t, func(w http.ResponseWriter, r *http.Request) {
		got.path, got.via = r.URL.Path, r.Header.Get(fleet.ViaHeader)
		_ = json.NewDecoder(r.Body).Decode(&got.body)
		says(200, gatewayAnswer)(w, r)
	})
	g := provisioned(t, new(Gateway), "gateway {\n prefix /inner/\n}")
	answer, err := g.Search(t.Context(), node, &fleet.SearchQuery{Text: "kettle", Limit: 200, Via: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.path != "/inner/v1/search" || got.via != "a, b" || fmt.Sprint(got.body) != "map[limit:100 query:kettle]" {
		t.Errorf("sent %+v", got)
	}
	if len(answer.Hits) != 2 || !answer.More || !answer.Partial || answer.Total != 37 || answer.Capped == "" || answer.Note == "" {
		t.Errorf("answer is %+v", answer)
	}
	if hit := answer.Hits[0]; string(hit.Metadata) != `{"colour":"blue"}` || string(hit.URL) != `"https://shop.example/17"` || hit.Score != 0.5 {
		t.Errorf("hit is %+v", hit)
	}
	if answer.Hits[1].HasScore {
		t.Error("a missing score is a score")
	}
}

func TestGatewayProbe(t *testing.T) {
	health := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/health" {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(400)
				_, _ = w.Write([]byte(`{"status":400}`))
				return
			}
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		health  fleet.Health
		fails   bool
	}{
		{"pass", health(200, "application/health+json", `{"status":"pass"}`), fleet.HealthHealthy, false},
		{"warn", health(200, "application/health+json", `{"status":"warn","output":"slow"}`), fleet.HealthDegraded, false},
		{"fail", health(503, "application/health+json", `{"status":"fail"}`), fleet.HealthUnhealthy, false},
		{"no health document", health(404, "text/plain", "not found"), fleet.HealthHealthy, false},
		{"something else", health(200, "application/json", `{"hello":"world"}`), "", true},
		{"broken", health(500, "text/plain", ""), "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			report, err := provisioned(t, new(Gateway), "gateway").Probe(t.Context(), connect(t, c.handler))
			if (err != nil) != c.fails || err == nil && report.Health != c.health {
				t.Errorf("report %+v, error %v", report, err)
			}
		})
	}
}

func TestAutoFindsTheDialectOnceForAll(t *testing.T) {
	var probes atomic.Int32
	node := connect(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/ai-engine/health":
			probes.Add(1)
			http.NotFound(w, r)
		case "/v1/health":
			says(200, `{"status":"pass"}`)(w, r)
		default:
			says(200, gatewayAnswer)(w, r)
		}
	})
	a := provisioned(t, new(Auto), "auto")
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			each := &wire{t: t, url: node.url, node: node.node}
			if answer, err := a.Search(t.Context(), each, kettle(10)); err != nil || len(answer.Hits) != 2 {
				t.Errorf("answer %v, error %v", answer, err)
			}
		})
	}
	group.Wait()
	if probes.Load() != 1 {
		t.Errorf("the node was probed %d times", probes.Load())
	}
}

// scripted is a caller without a network, for tests that own the clock.
type scripted struct {
	node *fleet.Node
	do   func(path string) (string, error)
}

func (s scripted) Node() *fleet.Node { return s.node }

func (s scripted) Do(_ context.Context, request *fleet.Request) (*fleet.Response, error) {
	body, err := s.do(request.Path)
	if err != nil {
		return nil, err
	}
	return &fleet.Response{Status: 200, Body: []byte(body)}, nil
}

func TestAutoLooksAgainWhenAnswersStopFitting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		laravel := true
		node := scripted{fleet.NewNode("shop", fleet.Collection{Name: "x"}), func(path string) (string, error) {
			switch {
			case laravel && path == "/api/ai-engine/health":
				return `{"status":"healthy"}`, nil
			case laravel && path == "/api/ai-engine/search":
				return `{"results":[{"id":1}]}`, nil
			case !laravel && path == "/v1/health":
				return `{"status":"pass"}`, nil
			case !laravel && path == "/v1/search":
				return gatewayAnswer, nil
			}
			return "", &fleet.StatusError{Status: 404}
		}}
		a := provisioned(t, new(Auto), "auto")
		search := func() (int, error) {
			answer, err := a.Search(t.Context(), node, kettle(10))
			if err != nil {
				return 0, err
			}
			return len(answer.Hits), nil
		}
		if n, err := search(); n != 1 || err != nil {
			t.Fatalf("%d hits, %v", n, err)
		}
		laravel = false
		if _, err := search(); err == nil {
			t.Fatal("looked again at once")
		}
		time.Sleep(redetectAfter)
		if n, err := search(); n != 2 || err != nil {
			t.Fatalf("%d hits, %v", n, err)
		}
	})
}

func TestAutoDoesNotRememberANodeThatIsDown(t *testing.T) {
	down := errors.New("connection refused")
	calls := 0
	up := false
	node := scripted{fleet.NewNode("shop"), func(path string) (string, error) {
		calls++
		if !up {
			return "", down
		}
		if path == "/v1/health" {
			return `{"status":"pass"}`, nil
		}
		if path == "/v1/search" {
			return gatewayAnswer, nil
		}
		return "", &fleet.StatusError{Status: 404}
	}}
	a := provisioned(t, new(Auto), "auto")
	if _, err := a.Search(t.Context(), node, kettle(1)); !errors.Is(err, down) || calls != 1 {
		t.Fatalf("error %v after %d calls", err, calls)
	}
	up = true
	if _, err := a.Search(t.Context(), node, kettle(1)); err != nil {
		t.Fatal(err)
	}
	strange := scripted{fleet.NewNode("shop"), func(string) (string, error) { return `{"hello":1}`, nil }}
	if _, err := provisioned(t, new(Auto), "auto").Search(t.Context(), strange, kettle(1)); !isPayload(err) || !strings.Contains(err.Error(), "dialect json") {
		t.Errorf("error is %v", err)
	}
}

func TestJSON(t *testing.T) {
	for _, c := range []struct {
		name, config, body string
		path, sent         string
		ids, first         string
		score              float64
		total              int
	}{
		{
			"elasticsearch shape",
			"json {\n path /docs/_search\n request `{\"size\": \"{limit}\", \"query\": {\"match\": {\"body\": \"{query}\"}}}`\n total /hits/total/value\n id /_id\n title /_source/title\n content /_source/body\n score /_score\n url /_source/url\n}",
			`{"hits":{"total":{"value":41},"hits":[{"_id":"a","_score":3.5,"_source":{"title":"Tea","body":"green","url":"https://x.example/a"}}]}}`,
			"/docs/_search", `{"size": 10, "query": {"match": {"body": "say \"tea\"\n"}}}`, `["a"]`, `"Tea"`, 3.5, 41,
		},
		{
			"meilisearch shape",
			"json {\n path /indexes/docs/search\n request `{\"q\":\"{query}\",\"limit\":\"{limit}\",\"filter\":\"{filters}\",\"facets\":\"{collections}\"}`\n content /overview\n score /_rankingScore\n total /estimatedTotalHits\n}",
			`{"hits":[{"id":7,"title":"Tea","overview":"green","_rankingScore":0.9}],"estimatedTotalHits":2}`,
			"/indexes/docs/search", `{"q":"say \"tea\"\n","limit":10,"filter":{},"facets":[]}`, `[7]`, `"Tea"`, 0.9, 2,
		},
		{
			"typesense shape",
			"json {\n path /collections/docs/documents/search?q={query}&per_page={limit}&query_by=title\n hits /hits\n id /document/id\n title /document/title\n content /document/text\n score /vector_distance asc\n}",
			`{"hits":[{"document":{"id":"1","title":"Tea"},"vector_distance":0.25}]}`,
			"/collections/docs/documents/search?q=say%20%22tea%22%0A&per_page=10&query_by=title", "", `["1"]`, `"Tea"`, -0.25, -1,
		},
		{
			"solr shape",
			"json {\n path /solr/docs/select?q={query}&rows={limit}\n hits /response/docs\n total /response/numFound\n content /text\n}",
			`{"response":{"numFound":1,"docs":[{"id":"s","title":["Tea","Thé"],"text":["green"],"score":2}]}}`,
			"/solr/docs/select?q=say%20%22tea%22%0A&rows=10", "", `["s"]`, `"Tea"`, 2, 1,
		},
		{"a bare array", "json {\n path /find\n}", `[{"id":"1","title":"Tea","score":1}]`, "/find", "", `["1"]`, `"Tea"`, 1, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := connect(t, says(200, c.body))
			j := provisioned(t, new(JSON), c.config)
			answer, err := j.Search(t.Context(), node, &fleet.SearchQuery{Text: "say \"tea\"\n", Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			sent := node.sent[0]
			if sent.Path != c.path || string(sent.Body) != c.sent {
				t.Errorf("sent %s to %s", sent.Body, sent.Path)
			}
			ids := []string{}
			for _, hit := range answer.Hits {
				ids = append(ids, string(hit.ID))
			}
			if hit := answer.Hits[0]; fmt.Sprint(ids) != strings.ReplaceAll(c.ids, ",", " ") || string(hit.Title) != c.first || hit.Score != c.score || answer.Total != c.total {
				t.Errorf("ids %s, hit %+v, total %d", ids, hit, answer.Total)
			}
		})
	}
	j := provisioned(t, new(JSON), "json {\n path /find\n hits /found\n}")
	for _, body := range []string{`{}`, `{"found":{}}`, `{"found":[1]}`, `{"found":[{"score":"high"}]}`, `{"found":[`, `nothing`} {
		if _, err := j.decode([]byte(body)); !isPayload(err) {
			t.Errorf("%s: error is %v", body, err)
		}
	}
	if report, err := j.Probe(t.Context(), nil); err != nil || report.Health != fleet.HealthUnknown {
		t.Errorf("report %+v, %v", report, err)
	}
}

func TestJSONCaddyfile(t *testing.T) {
	for text, says := range map[string]string{
		"json":                                                "path is missing",
		"json {\n pth /x\n}":                                  "did you mean path?",
		"json {\n path x\n}":                                  "slash",
		"json {\n path /x?q={quer}\n}":                        "did you mean query?",
		"json {\n path /x\n hits hits\n}":                     "not a JSON pointer",
		"json {\n path /x\n id /a~2\n}":                       "~0",
		"json {\n path /x\n score /s up\n}":                   "score_order",
		"json {\n path /x\n max_limit 0\n}":                   "whole number",
		"json {\n path /x\n request `{\"q\": {query}}`\n}":    "not valid JSON",
		"json {\n path /x\n request `{\"q\": \"{qery}\"}`\n}": "did you mean query?",
		"json {\n path /x\n path /y\n}":                       "twice",
	} {
		err := new(JSON).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: error is %v, expected %q", text, err, says)
		}
	}
	if err := new(Auto).UnmarshalCaddyfile(caddyfile.NewTestDispenser("auto {\n prefix /x\n}")); err == nil {
		t.Error("auto took a block")
	}
	if err := new(Gateway).UnmarshalCaddyfile(caddyfile.NewTestDispenser("gateway {\n prefx /x\n}")); err == nil || !strings.Contains(err.Error(), "did you mean prefix?") {
		t.Errorf("error is %v", err)
	}
}

func FuzzGatewaySearch(f *testing.F) {
	f.Add([]byte(gatewayAnswer))
	f.Add([]byte(`{"hits":[{}],"total":{"value":-1,"relation":7}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if fleet.CheckJSON(body) != nil {
			return
		}
		if _, err := decodeGatewaySearch(body); err != nil && !isPayload(err) {
			t.Errorf("error is %T", err)
		}
		if _, err := decodeGatewayHealth(body); err != nil && !isPayload(err) {
			t.Errorf("error is %T", err)
		}
	})
}

func FuzzJSONSearch(f *testing.F) {
	j := &JSON{Path: "/", Title: "/a/b", Content: "/0"}
	if err := j.Provision(caddy.Context{}); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"hits":{"hits":[{"id":1,"a":{"b":["x"]}}]}}`))
	f.Add([]byte(`[[],{"id":"1"}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if fleet.CheckJSON(body) != nil {
			return
		}
		if _, err := j.decode(body); err != nil && !isPayload(err) {
			t.Errorf("error is %T", err)
		}
	})
}

// Of two members with one name the last counts, as for PHP and JavaScript.
func TestTheLastOfTwoMembersCounts(t *testing.T) {
	answer, err := decodeGatewaySearch([]byte(`{"hits":[{"id":"a"}],"hits":[{"id":"b","id":"c"}]}`))
	if err != nil || len(answer.Hits) != 1 || string(answer.Hits[0].ID) != `"c"` {
		t.Errorf("got %+v, %v", answer, err)
	}
}
