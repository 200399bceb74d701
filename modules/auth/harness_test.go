package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	_ "github.com/caddy-federation/caddy-federation/modules/dialects"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	_ "github.com/caddy-federation/caddy-federation/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The credentials of the tests. None may get into an answer or a log.
const (
	secret  = "orchard-gateway-fixture-secret-2026-0001"
	oldKey  = "orchardkey00000000000000000000000000000000000000000000000000000a1"
	barnKey = "barnkey000000000000000000000000000000000000000000000000000000000b2"
)

// gateway is a federation and what its handlers said.
type gateway struct {
	*testing.T
	ctx     caddy.Context
	app     *fleet.App
	logged  *observer.ObservedLogs
	logger  *zap.Logger
	secrets []string // what must not be seen
	seen    strings.Builder
}

// orchard runs a federation with the nodes orchard-shop and mill, barn in
// maintenance, and attic disabled.
func orchard(t *testing.T) *gateway {
	t.Helper()
	config := fmt.Sprintf(`{"name":%q,"store":{"module":"memory"},"keys":[{"id":"main","algorithm":"HS256","secret":%q}],"nodes":[
		{"slug":"orchard-shop","name":"Orchard Shop","url":"http://127.0.0.1:1","capabilities":["search","actions"]},
		{"slug":"mill","url":"http://127.0.0.1:1","capabilities":["search"]},
		{"slug":"barn","url":"http://127.0.0.1:1","admin_state":"maintenance"},
		{"slug":"attic","url":"http://127.0.0.1:1","admin_state":"disabled"}]}`, t.Name(), secret)
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true}, AppsRaw: caddy.ModuleMap{"federation": json.RawMessage(config)},
	})
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zapcore.DebugLevel)
	g := &gateway{T: t, ctx: ctx, logged: logged, logger: zap.New(core), secrets: []string{secret, oldKey, barnKey}}
	if g.app, err = fleet.FromContext(ctx); err != nil {
		t.Fatal(err)
	}
	if err := g.app.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.app.Stop(); err != nil {
			t.Error(err)
		}
		caddy.Stop() // and the context with it
		if err := g.app.Cleanup(); err != nil {
			t.Error(err)
		}
		g.leaks()
	})
	for slug, key := range map[string]string{"orchard-shop": oldKey, "barn": barnKey} {
		if err := g.app.ImportAPIKey(t.Context(), g.node(slug), key); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g *gateway) node(slug string) *fleet.Node {
	g.Helper()
	n := g.app.Snapshot().Node(slug)
	if n == nil {
		g.Fatalf("there is no node %s", slug)
	}
	return n
}

// leaks greps all answers and all log lines for every credential of the test.
func (g *gateway) leaks() {
	g.Helper()
	text := g.seen.String()
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	for _, entry := range g.logged.All() {
		line, err := encoder.EncodeEntry(entry.Entry, entry.Context)
		if err != nil {
			g.Fatal(err)
		}
		text += line.String()
	}
	if !strings.Contains(text, "request refused") {
		g.Error("nothing was logged: the logs are not looked at")
	}
	for _, secret := range g.secrets {
		parts := []string{secret}
		if strings.Count(secret, ".") == 2 { // a token's signature is its secret part
			parts = append(parts, secret[strings.LastIndexByte(secret, '.')+1:])
		}
		for _, part := range parts {
			if len(part) >= 16 && strings.Contains(text, part) {
				g.Errorf("%.12s… got out", part)
			}
		}
	}
}

// kept remembers a credential, for leaks.
func (g *gateway) kept(credential string) string {
	g.secrets = append(g.secrets, credential)
	return credential
}

// legacy signs a token as the old fleet does.
func (g *gateway) legacy(subject any, slug string, change func(jwt.MapClaims)) string {
	g.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": "http://gateway.orchard.test", "sub": subject, "node_slug": slug, "node_name": slug, "iat": now.Unix() - 10,
		"exp": now.Add(5 * time.Minute).Unix(), "capabilities": []string{"search", "actions"}, "type": "child",
	}
	if change != nil {
		change(claims)
	}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		g.Fatal(err)
	}
	return g.kept(raw)
}

func (g *gateway) issue(slug string) fleet.TokenPair {
	g.Helper()
	pair, err := g.app.IssueTokens(g.Context(), g.node(slug))
	if err != nil {
		g.Fatal(err)
	}
	g.kept(pair.AccessToken)
	g.kept(pair.RefreshToken)
	return pair
}

// handler provisions a handler.
func (g *gateway) handler(h Handler) *Handler {
	g.Helper()
	if err := h.Provision(g.ctx); err != nil {
		g.Fatal(err)
	}
	h.logger = g.logger
	return &h
}

// reply is what a request got.
type reply struct {
	*httptest.ResponseRecorder
	id   *fleet.Identity // of the handler behind, when it was reached
	repl *caddy.Replacer
	body map[string]any
}

// request sends a request with headers in pairs of name and value.
func (g *gateway) request(h caddyhttp.MiddlewareHandler, method, target string, headers ...string) *reply {
	g.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	repl := caddy.NewReplacer()
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)
	r = r.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any)))
	got := &reply{ResponseRecorder: httptest.NewRecorder(), repl: repl}
	err := h.ServeHTTP(got, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		got.id = fleet.IdentityOf(r)
		if got.id == nil {
			got.id = new(fleet.Identity)
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}))
	var status caddyhttp.HandlerError
	if errors.As(err, &status) {
		got.Code = status.StatusCode
	} else if err != nil {
		g.Fatal(err)
	}
	text := got.Body.String()
	fmt.Fprintln(&g.seen, got.Header(), text, err)
	if text != "" && json.Unmarshal([]byte(text), &got.body) != nil {
		g.Fatalf("no JSON: %s", text)
	}
	return got
}
