package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-federation/caddy-federation"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

const (
	fleetSecret  = "a signing secret of more than thirty-two bytes"
	enrollSecret = "an enrollment secret of the tests"
)

// gateway is a Caddy in this process that serves two nodes, with every
// directive that uses the store, at the store's default timeout where the
// race detector allows.
type gateway struct {
	testing.TB
	url    string
	client *http.Client
	stop   func()
}

func startGateway(t testing.TB, store string) *gateway {
	t.Helper()
	if raced { // a command takes longer than the default allows
		head, block, more := strings.Cut(store, " {")
		if !more {
			block = "\n}"
		}
		store = head + " {\n timeout 150ms" + block
	}
	port := loopback.FreePort(t)
	text := fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level FATAL
	}
	federation faults {
		store redis %s
		key main hs256 %q
		enrollment secret %q
		node_urls 127.0.0.0/8
		refresh_grace 1m
		node one %s {
			dialect gateway
		}
		node two %s {
			dialect gateway
		}
	}
}
http://127.0.0.1:%d {
	federation_rate_limit /limited {
		policy limited {
			limit 1000 1s
			key {http.request.header.K}
		}
	}
	federation_rate_limit /closed {
		policy closed {
			limit 1000 1s
			key {http.request.header.K}
		}
		on_store_failure closed
	}
	handle /limited {
		respond "passed"
	}
	handle /closed {
		respond "passed"
	}
	handle /proxied {
		reverse_proxy {
			dynamic federation {
				nodes one two
			}
			lb_policy federation
			transport federation
		}
	}
	@open path /v1/health* /v1/tokens/*
	@register {
		path /v1/nodes
		method POST
	}
	handle @open {
		federation_nodes
	}
	handle @register {
		federation_nodes
	}
	route {
		federation_auth
		federation_nodes
		federation_search
	}
}
`, store, fleetSecret, enrollSecret, startNode(t), startNode(t), port)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	g := &gateway{TB: t, url: fmt.Sprintf("http://127.0.0.1:%d", port), client: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
	var stopped atomic.Bool
	g.stop = func() {
		if stopped.Swap(true) {
			return
		}
		transport.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	}
	t.Cleanup(g.stop)
	return g
}

// startNode serves a node that finds one document and answers everything else
// in the same way, until the test ends.
func startNode(t testing.TB) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"total":{"value":1,"relation":"eq"},"hits":[{"id":"a","title":"a","content":"tea","url":"https://docs.example/a","score":1}]}`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (g *gateway) app() *fleet.App { return fleet.Running("faults") }

// reply is an answer.
type reply struct {
	status int
	raw    string
	body   map[string]any
}

func (r reply) text(path ...string) string {
	var value any = r.body
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	text, _ := value.(string)
	return text
}

// call sends a request; headers are name, value, name, value.
func (g *gateway) call(method, path, body string, headers ...string) (reply, error) {
	request, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	request.Header.Set("Accept", "application/json")
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := g.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: response.StatusCode, raw: string(text)}
	if bytes.HasPrefix(text, []byte("{")) {
		err = json.Unmarshal(text, &r.body)
	}
	return r, err
}

// node is one that registered.
type node struct {
	name, slug, url string
	access, refresh string
}

// enroll registers a node, or again after the store has forgotten it.
func (g *gateway) enroll(n *node) (int, error) {
	r, err := g.call("POST", "/v1/nodes", fmt.Sprintf(`{"name":%q,"url":%q}`, n.name, n.url), "X-Enrollment-Secret", enrollSecret)
	if err == nil && r.status == http.StatusCreated {
		n.slug, n.access, n.refresh = r.text("node", "slug"), r.text("tokens", "access_token"), r.text("tokens", "refresh_token")
	}
	return r.status, err
}
