package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

// root is the context of an empty config, which every module needs to be loaded.
var root = sync.OnceValue(func() caddy.Context {
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		panic(err)
	}
	ctx.Context = context.Background() // one that belongs to no synctest bubble
	return ctx
})

// federated is a federation that runs until the test ends, and its store.
type federated struct {
	testing.TB
	app   *App
	store store.Store
	said  *observer.ObservedLogs
	stop  func()
	// through may stand between the federations to come and their store.
	through func(store.Store) store.Store
	// name is the federation's, and opener its store, where a test says so.
	name   string
	opener store.Opener
	// refused is set while Caddy has not taken the config.
	refused atomic.Bool
}

// run starts a federation with a memory store from the lines of its block.
func run(t testing.TB, block string) *federated {
	t.Helper()
	f := &federated{TB: t}
	f.start(block)
	return f
}

// start is run for a federation that a test has made.
func (f *federated) start(block string) {
	f.Helper()
	var err error
	// the data stays while the federation is stopped
	if f.store, err = (memory.Memory{}).Open(f.Context(), f.Name(), zap.NewNop()); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := f.store.Close(); err != nil {
			f.Errorf("closing the store: %v", err)
		}
	})
	if err := f.reload(block, nil); err != nil {
		f.Fatal(err)
	}
}

// reload ends the federation that runs and starts the next one from the lines
// of its block. wrap may stand between the federation and its store.
func (f *federated) reload(block string, wrap func(store.Nodes) store.Nodes) error {
	f.Helper()
	f.halt()
	app := new(App)
	if f.name == "" {
		f.name = f.Name()
	}
	d := caddyfile.NewTestDispenser(fmt.Sprintf("federation %q {\nstore memory\n%s\n}", f.name, block))
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return err
	}
	config, err := json.Marshal(app)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(root())
	module, err := ctx.LoadModuleByID("federation", config)
	if err != nil {
		cancel()
		return err
	}
	f.app = module.(*App)
	core, said := observer.New(zap.InfoLevel)
	f.said, f.app.logger = said, zap.New(core)
	if f.opener == nil {
		f.opener = f.app.opener
	}
	f.app.opener = wrapped{f.opener, wrap, f.through}
	f.app.inForce = func() bool { return !f.refused.Load() }
	if err := f.app.Start(); err != nil {
		cancel()
		return err
	}
	f.stop = sync.OnceFunc(func() {
		if err := f.app.Stop(); err != nil {
			f.Errorf("stopping: %v", err)
		}
		cancel() // and with it all modules are cleaned up
	})
	f.Cleanup(f.stop)
	return nil
}

// halt ends the federation that runs.
func (f *federated) halt() {
	if f.stop != nil {
		f.stop()
	}
}

// node returns a node as it is now.
func (f *federated) node(slug string) *Node {
	f.Helper()
	n := f.app.Snapshot().Node(slug)
	if n == nil {
		f.Fatalf("there is no node %s", slug)
	}
	return n
}

// put registers a node, or changes the registered one.
func (f *federated) put(slug, data string) store.NodeRecord {
	f.Helper()
	record, err := f.store.Nodes().Get(f.Context(), slug)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		f.Fatal(err)
	}
	record.Slug, record.Data = slug, []byte(data)
	if record.ID, err = f.store.Nodes().ID(f.Context(), slug); err != nil && !errors.Is(err, store.ErrNotFound) {
		f.Fatal(err)
	}
	if record, err = f.store.Nodes().Put(f.Context(), record); err != nil {
		f.Fatal(err)
	}
	return record
}

// delete takes a node out of the registry.
func (f *federated) delete(slug string) {
	f.Helper()
	if err := f.store.Nodes().Delete(f.Context(), slug, 0); err != nil {
		f.Fatal(err)
	}
}

// errors returns what was logged as an error, with the node it names.
func (f *federated) errors() (all []string) {
	for _, entry := range f.said.FilterLevelExact(zap.ErrorLevel).All() {
		slug, _ := entry.ContextMap()["node"].(string)
		all = append(all, entry.Message+" "+slug)
	}
	return all
}

// wrapped opens a store whose nodes a test has its hand on.
type wrapped struct {
	store.Opener
	nodes   func(store.Nodes) store.Nodes
	through func(store.Store) store.Store
}

func (w wrapped) Open(ctx context.Context, federation string, logger *zap.Logger) (store.Store, error) {
	s, err := w.Opener.Open(ctx, federation, logger)
	if err == nil && w.through != nil {
		s = w.through(s)
	}
	if err != nil || w.nodes == nil {
		return s, err
	}
	return wrappedStore{s, w.nodes(s.Nodes())}, nil
}

type wrappedStore struct {
	store.Store
	nodes store.Nodes
}

func (w wrappedStore) Nodes() store.Nodes { return w.nodes }

// serveNode serves a handler until the test ends.
func serveNode(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// brokenTokens are tokens of a store that can go away.
type brokenTokens struct {
	store.Tokens
	err error
}

func (b *brokenTokens) Keys(context.Context, string) ([]store.APIKey, error) { return nil, b.err }

func (b *brokenTokens) Revocations(context.Context) ([]store.Revocation, error) { return nil, b.err }
