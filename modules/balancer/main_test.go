package balancer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/goleak"

	_ "github.com/caddy-federation/caddy-federation/modules/dialects"
	_ "github.com/caddy-federation/caddy-federation/store/memory"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// the timer of a breaker that is open, which ends with the open time
		goleak.IgnoreAnyFunction("github.com/eapache/go-resiliency/breaker.(*Breaker).timer"),
		// Caddy's cleaner of dynamic hosts, which never ends
		goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy.(*Upstream).fillDynamicHost.func1.1"))
}

// proxy is a real reverse_proxy, without a whole Caddy around it.
type proxy struct {
	testing.TB
	url     string
	handler *reverseproxy.Handler
	unload  func()
}

// serve runs a reverse_proxy from its JSON until the test ends. nodes are the
// lines of nodes of a federation, if it has one.
func serve(t testing.TB, handler string, nodes ...string) *proxy {
	t.Helper()
	p := &proxy{TB: t}
	config := &caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}, AppsRaw: caddy.ModuleMap{}}
	if len(nodes) > 0 {
		config.AppsRaw["federation"] = json.RawMessage(fmt.Sprintf(`{"name":%q,"store":{"module":"memory"},"nodes":[%s]}`, t.Name(), strings.Join(nodes, ",")))
	}
	root, err := caddy.ProvisionContext(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(root)
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", json.RawMessage(handler))
	if err != nil {
		t.Fatal(err)
	}
	p.handler, p.unload = module.(*reverseproxy.Handler), cancel
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	p.url = front.URL
	return p
}

// provisioning returns the error of loading a reverse_proxy.
func provisioning(t *testing.T, handler string) error {
	t.Helper()
	root, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(root)
	defer cancel()
	_, err = ctx.LoadModuleByID("http.handlers.reverse_proxy", json.RawMessage(handler))
	return err
}

var server = new(caddyhttp.Server)

// ServeHTTP does what Caddy's server does around a handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, w, server)
	err := p.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	if err != nil {
		status := http.StatusInternalServerError
		if he, ok := err.(caddyhttp.HandlerError); ok {
			status = he.StatusCode
		}
		w.WriteHeader(status)
	}
}

func (p *proxy) transport() *Transport { return p.handler.Transport.(*Transport) }

// inFlight is how many requests an upstream has.
func (p *proxy) inFlight(address string) int64 {
	return p.transport().upstreams.target(address).gate.InFlight()
}

// get asks the proxy and returns the status.
func (p *proxy) get(method string) int {
	p.Helper()
	request, err := http.NewRequestWithContext(p.Context(), method, p.url, nil)
	if err != nil {
		p.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// upstream serves until the test ends and returns its address.
func upstream(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String()
}

// nobody is an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	return fmt.Sprint("127.0.0.1:", loopback.FreePort(t))
}

// static is the JSON of a handler with our transport and policy.
func static(policy string, addresses ...string) string {
	var upstreams []string
	for _, a := range addresses {
		upstreams = append(upstreams, fmt.Sprintf(`{"dial":%q}`, a))
	}
	return fmt.Sprintf(`{"transport":{"protocol":"federation"},"upstreams":[%s],
		"load_balancing":{"retries":1,"selection_policy":{"policy":"federation","algorithm":%q}}}`, strings.Join(upstreams, ","), policy)
}
