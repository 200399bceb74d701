package fleet

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap/zapcore"
)

func init() { caddy.RegisterModule(new(scriptedDialect)) }

// scriptedDialect is a dialect that does what a test says, by the node's slug.
type scriptedDialect struct{}

var scripts sync.Map // slug: func(context.Context) (*SearchAnswer, error)

func (*scriptedDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: DialectNamespace + ".scripted", New: func() caddy.Module { return new(scriptedDialect) }}
}

func (*scriptedDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // scripted
	return nil
}

func (*scriptedDialect) Search(ctx context.Context, node Caller, _ *SearchQuery) (*SearchAnswer, error) {
	script, _ := scripts.Load(node.Node().Slug)
	return script.(func(context.Context) (*SearchAnswer, error))(ctx)
}

func (*scriptedDialect) Probe(ctx context.Context, node Caller) (*Report, error) {
	script, _ := scripts.Load(node.Node().Slug)
	_, err := script.(func(context.Context) (*SearchAnswer, error))(ctx)
	return nil, err
}

// script says what a node's dialect does from now on.
func script(slug string, does func(context.Context) (*SearchAnswer, error)) {
	scripts.Store(slug, does)
}

// runScripted starts the federation of two such nodes, and lets discovery
// have its first look at them.
func runScripted(t *testing.T) *federated {
	t.Helper()
	for _, slug := range []string{"one", "two"} {
		script(slug, func(context.Context) (*SearchAnswer, error) { return nil, errors.New("not now") })
	}
	f := run(t, scriptedNode)
	synctest.Wait()
	return f
}

const scriptedNode = "node one http://127.0.0.1:1 {\n dialect scripted\n max_requests 3\n}\nnode two http://127.0.0.1:1 {\n dialect scripted\n}"

func TestTheBulkheadRefusesWithoutSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runScripted(t)
		release := make(chan struct{})
		var reached atomic.Int32
		hangs := func(ctx context.Context) (*SearchAnswer, error) {
			reached.Add(1)
			select {
			case <-release:
				return &SearchAnswer{}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		script("one", hangs)
		script("two", func(context.Context) (*SearchAnswer, error) { return &SearchAnswer{}, nil })
		one, two := f.node("one"), f.node("two")
		query := &SearchQuery{Text: "x", Limit: 1}

		ctx, leave := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var ok atomic.Int32
		for i := range 3 {
			ctx := ctx
			if i > 0 {
				ctx = t.Context()
			}
			running.Go(func() {
				if _, call := f.app.Search(ctx, one, query); call.Outcome == OutcomeOK {
					ok.Add(1)
				}
			})
		}
		synctest.Wait()
		for range 5 {
			_, call := f.app.Search(t.Context(), one, query)
			var refusal *RefusalError
			if !errors.As(call.Err, &refusal) || refusal.Reason != "bulkhead" || call.Outcome != OutcomeNeutral || call.Attempts != 0 || call.Took != 0 {
				t.Fatalf("the fourth call is %+v", call)
			}
		}
		if reached.Load() != 3 || one.Load().InFlight != 3 {
			t.Errorf("%d calls got through, %d are in flight", reached.Load(), one.Load().InFlight)
		}
		if _, call := f.app.Search(t.Context(), two, query); call.Outcome != OutcomeOK {
			t.Errorf("another node suffers: %+v", call)
		}
		leave() // and gives its place back
		synctest.Wait()
		running.Go(func() { f.app.Search(t.Context(), one, query) })
		synctest.Wait()
		if reached.Load() != 4 {
			t.Error("the place of a call that was cancelled is not free")
		}
		close(release)
		running.Wait()
		if load := one.Load(); load.InFlight != 0 || ok.Load() != 2 || load.Calls[OutcomeOK] != 3 || load.Calls[OutcomeNeutral] != 1 {
			t.Errorf("%d ok, load is %+v", ok.Load(), load)
		}
	})
}

func TestAPanickingDialectCostsItsOwnCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runScripted(t)
		script("one", func(context.Context) (*SearchAnswer, error) {
			var hits []Hit
			return &SearchAnswer{Hits: hits[:1]}, nil
		})
		one := f.node("one")
		for range 5 { // more than the bulkhead has places
			answer, call := f.app.Search(t.Context(), one, &SearchQuery{Text: "x", Limit: 1})
			if answer != nil || call.Outcome != OutcomeBadPayload || strings.Contains(Describe(call.Err), "slice bounds") {
				t.Fatalf("answer %v, call %+v", answer, call)
			}
		}
		if report, call := f.app.Probe(t.Context(), one); report != nil || call.Outcome != OutcomeBadPayload {
			t.Errorf("report %v, call %+v", report, call)
		}
		if load := one.Load(); load.InFlight != 0 || load.Calls[OutcomeBadPayload] != 5 { // the probe is in no account
			t.Errorf("load is %+v", load)
		}
		logged := f.said.FilterMessage("dialect panicked").FilterLevelExact(zapcore.ErrorLevel).All()
		if len(logged) != 6 || logged[0].ContextMap()["node"] != "one" || !strings.Contains(logged[0].ContextMap()["at"].(string), "_test.go:") {
			t.Errorf("logged %d lines", len(logged))
		}
	})
}

// TestADialectThatAnswersNothing returns neither an answer nor an error.
func TestADialectThatAnswersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runScripted(t)
		script("one", func(context.Context) (*SearchAnswer, error) { return nil, nil })
		if answer, call := f.app.Search(t.Context(), f.node("one"), &SearchQuery{Text: "x", Limit: 1}); answer != nil || call.Outcome != OutcomeBadPayload {
			t.Errorf("answer %v, call %+v", answer, call)
		}
		if report, call := f.app.Probe(t.Context(), f.node("one")); report != nil || call.Outcome != OutcomeBadPayload {
			t.Errorf("report %v, call %+v", report, call)
		}
	})
}
