package dialects

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// exchange is one recorded request and answer.
type exchange struct {
	Name    string `json:"name"`
	Request struct {
		Method string          `json:"method"`
		Path   string          `json:"path"`
		Body   json.RawMessage `json:"body"`
	} `json:"request"`
	Response struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    json.RawMessage   `json:"body"`
	} `json:"response"`
}

func recorded(t testing.TB, name string) []exchange {
	t.Helper()
	text, err := os.ReadFile("../../testdata/contract/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var fixture struct {
		Exchanges []exchange `json:"exchanges"`
	}
	if err := json.Unmarshal(text, &fixture); err != nil {
		t.Fatal(err)
	}
	if len(fixture.Exchanges) == 0 {
		t.Fatalf("%s has no exchanges", name)
	}
	return fixture.Exchanges
}

// replay serves a recorded answer.
func replay(e exchange) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range e.Response.Headers {
			w.Header().Set(name, value)
		}
		w.WriteHeader(e.Response.Status)
		var html struct {
			Prefix string `json:"__text_prefix"`
		}
		if json.Unmarshal(e.Response.Body, &html) == nil && html.Prefix != "" {
			_, _ = io.WriteString(w, html.Prefix)
			return
		}
		_, _ = w.Write(e.Response.Body)
	}
}

// Every answer that a real node gave to a search is understood: results as
// hits, failures as the status they had.
func TestLaravelUnderstandsEveryRecordedSearch(t *testing.T) {
	for _, name := range []string{"dec_search", "jun_search", "dec_rate_limit", "jun_rate_limit", "dec_auth_errors", "jun_auth_errors"} {
		for _, e := range recorded(t, name) {
			t.Run(name+"/"+e.Name, func(t *testing.T) {
				l := provisioned(t, new(Laravel), "laravel")
				node := connect(t, replay(e))
				node.node = fleet.NewNode("shop", fleet.Collection{Name: "product"})
				answer, err := l.Search(t.Context(), node, kettle(10))
				if e.Response.Status != 200 {
					status, ok := err.(*fleet.StatusError)
					if !ok || status.Status != e.Response.Status {
						t.Fatalf("error is %v, expected status %d", err, e.Response.Status)
					}
					return
				}
				var body struct {
					Results []map[string]any
					Data    struct{ Results []map[string]any }
				}
				if json.Unmarshal(e.Response.Body, &body) != nil || !strings.HasSuffix(e.Request.Path, "/search") {
					return // of another endpoint
				}
				if err != nil {
					t.Fatal(err)
				}
				results := append(body.Results, body.Data.Results...)
				if len(answer.Hits) != len(results) {
					t.Fatalf("%d hits, recorded %d", len(answer.Hits), len(results))
				}
				for i, hit := range answer.Hits {
					if string(hit.ID) != fmt.Sprint(results[i]["id"]) || !hit.HasScore || hit.Score != results[i]["score"] {
						t.Errorf("hit %d: id %s, score %v, recorded %v", i, hit.ID, hit.Score, results[i])
					}
					if content, _ := json.Marshal(results[i]["content"]); string(unquoted(hit.Content)) != results[i]["content"] {
						t.Errorf("hit %d: content %s, recorded %s", i, hit.Content, content)
					}
					var raw map[string]any
					if json.Unmarshal(hit.Raw, &raw) != nil || !reflect.DeepEqual(raw, results[i]) {
						t.Errorf("hit %d: raw is %s", i, hit.Raw)
					}
				}
			})
		}
	}
}

// What is sent to a node has the members the recorded masters sent, and no others.
func TestLaravelAsksAsTheRecordedMastersDid(t *testing.T) {
	for _, name := range []string{"master_outbound_dec2025", "master_outbound_jun2026"} {
		text, err := os.ReadFile("../../testdata/contract/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var fixture struct {
			Observed map[string]struct {
				Sent []struct {
					Method, Path string
					Body         map[string]any
				} `json:"requests_sent"`
			} `json:"observed"`
		}
		if err := json.Unmarshal(text, &fixture); err != nil {
			t.Fatal(err)
		}
		compared := 0
		for label, observed := range fixture.Observed {
			for i, sent := range observed.Sent {
				if !strings.HasSuffix(sent.Path, "/search") {
					continue
				}
				compared++
				options := sent.Body["options"].(map[string]any)
				query := &fleet.SearchQuery{Text: sent.Body["query"].(string), Limit: int(sent.Body["limit"].(float64))}
				for _, c := range options["collections"].([]any) {
					query.Collections = append(query.Collections, c.(string))
				}
				delete(options, "collections")
				rest, _ := json.Marshal(options)
				query.Options = rest
				l := provisioned(t, new(Laravel), "laravel")
				node := connect(t, says(200, `{"results":[],"count":0,"duration_ms":1}`))
				if _, err := l.Search(t.Context(), node, query); err != nil {
					t.Fatal(err)
				}
				got := node.sent[0]
				var body map[string]any
				if err := json.Unmarshal(got.Body, &body); err != nil {
					t.Fatal(err)
				}
				if options["user_id"] == nil {
					delete(options, "user_id") // they sent null, which their own validation refuses
				}
				options["collections"] = body["options"].(map[string]any)["collections"]
				if got.Path != sent.Path || !reflect.DeepEqual(body, sent.Body) {
					t.Errorf("%s %s %d: sent %s to %s, recorded %v to %s", name, label, i, got.Body, got.Path, sent.Body, sent.Path)
				}
			}
		}
		if compared == 0 {
			t.Errorf("%s has no search", name)
		}
	}
}

func TestLaravelProbe(t *testing.T) {
	answersOf := func(names ...string) http.HandlerFunc {
		answers := make(map[string]exchange)
		for _, name := range names {
			file, wanted, _ := strings.Cut(name, "/")
			for _, e := range recorded(t, file) {
				if e.Name == wanted {
					answers[e.Request.Path] = e
				}
			}
		}
		return func(w http.ResponseWriter, r *http.Request) {
			if e, ok := answers[r.URL.Path]; ok {
				replay(e)(w, r)
				return
			}
			says(404, `{"message":""}`)(w, r)
		}
	}
	for _, c := range []struct {
		name, dialect string
		handler       http.HandlerFunc
		health        fleet.Health
		reason        string
		collections   []fleet.Collection
	}{
		{"era A1", "laravel bare", answersOf("dec_health/plain"), fleet.HealthHealthy, "", nil},
		{"era B", "laravel bare", answersOf("dec_health/plain", "mid_endpoints/collections_public"), fleet.HealthHealthy, "",
			[]fleet.Collection{{Name: "Plant", Class: `App\Models\Plant`}}},
		{"era E", "laravel enveloped", answersOf("jun_health/healthy", "jun_manifest/ok"), fleet.HealthHealthy, "",
			[]fleet.Collection{{Name: "plant", Class: `App\Models\Plant`}}},
		{"era E not ready", "laravel enveloped", answersOf("jun_health/not_ready_503", "jun_manifest/ok"), fleet.HealthUnhealthy,
			"the node says that it is not ready; failing: remote_node_migrations", []fleet.Collection{{Name: "plant", Class: `App\Models\Plant`}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, dialect := range []fleet.Dialect{provisioned(t, new(Laravel), "laravel"), provisioned(t, new(Auto), "auto")} {
				report, err := dialect.Probe(t.Context(), connect(t, c.handler))
				if err != nil {
					t.Fatal(err)
				}
				if report.Dialect != c.dialect || report.Health != c.health || report.Reason != c.reason || !reflect.DeepEqual(report.Collections, c.collections) {
					t.Errorf("report is %+v", report)
				}
				if report.Version != "1.0.0" {
					t.Errorf("version is %q", report.Version)
				}
			}
		})
	}
}

func TestLaravelLearnsTheCollectionsOfANode(t *testing.T) {
	asked := make(map[string]int)
	var body map[string]any
	node := connect(t, func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		switch r.URL.Path {
		case "/api/ai-engine/collections":
			says(200, `{"collections":[{"class":"App\\Models\\Plant","name":"Plant"}],"count":1}`)(w, r)
		case "/api/ai-engine/search":
			_ = json.NewDecoder(r.Body).Decode(&body)
			says(200, `{"results":[]}`)(w, r)
		default:
			says(404, `{"message":""}`)(w, r)
		}
	})
	l := provisioned(t, new(Laravel), "laravel")
	for range 3 {
		if _, err := l.Search(t.Context(), node, kettle(10)); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(body["options"]) != `map[collections:[App\Models\Plant]]` || asked["/api/ai-engine/collections"] != 1 {
		t.Errorf("sent %v, asked %v", body, asked)
	}
}

func TestLaravelToleratesWhatPHPSends(t *testing.T) {
	for _, c := range []struct {
		name, body string
		ids        string
		query      int
	}{
		{"a list with gaps", `{"results":{"0":{"id":1},"2":{"id":2}}}`, "[1 2]", 10},
		{"scores as text", `{"results":[{"id":"a","score":"0.5"},{"id":"b","score":2}]}`, `["a" "b"]`, 10},
		{"no results", `{"results":[],"count":0}`, "[]", 10},
		{"an id elsewhere", `{"results":[{"id":null,"entity_ref":{"model_id":9}}]}`, "[9]", 10},
		{"enveloped, meta first", `{"meta":{"schema":"ai-engine.v1"},"data":{"results":[{"id":1}]},"success":true,"message":"","error":null}`, "[1]", 10},
		{"more than was asked", `{"results":[{"id":1,"score":0.1},{"id":2,"score":0.9},{"id":3,"score":0.5}]}`, "[2 3]", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := connect(t, says(200, c.body))
			node.node = fleet.NewNode("shop", fleet.Collection{Name: "x"})
			answer, err := provisioned(t, new(Laravel), "laravel").Search(t.Context(), node, kettle(c.query))
			if err != nil {
				t.Fatal(err)
			}
			ids := []jsontext.Value{}
			for _, hit := range answer.Hits {
				ids = append(ids, hit.ID)
			}
			if fmt.Sprint(ids) != c.ids {
				t.Errorf("ids are %s, expected %s", ids, c.ids)
			}
		})
	}
	for _, body := range []string{`{}`, `[]`, `{"results":null}`, `{"results":[1]}`, `{"results":[{"score":[]}]}`, `{"data":[]}`, `{"results":[]`, `{"results":[]}x`} {
		node := connect(t, says(200, body))
		if _, err := provisioned(t, new(Laravel), "laravel").Search(t.Context(), node, kettle(10)); !isPayload(err) {
			t.Errorf("%s: error is %v", body, err)
		}
	}
}

func TestLaravelCaddyfile(t *testing.T) {
	l := provisioned(t, new(Laravel), "laravel {\n prefix /custom\n path search /find\n token_header x-node-token\n threshold 0.3\n}")
	if l.path("search") != "/find" || l.path("health") != "/custom/health" || l.where != fleet.TokenXNodeToken || *l.Threshold != 0.3 {
		t.Errorf("got %+v", l)
	}
	for text, says := range map[string]string{
		"laravel {\n prefx /x\n}":                        "did you mean prefix?",
		"laravel {\n prefix x\n}":                        "slash",
		"laravel {\n path find /x\n}":                    "path takes",
		"laravel {\n path search /x\n path search /y\n}": "twice",
		"laravel {\n token_header cookie\n}":             "known are",
		"laravel {\n threshold high\n}":                  "not a number",
		"laravel x":                                      "wrong argument count",
	} {
		err := new(Laravel).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: error is %v, expected %q", text, err, says)
		}
	}
}

func FuzzLaravelSearch(f *testing.F) {
	for _, name := range []string{"dec_search", "jun_search"} {
		for _, e := range recorded(f, name) {
			f.Add([]byte(e.Response.Body))
		}
	}
	f.Add([]byte(`{"results":{"1":{"id":1,"object":{"title":"\ud83d\ude00"}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if fleet.CheckJSON(body) != nil {
			return
		}
		answer, err := decodeLaravelSearch(body)
		if err != nil {
			if !isPayload(err) {
				t.Errorf("error is %T", err)
			}
			return
		}
		for _, hit := range answer.Hits {
			if !hit.Raw.IsValid(anyNames) || hit.Raw.Kind() != '{' {
				t.Errorf("raw is %q", hit.Raw)
			}
		}
		decodeLaravelHealth(body)
	})
}
