package search

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/search/fusion"
)

// of makes a result out of reports, as a search does.
func of(minNodes int, reports ...nodeReport) *result {
	f := &result{
		request: &request{Query: "x", Fusion: "rrf", Dedup: "exact", MinNodes: &minNodes, limit: 10},
		trace:   &fleet.Trace{ID: strings.Repeat("a", 32)}, start: time.Now(), reports: reports,
	}
	f.count()
	f.merged = merge(reports, fusion.RRF, true)
	return f
}

func required(r nodeReport) nodeReport { r.required = true; return r }

func throttled(slug string, after time.Duration) nodeReport {
	r := missing(slug, statusThrottled)
	r.retryAfter = after
	return r
}

func weighing(weight float64, r nodeReport) nodeReport { r.weight = weight; return r }

func TestEveryStatusRule(t *testing.T) {
	for _, c := range []struct {
		name    string
		f       *result
		status  int
		code    string
		retry   time.Duration
		says    string
		partial bool
		nodes   float64
		weight  float64
	}{
		{"all answered", of(2, answered("a", "1"), answered("b")), 200, "", 0, "", false, 1, 1},
		{"an empty answer is one", of(1, answered("a")), 200, "", 0, "", false, 1, 1},
		{"some failed", of(1, answered("a", "1"), weighing(3, missing("b", statusError))), 200, "", 0, "", true, 0.5, 0.25},
		{"some ran out of time", of(1, answered("a", "1"), missing("b", statusTimeout)), 200, "", 0, "", true, 0.5, 0.5},
		{"some were cancelled", of(1, answered("a", "1"), missing("b", statusCancelled)), 200, "", 0, "", true, 0.5, 0.5},
		{"a draining node makes nothing partial", of(1, answered("a", "1"), missing("b", statusDraining)), 200, "", 0, "", false, 0.5, 0.5},
		{"nor does one that was skipped", of(1, answered("a", "1"), missing("b", statusSkipped)), 200, "", 0, "", false, 0.5, 0.5},
		{"no node at all", of(1), 503, "no_node_available", 5 * time.Second, "no node", false, 1, 1},
		{"nobody to ask", of(1, missing("a", statusDraining), missing("b", statusSkipped)), 503, "no_node_available", 5 * time.Second, "no node", false, 0, 0},
		{"too few to ask", of(2, answered("a", "1"), missing("b", statusDraining)), 503, "too_few_nodes", 5 * time.Second, "1 nodes were available", false, 0.5, 0.5},
		{"all failed", of(1, missing("a", statusError), missing("b", statusBadPayload)), 502, "nodes_failed", 0, "0 of 2", true, 0, 0},
		{"all ran out of time", of(1, missing("a", statusTimeout), missing("b", statusTimeout)), 504, "nodes_timed_out", 0, "0 of 2", true, 0, 0},
		{"those that were missing ran out of time", of(2, answered("a"), missing("b", statusTimeout)), 504, "nodes_timed_out", 0, "1 of 2", true, 0.5, 0.5},
		{"one failed and one was late", of(1, missing("a", statusTimeout), missing("b", statusError)), 502, "nodes_failed", 0, "0 of 2", true, 0, 0},
		{"all throttle", of(1, throttled("a", 9*time.Second), throttled("b", 4*time.Second)), 502, "nodes_failed", 4 * time.Second, "", true, 0, 0},
		{"one throttles and does not say how long", of(1, throttled("a", 9*time.Second), throttled("b", 0)), 502, "nodes_failed", 9 * time.Second, "", true, 0, 0},
		{"one throttles and one fails", of(1, throttled("a", 9*time.Second), missing("b", statusError)), 502, "nodes_failed", 0, "", true, 0, 0},
		{"a required node failed", of(1, answered("a", "1"), required(missing("b", statusError))), 502, "required_node_missing", 0, `"b"`, true, 0.5, 0.5},
		{"a required node was late", of(1, answered("a", "1"), required(missing("b", statusTimeout))), 504, "required_node_missing", 0, `"b"`, true, 0.5, 0.5},
		{"a required node drains", of(1, answered("a", "1"), required(missing("b", statusDraining))), 503, "required_node_missing", 5 * time.Second, `"b"`, false, 0.5, 0.5},
		{"a required node answered", of(1, required(answered("a", "1")), missing("b", statusError)), 200, "", 0, "", true, 0.5, 0.5},
		{"the fallback answers alone", of(1, missing("a", statusError), answered(fleet.LocalSlug, "1")), 200, "", 0, "", true, 0, 0},
		{"the fallback does not stand in for a required node", of(1, required(missing("a", statusError)), answered(fleet.LocalSlug, "1")), 502, "nodes_failed", 0, "", true, 0, 0},
		{"only an index", of(1, answered(fleet.LocalSlug, "1")), 200, "", 0, "", false, 1, 1},
		{"only an index, and it failed", of(1, missing(fleet.LocalSlug, statusError)), 503, "no_node_available", 5 * time.Second, "", true, 1, 1},
		{"an index that failed makes an answer partial", of(1, answered("a"), missing(fleet.LocalSlug, statusTimeout)), 200, "", 0, "", true, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.f.failure()
			if c.status == 200 {
				if p != nil {
					t.Fatalf("refused with %d %s: %s", p.Status, p.Code, p.Detail)
				}
			} else if p == nil {
				t.Fatal("it is an answer")
			} else if p.Status != c.status || p.Code != c.code || p.RetryAfter != c.retry || !strings.Contains(p.Detail, c.says) {
				t.Errorf("%d %s, retry after %v: %s", p.Status, p.Code, p.RetryAfter, p.Detail)
			} else if !p.Nodes.IsValid() || p.TraceID == "" {
				t.Errorf("the report is %s of trace %s", p.Nodes, p.TraceID)
			}
			if c.f.partial != c.partial || c.f.coveredNodes != c.nodes || c.f.coveredWeight != c.weight {
				t.Errorf("partial %v, coverage %v and %v", c.f.partial, c.f.coveredNodes, c.f.coveredWeight)
			}
		})
	}
	if f := of(1, answered("a"), answered(fleet.LocalSlug, "1")); f.fallback() {
		t.Error("a node answered, and yet the index is called the fallback")
	}
	if f := of(1, missing("a", statusError), answered(fleet.LocalSlug)); !f.fallback() {
		t.Error("only the index answered, and yet it is not called the fallback")
	}
}

func TestAGatewaysPartialAnswerIsPartial(t *testing.T) {
	other := answered("other", "1")
	other.answer.Partial = true
	if f := of(1, other); !f.partial || !f.more() {
		t.Errorf("partial %v, more %v", f.partial, f.more())
	}
}

func TestPages(t *testing.T) {
	f := of(1, answered("a", "1", "2", "3", "4", "5"))
	for _, c := range []struct {
		offset, limit int
		ids           string
	}{
		{0, 2, "1 2"}, {2, 2, "3 4"}, {4, 2, "5"}, {5, 2, ""}, {900, 100, ""}, {0, 100, "1 2 3 4 5"},
	} {
		f.request.Offset, f.request.limit = c.offset, c.limit
		var ids []string
		for _, d := range f.page() {
			ids = append(ids, string(text(d.copies[0].hit.ID)))
		}
		if got := strings.Join(ids, " "); got != c.ids {
			t.Errorf("%d at %d: %q, expected %q", c.limit, c.offset, got, c.ids)
		}
		var written struct {
			Hits []struct {
				ID   string
				Rank int
			}
		}
		if err := json.Unmarshal(f.appendNative(nil), &written); err != nil {
			t.Fatal(err)
		}
		for i, hit := range written.Hits {
			if hit.Rank != c.offset+i+1 {
				t.Errorf("%d at %d: hit %d has rank %d", c.limit, c.offset, i, hit.Rank)
			}
		}
	}
}

func TestTheTotalSaysWhenThereIsMore(t *testing.T) {
	for _, c := range []struct {
		name  string
		total int
		more  bool
		gte   bool
	}{
		{"the node said all", 2, false, false},
		{"the node said more", 7, false, true},
		{"the node hinted at more", 2, true, true},
		{"the node did not say and filled the page", -1, false, true},
	} {
		r := answered("a", "1", "2")
		r.answer.Total, r.answer.More = c.total, c.more
		f := of(1, r)
		f.request.limit = 2
		if f.more() != c.gte {
			t.Errorf("%s: more is %v", c.name, f.more())
		}
	}
	r := answered("a", "1", "2")
	r.answer.Total = -1
	if f := of(1, r, missing("b", statusError)); f.more() {
		t.Error("the node did not fill the page, and yet there is more")
	}
}

// awkward are values that a node may send and that must come out as JSON.
var awkward = []fleet.Hit{
	{Raw: jsontext.Value(`{}`)},
	{ID: jsontext.Value(`17`), Raw: jsontext.Value(`{"id":17}`)},
	{ID: jsontext.Value(`1e3`), Title: jsontext.Value(`""`), Raw: jsontext.Value(`{"id":1e3,"title":""}`)},
	{ID: jsontext.Value(`"\u0000\"<script>"`), Content: jsontext.Value(`"a\\b\n\u2028"`), Raw: jsontext.Value(`{"id":"\u0000","x":{"deep":[1,{"y":null}]},"source_node":"forged","node":"forged"}`)},
	{Score: 1e300, HasScore: true, Raw: jsontext.Value(`{"score":1e300}`)},
	{Score: -4e-310, HasScore: true, Raw: jsontext.Value(`{"score":-4e-310}`)},
	{URL: jsontext.Value(`"https://shop.example/?a=\u0026"`), Metadata: jsontext.Value(`{"price":40}`), Raw: jsontext.Value(`{"url":"https://shop.example/?a=&"}`)},
	{Raw: jsontext.Value(`{"twice":1,"twice":2}`)},
}

func TestBothFacesAreAlwaysJSON(t *testing.T) {
	r := missing("a", statusOK)
	r.name = "A \"name\" with \xff in it"
	r.answer = &fleet.SearchAnswer{Known: []string{"id", "title", "content", "score", "url"}, Hits: awkward, Total: len(awkward)}
	for _, method := range []string{"rrf", "relative", "raw"} {
		f := of(1, r, missing("b", statusBadPayload), answered(fleet.LocalSlug, "1"))
		f.request.Query = "\"</script>\u2028\x00"
		f.request.limit = 100
		f.merged = merge(f.reports, fusion.Methods[method], false)
		native, compatible := f.appendNative(nil), f.appendCompatible(nil)
		var n struct {
			Query string
			Hits  []struct {
				ID    string
				Node  string
				Score float64
			}
		}
		if err := json.Unmarshal(native, &n); err != nil {
			t.Fatalf("%s: %v in %s", method, err, native)
		}
		if n.Query != f.request.Query || len(n.Hits) != len(awkward)+1 {
			t.Errorf("%s: query %q, %d hits", method, n.Query, len(n.Hits))
		}
		var c struct {
			Results []map[string]any
			Count   int
			Nodes   int            `json:"nodes_searched"`
			Per     map[string]int `json:"node_breakdown"`
		}
		if err := json.Unmarshal(compatible, &c); err != nil {
			t.Fatalf("%s: %v in %s", method, err, compatible)
		}
		if c.Count != len(n.Hits) || c.Nodes != 3 || c.Per["a"] != len(awkward) || c.Per["local"] != 1 {
			t.Errorf("%s: %d results of %d nodes, %v", method, c.Count, c.Nodes, c.Per)
		}
		for _, item := range c.Results {
			if item["source_node"] != "a" && item["source_node"] != "local" {
				t.Errorf("%s: a source is forged: %v", method, item)
			}
		}
	}
}

func TestHeadersSumUp(t *testing.T) {
	late := missing("b", statusTimeout)
	late.took = 1500 * time.Millisecond
	h := &Handler{ServerTiming: true}
	header := make(http.Header)
	h.setHeaders(header, of(1, answered("a", "1"), late, missing("c", statusDraining)))
	if got := fmt.Sprint(header); got != "map[Federation-Nodes:[asked=2, ok=1, failed=1] Federation-Partial:[true] "+
		`Server-Timing:[a;dur=0;desc="ok", b;dur=1500;desc="timeout", c;dur=0;desc="draining"]]` {
		t.Errorf("headers are %s", got)
	}
	header = make(http.Header)
	new(Handler).setHeaders(header, of(1, answered("a", "1")))
	if len(header) != 1 {
		t.Errorf("headers are %v", header)
	}
}
