package search

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// ask sends one request and returns the answer; what the handler leaves to
// the next one is answered with 418.
func ask(t *testing.T, h *Handler, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	if err := h.ServeHTTP(recorder, httptest.NewRequest(method, target, strings.NewReader(body)), next); err != nil {
		t.Fatal(err)
	}
	return recorder
}

func TestPathsAndMethods(t *testing.T) {
	h := handler(t, "")
	h.index = indexFunc(func(context.Context, *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
		return answered("local", "1").answer, nil
	})
	const native, old = `{"query":"x"}`, `{"query":"x"}`
	for _, c := range []struct {
		method, target, body string
		status               int
		allow                string
	}{
		{"GET", "/v1/search?q=x", "", 200, ""},
		{"POST", "/v1/search", native, 200, ""},
		{"POST", "/v1/search/", native, 200, ""},
		{"POST", "/any/prefix/v1/search", native, 200, ""},
		{"POST", "/v1/se%61rch", native, 200, ""},
		{"POST", "/api/ai-engine/search", old, 200, ""},
		{"POST", "/shop/api/ai-engine/search/", old, 200, ""},
		{"HEAD", "/v1/search?q=x", "", 405, "GET, POST"},
		{"OPTIONS", "/v1/search", "", 405, "GET, POST"},
		{"PUT", "/v1/search", native, 405, "GET, POST"},
		{"GET", "/api/ai-engine/search", "", 405, "POST"},
		{"GET", "/", "", 418, ""},
		{"GET", "/v1/searches", "", 418, ""},
		{"GET", "/v1/search/x", "", 418, ""},
		{"GET", "/v1search", "", 418, ""},
		{"GET", "/V1/SEARCH", "", 418, ""},
		{"GET", "/v1%2Fsearch?q=x", "", 200, ""},
	} {
		got := ask(t, h, c.method, c.target, c.body)
		if got.Code != c.status || got.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.target, got.Code, got.Header().Get("Allow"))
		}
	}
}

func TestNodesAreChosenByNameStateAndCapability(t *testing.T) {
	h := handler(t, `{"slug":"a","url":"http://127.0.0.1:1"},{"slug":"b","url":"http://127.0.0.1:1","weight":2,"required":true,"admin_state":"draining"},
		{"slug":"c","url":"http://127.0.0.1:1","admin_state":"maintenance"},{"slug":"d","url":"http://127.0.0.1:1","admin_state":"disabled"},
		{"slug":"e","url":"http://127.0.0.1:1","capabilities":["actions"]}`)
	tell := func(names ...string) string {
		chosen, bad := h.choose(h.fleet.Snapshot(), names)
		if bad != nil {
			return bad.detail
		}
		var said []string
		for _, node := range chosen.ask {
			said = append(said, node.Slug)
		}
		for _, report := range chosen.unasked {
			said = append(said, report.slug+"="+report.status+"("+report.reason+")")
		}
		if chosen.local {
			said = append(said, "local")
		}
		return strings.Join(said, " ")
	}
	for _, c := range []struct{ names, expected string }{
		{"", "a b=draining(draining) c=skipped(maintenance)"},
		{"a", "a"},
		{"a a", "a"},
		{"d e", "d=skipped(disabled) e=skipped(has no capability search)"},
		{"a x y", "nodes: no such node: x, y"},
		{"local", "nodes: no such node: local"},
		{"1 2 3 4 5 6 7 8 9 10 11 12", "nodes: no such node: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and 2 more"},
	} {
		if got := tell(strings.Fields(c.names)...); got != c.expected {
			t.Errorf("%q: %s, expected %s", c.names, got, c.expected)
		}
	}
	h.index = indexFunc(nil)
	if got := tell(); got != "a b=draining(draining) c=skipped(maintenance) local" {
		t.Errorf("with an index: %s", got)
	}
	if got := tell("local"); got != "local" {
		t.Errorf("only the index: %s", got)
	}
	chosen, _ := h.choose(h.fleet.Snapshot(), nil)
	if b := chosen.unasked[0]; b.weight != 2 || !b.required {
		t.Errorf("what the node is was lost: %+v", b)
	}
}

func TestAPanickingIndexCostsItsOwnAnswer(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	h := handler(t, "")
	h.logger = zap.New(core)
	h.index = indexFunc(func(context.Context, *fleet.SearchQuery) (*fleet.SearchAnswer, error) { panic("broken posting list") })
	got := ask(t, h, "GET", "/v1/search?q=x", "")
	if got.Code != 503 || strings.Contains(got.Body.String(), "posting") || !strings.Contains(got.Body.String(), `"status":"bad_payload"`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if logs.FilterMessage("the local index panicked").Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
}

func TestAnIndexThatFails(t *testing.T) {
	h := handler(t, "")
	h.index = indexFunc(func(context.Context, *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
		return nil, errors.New("open /var/lib/secret: no such file")
	})
	got := ask(t, h, "GET", "/v1/search?q=x", "")
	if got.Code != 503 || strings.Contains(got.Body.String(), "/var/lib") || !strings.Contains(got.Body.String(), "the local index could not be searched") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

// TestTheSearchEndsAtItsDeadline asks an index that never looks at its context.
func TestTheSearchEndsAtItsDeadline(t *testing.T) {
	h := handler(t, "")
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h.index = indexFunc(func(context.Context, *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
			<-release
			return answered("local", "1").answer, nil
		})
		start := time.Now()
		got := ask(t, h, "GET", "/v1/search?q=x&timeout_ms=400", "")
		if took := time.Since(start); took != 400*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if got.Code != 503 || !strings.Contains(got.Body.String(), `"status":"timeout"`) {
			t.Errorf("%d %s", got.Code, got.Body)
		}
		close(release) // the late answer goes nowhere and keeps nothing
	})
}

// TestTheGatewayKeepsTimeForItself looks at the deadline that a member gets.
func TestTheGatewayKeepsTimeForItself(t *testing.T) {
	h := handler(t, "")
	synctest.Test(t, func(t *testing.T) {
		for query, expected := range map[string]time.Duration{
			"timeout_ms=1000": 950 * time.Millisecond, "timeout_ms=40": 35 * time.Millisecond,
			"timeout_ms=4": 2 * time.Millisecond, "": 1900 * time.Millisecond,
		} {
			var left time.Duration
			h.index = indexFunc(func(ctx context.Context, _ *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
				deadline, _ := ctx.Deadline()
				left = time.Until(deadline)
				<-ctx.Done()
				return nil, ctx.Err()
			})
			ask(t, h, "GET", "/v1/search?q=x&"+query, "")
			if left != expected {
				t.Errorf("%q: the member had %v, expected %v", query, left, expected)
			}
		}
	})
}

func TestANodeCannotFloodTheMerge(t *testing.T) {
	h := handler(t, "")
	h.index = indexFunc(func(_ context.Context, query *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
		answer := answered("local", strings.Fields(strings.Repeat("x ", 5000))...).answer
		for i := range answer.Hits {
			answer.Hits[i].Content = nil
		}
		return answer, nil
	})
	got := ask(t, h, "GET", "/v1/search?q=x&limit=3&offset=2", "")
	if body := got.Body.String(); got.Code != 200 || !strings.Contains(body, `"total":{"value":5,"relation":"gte"}`) {
		t.Errorf("%d %.300s", got.Code, body)
	}
}
