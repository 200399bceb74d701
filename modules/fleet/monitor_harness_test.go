package fleet

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/store"
)

func init() { caddy.RegisterModule(new(checkedDialect)) }

// checkedDialect is a dialect whose checks say what a test wants, by the
// node's slug.
type checkedDialect struct{}

// patient is what the checks of a node say, and how often they were asked.
type patient struct {
	says   atomic.Pointer[func(context.Context) (*Report, error)]
	checks atomic.Int64
	probes atomic.Int64
	mu     sync.Mutex
	times  []time.Time
}

var patients sync.Map

func (*checkedDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: DialectNamespace + ".checked", New: func() caddy.Module { return new(checkedDialect) }}
}

func (*checkedDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // checked
	return nil
}

func (*checkedDialect) Search(context.Context, Caller, *SearchQuery) (*SearchAnswer, error) {
	return nil, syscall.ECONNRESET
}

func (*checkedDialect) Check(ctx context.Context, node Caller) (*Report, error) {
	p := patientOf(node.Node().Slug)
	p.checks.Add(1)
	p.mu.Lock()
	p.times = append(p.times, time.Now())
	p.mu.Unlock()
	return (*p.says.Load())(ctx)
}

func (d *checkedDialect) Probe(ctx context.Context, node Caller) (*Report, error) {
	patientOf(node.Node().Slug).probes.Add(1)
	return d.Check(ctx, node)
}

func patientOf(slug string) *patient {
	p, _ := patients.LoadOrStore(slug, new(patient))
	return p.(*patient)
}

func (p *patient) is(report *Report, err error) {
	says := func(context.Context) (*Report, error) { return report, err }
	p.says.Store(&says)
}

var (
	wellNode = &Report{Dialect: "checked", Health: HealthHealthy, Version: "1"}
	sickNode = &Report{Dialect: "checked", Health: HealthUnhealthy, Version: "1", Reason: "the database is gone"}
)

// ward starts a federation of n checked nodes that are well.
func ward(t *testing.T, n int, block string) (*federated, []*patient) {
	t.Helper()
	var nodes strings.Builder
	var all []*patient
	for i := range n {
		p := new(patient)
		p.is(wellNode, nil)
		patients.Store(fmt.Sprintf("n%d", i), p)
		all = append(all, p)
		fmt.Fprintf(&nodes, "node n%d http://127.0.0.1:1\n", i)
	}
	f := run(t, block+"\nnode_defaults {\n dialect checked\n}\n"+nodes.String())
	return f, all
}

func (f *federated) events(kind string) (nodes []string) {
	f.Helper()
	synctest.Wait()
	events, err := f.store.Events().Since(f.Context(), 0, store.MaxEvents)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == kind {
			nodes = append(nodes, e.Node)
		}
	}
	return nodes
}
