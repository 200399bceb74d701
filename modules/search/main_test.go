package search

import (
	"context"
	"fmt"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	_ "github.com/caddy-federation/caddy-federation/modules/dialects"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	_ "github.com/caddy-federation/caddy-federation/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handler returns a provisioned handler over a federation whose nodes are
// given in JSON. Nothing is started, so no node is ever asked.
func handler(t testing.TB, nodes string) *Handler {
	t.Helper()
	config := &caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		AppsRaw: caddy.ModuleMap{"federation": []byte(`{"store":{"module":"memory"},"nodes":[` + nodes + `]}`)},
	}
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		t.Fatal(err)
	}
	// not t.Context(), which has ended when the modules are cleaned up
	ctx, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	h := new(Handler)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
	return h
}

// indexFunc is an index that a test writes.
type indexFunc func(context.Context, *fleet.SearchQuery) (*fleet.SearchAnswer, error)

func (f indexFunc) Search(ctx context.Context, query *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
	return f(ctx, query)
}
func (indexFunc) Describe() fleet.IndexInfo { return fleet.IndexInfo{Ready: true} }

// hit is a hit with that id, and the content "about <id>".
func hit(id string, score float64) fleet.Hit {
	raw := fmt.Sprintf(`{"id":%q,"title":"T %[1]s","content":"about %[1]s","score":%v}`, id, score)
	return fleet.Hit{
		ID: jsontext.Value(fmt.Sprintf("%q", id)), Title: jsontext.Value(fmt.Sprintf(`"T %s"`, id)),
		Content: jsontext.Value(fmt.Sprintf(`"about %s"`, id)), Score: score, HasScore: true, Raw: jsontext.Value(raw),
	}
}

// known are the members that [hit] was read from.
var known = []string{"id", "title", "content", "score"}

// answered is the report of a node that returned these documents.
func answered(slug string, ids ...string) nodeReport {
	answer := &fleet.SearchAnswer{Known: known, Total: len(ids)}
	for i, id := range ids {
		answer.Hits = append(answer.Hits, hit(id, float64(100-i)))
	}
	status := statusOK
	if len(ids) == 0 {
		status = statusEmpty
	}
	return nodeReport{slug: slug, name: slug, status: status, weight: 1, attempts: 1, httpStatus: 200, answer: answer, local: slug == fleet.LocalSlug}
}

// missing is the report of a node that has no answer.
func missing(slug, status string) nodeReport {
	return nodeReport{slug: slug, name: slug, status: status, weight: 1, local: slug == fleet.LocalSlug}
}
