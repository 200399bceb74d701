package ratelimit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "ratelimit-test")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_DATA_HOME", folder)
	if os.Getenv(gatewayEnv) != "" {
		code := gatewayProcess()
		os.RemoveAll(folder)
		os.Exit(code)
	}
	caddy.RegisterModule(new(sharedStore))
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(folder)
		os.Exit(code)
	}))
}

// sharedStore is a store that gateways share, in this process:
// federation.stores.test_shared.
type sharedStore struct {
	Data string `json:"data"`
}

func (*sharedStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: store.Namespace + ".test_shared", New: func() caddy.Module { return new(sharedStore) }}
}

func (s *sharedStore) Open(context.Context, string, *zap.Logger) (store.Store, error) {
	opened, err := memory.Memory{}.Open(context.Background(), "shared "+s.Data, zap.NewNop())
	return openedStore{opened}, err
}

// broken is whether the shared stores answer with errors.
var broken atomic.Bool

type openedStore struct{ store.Store }

func (openedStore) Shared() bool           { return true }
func (s openedStore) Limits() store.Limits { return breakable{s.Store.Limits()} }

type breakable struct{ store.Limits }

func (b breakable) Take(ctx context.Context, order []store.LimitPolicy) (bool, []store.LimitState, error) {
	if broken.Load() {
		return false, nil, fmt.Errorf("taking: %w", io.ErrUnexpectedEOF)
	}
	return b.Limits.Take(ctx, order)
}

// gateway is a running config with one handler.
type gateway struct {
	testing.TB
	ctx     caddy.Context
	handler *Handler
	next    caddyhttp.HandlerFunc
	stop    func()
}

// serve runs the directive's lines until the test ends. apps is the JSON of
// other apps, or empty.
func serve(t testing.TB, lines, apps string) *gateway {
	t.Helper()
	g, err := tryServe(t, lines, apps)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func tryServe(t testing.TB, lines, apps string) (*gateway, error) {
	t.Helper()
	parsed := new(Handler)
	if err := parsed.UnmarshalCaddyfile(caddyfile.NewTestDispenser("federation_rate_limit {\n" + lines + "\n}")); err != nil {
		return nil, err
	}
	text, err := json.Marshal(parsed)
	if err != nil {
		return nil, err
	}
	config := &caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
	}
	if apps != "" {
		if err := json.Unmarshal([]byte(apps), &config.AppsRaw); err != nil {
			return nil, err
		}
	}
	base, err := caddy.ProvisionContext(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := caddy.NewContext(base)
	module, err := ctx.LoadModuleByID("http.handlers.federation_rate_limit", text)
	if err != nil {
		cancel()
		return nil, err
	}
	g := &gateway{TB: t, ctx: ctx, handler: module.(*Handler)}
	g.next = func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		_, err := io.WriteString(w, "passed")
		return err
	}
	var federation *fleet.App
	if app, err := ctx.AppIfConfigured("federation"); err == nil {
		federation = app.(*fleet.App)
		if err := federation.Start(); err != nil {
			t.Fatal(err)
		}
	}
	g.stop = sync.OnceFunc(func() {
		cancel()
		if federation != nil { // of the context below, which has no end
			if err := errors.Join(federation.Stop(), federation.Cleanup()); err != nil {
				t.Errorf("stopping: %v", err)
			}
		}
	})
	t.Cleanup(g.stop)
	return g, nil
}

// request makes a request as Caddy's server hands it on.
func request(t testing.TB, method, target string) *http.Request {
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	repl := caddyhttp.NewTestReplacer(r)
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: "203.0.113.9"})
	return r.WithContext(ctx)
}

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// do serves a request.
func (g *gateway) do(r *http.Request) *httptest.ResponseRecorder {
	g.Helper()
	w := httptest.NewRecorder()
	if err := g.handler.ServeHTTP(w, r, g.next); err != nil {
		g.Fatal(err)
	}
	return w
}

// get serves a GET and expects a status.
func (g *gateway) get(target string, status int) *httptest.ResponseRecorder {
	g.Helper()
	w := g.do(request(g.TB, http.MethodGet, target))
	if w.Code != status {
		g.Fatalf("%s: status %d, expected %d: %s", target, w.Code, status, w.Body)
	}
	return w
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after 20s: %s", what)
		}
	}
}
