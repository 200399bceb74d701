package auth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
)

// TestRecordedRefusals: callers of the old fleet get the members they know.
func TestRecordedRefusals(t *testing.T) {
	g := orchard(t)
	h := g.handler(Handler{Rules: Rules{Compat: "laravel"}})
	shop, barn := g.node("orchard-shop"), g.node("barn")
	fill := strings.NewReplacer(
		"{{JWT}}", g.legacy(shop.ID, "orchard-shop", nil),
		"{{JWT_EXPIRED}}", g.legacy(shop.ID, "orchard-shop", func(c jwt.MapClaims) { c["exp"] = time.Now().Unix() - 5 }),
		"{{JWT_UNKNOWN}}", g.legacy(9999, "nowhere", nil),
		"{{JWT_PAUSED}}", g.legacy(barn.ID, "barn", nil),
		"{{SECRET}}", secret, "{{APIKEY}}", oldKey,
	)
	// where a gateway answers otherwise than the recorded node, and why
	differs := map[string]string{
		"x_node_token_not_read_in_dec":   "later masters send this header, and the gateway reads it",
		"unknown_path":                   "paths are the next handler's",
		"register_removed_404":           "paths are the next handler's",
		"status_removed_404":             "paths are the next handler's",
		"unknown_sub_is_fine_on_a_child": "a gateway is no child: who it does not know is nobody",
		"raw_shared_secret_accepted":     "only where shared_secret is allowed, see TestSharedSecret",
	}
	checked := 0
	for _, name := range []string{"dec_auth_errors", "jun_auth_errors"} {
		text, err := os.ReadFile("../../testdata/contract/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var recorded struct {
			Exchanges []struct {
				Name    string
				Request struct {
					Method, Path string
					Headers      map[string]string
				}
				Response struct {
					Status int
					Body   map[string]any
				}
			}
		}
		if err := json.Unmarshal(text, &recorded); err != nil {
			t.Fatal(err)
		}
		for _, exchange := range recorded.Exchanges {
			var headers []string
			for field, value := range exchange.Request.Headers {
				headers = append(headers, field, fill.Replace(value))
			}
			got := g.request(h, exchange.Request.Method, exchange.Request.Path, headers...)
			if name == "jun_auth_errors" && exchange.Response.Status == 401 { // bare, as every old master reads it
				if got.Code != 401 || got.body["message"] != exchange.Response.Body["message"] {
					t.Errorf("%s: %d %v, expected %v", exchange.Name, got.Code, got.body, exchange.Response.Body)
				}
				checked++
				continue
			}
			if differs[exchange.Name] != "" {
				continue
			}
			checked++
			if got.Code != exchange.Response.Status {
				t.Errorf("%s: status %d, expected %d: %v", exchange.Name, got.Code, exchange.Response.Status, got.body)
			}
			if got.Code == http.StatusOK {
				continue
			}
			for member, expected := range exchange.Response.Body {
				if got.body[member] != expected {
					t.Errorf("%s: %s is %v, expected %v", exchange.Name, member, got.body[member], expected)
				}
			}
		}
	}
	if checked < 9 {
		t.Errorf("%d exchanges were checked", checked)
	}
}

// TestLaravelOrder: what is found first is final.
func TestLaravelOrder(t *testing.T) {
	g := orchard(t)
	h := g.handler(Handler{Rules: Rules{Compat: "laravel"}})
	good, bad := g.legacy(g.node("orchard-shop").ID, "orchard-shop", nil), "nonsense"
	for _, c := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"node token", []string{"X-Node-Token", good}, 200},
		{"bearer", []string{"Authorization", "Bearer " + good}, 200},
		{"api key", []string{"X-API-Key", oldKey}, 200},
		{"token as an api key", []string{"X-API-Key", good}, 200},
		{"api key as bearer", []string{"Authorization", "Bearer " + oldKey}, 200},
		{"api key as node token", []string{"X-Node-Token", oldKey}, 200},
		{"a bad node token is final", []string{"X-Node-Token", bad, "Authorization", "Bearer " + good, "X-API-Key", oldKey}, 401},
		{"a good one is final", []string{"X-Node-Token", good, "Authorization", "Bearer " + bad}, 200},
		{"a bad bearer is final", []string{"Authorization", "Bearer " + bad, "X-API-Key", oldKey}, 401},
		{"bearer in small letters", []string{"Authorization", "bearer " + good}, 401},
		{"bearer in small letters, and a key", []string{"Authorization", "bearer " + good, "X-API-Key", oldKey}, 200},
		{"two node tokens", []string{"X-Node-Token", good, "X-Node-Token", good}, 401},
		{"two bearers", []string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, 401},
		{"an empty node token", []string{"X-Node-Token", "", "Authorization", "Bearer " + good}, 200},
		{"the key of a node in maintenance", []string{"X-API-Key", barnKey}, 403},
		{"a key nobody imported", []string{"X-API-Key", barnKey[1:]}, 401},
	} {
		if got := g.request(h, "GET", "/api/ai-engine/status", c.headers...); got.Code != c.status {
			t.Errorf("%s: status %d, expected %d: %v", c.name, got.Code, c.status, got.body)
		}
	}
	got := g.request(h, "GET", "/api/ai-engine/status", "X-Node-Token", g.legacy(g.node("attic").ID, "attic", nil))
	if got.Code != 403 || got.body["node_status"] != "inactive" || got.body["error"] != "Forbidden" {
		t.Errorf("a disabled node: %d %v", got.Code, got.body)
	}
	// outside of the compatible face none of that is good
	native := g.handler(Handler{})
	for _, headers := range [][]string{{"X-Node-Token", good}, {"Authorization", "Bearer " + good}, {"X-API-Key", oldKey}} {
		if got := g.request(native, "GET", "/v1/nodes", headers...); got.Code != 401 {
			t.Errorf("%s: status %d", headers[0], got.Code)
		}
	}
}

// TestNative: challenges of RFC 6750, one body for every invalid token.
func TestNative(t *testing.T) {
	g := orchard(t)
	h := g.handler(Handler{Rules: Rules{Capabilities: []string{"search", "nodes:read"}, APIKeyHeader: "X-API-Key"}})
	shop := g.issue("orchard-shop").AccessToken
	client, _, err := g.app.NewClientKey(t.Context(), "reporting", []string{"search", "nodes:read"}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	g.kept(client)
	other, _ := token.NewAPIKey()
	revoked := g.issue("orchard-shop").AccessToken
	if err := g.app.RevokeToken(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	const challenge = `Bearer realm="federation"`
	var invalid []string
	for _, c := range []struct {
		name, target string
		headers      []string
		status       int
		code         string
		challenge    string
	}{
		{"nothing", "/", nil, 401, "missing_token", challenge},
		{"another scheme", "/", []string{"Authorization", "Basic dTpw"}, 401, "missing_token", challenge},
		{"no scheme", "/", []string{"Authorization", shop}, 401, "missing_token", challenge},
		{"no token", "/", []string{"Authorization", "Bearer"}, 400, "invalid_request", challenge + `, error="invalid_request"`},
		{"nonsense", "/", []string{"Authorization", "Bearer nonsense"}, 401, "invalid_token", challenge + `, error="invalid_token"`},
		{"tampered", "/", []string{"Authorization", "Bearer " + shop + "A"}, 401, "invalid_token", challenge + `, error="invalid_token"`},
		{"revoked", "/", []string{"Authorization", "Bearer " + revoked}, 401, "invalid_token", challenge + `, error="invalid_token"`},
		{"unknown node", "/", []string{"Authorization", "Bearer " + g.strict("gone")}, 401, "invalid_token", challenge + `, error="invalid_token"`},
		{"unknown key", "/", []string{"X-API-Key", g.kept(other)}, 401, "invalid_token", challenge + `, error="invalid_token"`},
		{"the secret", "/", []string{"Authorization", "Bearer " + secret}, 401, "invalid_token", challenge + `, error="invalid_token"`},
		{"a megabyte", "/", []string{"Authorization", "Bearer " + strings.Repeat("x", 1<<20)}, 401, "invalid_token", challenge + `, error="invalid_token"`},
		{"maintenance", "/", []string{"Authorization", "Bearer " + g.strict("barn")}, 403, "node_not_active", ""},
		{"lacks a capability", "/", []string{"Authorization", "Bearer " + shop}, 403, "insufficient_scope",
			challenge + `, error="insufficient_scope", scope="search nodes:read"`},
		{"may", "/", []string{"Authorization", "Bearer " + client}, 200, "", ""},
		{"may, scheme in small letters", "/", []string{"Authorization", "bearer " + client}, 200, "", ""},
		{"may, in the header of keys", "/", []string{"X-API-Key", client}, 200, "", ""},
		{"two credentials", "/", []string{"Authorization", "Bearer " + client, "X-API-Key", client}, 400, "invalid_request", challenge + `, error="invalid_request"`},
		{"twice", "/", []string{"Authorization", "Bearer " + client, "Authorization", "Bearer " + client}, 400, "invalid_request", challenge + `, error="invalid_request"`},
		{"key in the query", "/?api_key=" + client, nil, 400, "invalid_request", challenge + `, error="invalid_request"`},
		{"key in the query too", "/?q=a&api%5fkey=" + client, []string{"X-API-Key", client}, 400, "invalid_request", challenge + `, error="invalid_request"`},
		{"token in the query", "/?access_token=" + shop, nil, 400, "invalid_request", challenge + `, error="invalid_request"`},
		{"another query", "/?user_id=7", []string{"X-API-Key", client}, 200, "", ""},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS"} {
			got := g.request(h, method, c.target, c.headers...)
			code, _ := got.body["code"].(string)
			if got.Code != c.status || code != c.code || got.Header().Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%s %s: %d %s %s, expected %d %s %s", method, c.name, got.Code, code, got.Header().Get("WWW-Authenticate"), c.status, c.code, c.challenge)
			}
			if code != "" && (got.Header().Get("Content-Type") != "application/problem+json" || got.Header().Get("Cache-Control") != "no-store") {
				t.Errorf("%s: headers are %v", c.name, got.Header())
			}
			if code == "invalid_token" {
				invalid = append(invalid, got.Body.String())
			}
		}
	}
	if len(slices.Compact(invalid)) != 1 {
		t.Errorf("invalid tokens are told apart: %v", slices.Compact(invalid))
	}
}

// strict signs a token as we do.
func (g *gateway) strict(slug string) string {
	g.Helper()
	key, err := token.NewSecret("main", secret)
	if err != nil {
		g.Fatal(err)
	}
	now := time.Now()
	raw, err := key.Sign(jwt.MapClaims{
		"iss": "caddy-federation", "sub": slug, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": token.ID(), "type": "child",
	})
	if err != nil {
		g.Fatal(err)
	}
	return g.kept(raw)
}

// TestCallerIsSeen by the handlers behind and by placeholders.
func TestCallerIsSeen(t *testing.T) {
	g := orchard(t)
	pair := g.issue("orchard-shop")
	got := g.request(g.handler(Handler{}), "GET", "/", "Authorization", "Bearer "+pair.AccessToken)
	node := g.node("orchard-shop")
	if got.id == nil || got.id.ID != "orchard-shop" || got.id.NodeID != node.ID {
		t.Fatalf("the handler behind saw %+v", got.id)
	}
	for name, expected := range map[string]string{
		"id": "orchard-shop", "federation_id": fmt.Sprint(node.ID), "name": "Orchard Shop", "type": "child", "capabilities": "actions search", "method": "jwt",
	} {
		if value, _ := got.repl.GetString("http.auth.user." + name); value != expected {
			t.Errorf("{http.auth.user.%s} is %q, expected %q", name, value, expected)
		}
	}
	refused := g.request(g.handler(Handler{Rules: Rules{Capabilities: []string{"tokens"}}}), "GET", "/", "Authorization", "Bearer "+pair.AccessToken)
	if user, known := refused.repl.GetString("http.auth.user.id"); known {
		t.Errorf("who may not is taken for the user %s", user)
	}
	if candidate, _ := refused.repl.GetString("http.auth.candidate.id"); candidate != "orchard-shop" {
		t.Errorf("the candidate is %q", candidate)
	}
	if reason, _ := refused.repl.GetString("http.auth.federation.error"); reason != "insufficient_scope" {
		t.Errorf("the reason is %q", reason)
	}
	if lines := g.logged.FilterMessage("request refused").All(); len(lines) != 1 || lines[0].ContextMap()["caller"] != "orchard-shop" {
		t.Errorf("logged is %v", lines)
	}
}

func TestOptional(t *testing.T) {
	g := orchard(t)
	h := g.handler(Handler{Rules: Rules{Capabilities: []string{"tokens"}}, Optional: true})
	got := g.request(h, "GET", "/")
	if got.Code != 200 || got.id.ID != "" {
		t.Errorf("nobody: %d, %+v", got.Code, got.id)
	}
	for _, header := range []string{"Bearer nonsense", "Bearer " + g.issue("mill").AccessToken} {
		if got := g.request(h, "GET", "/", "Authorization", header); got.id != nil {
			t.Errorf("a bad one got through: %d", got.Code)
		}
	}
	if got := g.request(h, "GET", "/?api_key=x"); got.Code != 400 {
		t.Errorf("a key in the query: %d", got.Code)
	}
}

func TestSharedSecret(t *testing.T) {
	g := orchard(t)
	h := g.handler(Handler{Rules: Rules{Compat: "laravel", Allow: []string{"jwt", "shared_secret"}}})
	got := g.request(h, "POST", "/api/ai-engine/search", "X-Node-Token", secret)
	if got.Code != 200 || got.id.ID != "federated" || got.id.Method != "shared_secret" {
		t.Errorf("%d, %+v", got.Code, got.id)
	}
	if got := g.request(h, "POST", "/api/ai-engine/search", "X-API-Key", oldKey); got.Code != 401 {
		t.Errorf("a key where keys are not allowed: %d", got.Code)
	}
	if got := g.request(h, "POST", "/api/ai-engine/search", "X-Node-Token", secret+"x"); got.Code != 401 {
		t.Errorf("another secret: %d", got.Code)
	}
}

// TestRevokedAtOnce: the next request of a revoked node is refused.
func TestRevokedAtOnce(t *testing.T) {
	g := orchard(t)
	h := g.handler(Handler{})
	bearer := "Bearer " + g.issue("mill").AccessToken
	if got := g.request(h, "GET", "/", "Authorization", bearer); got.Code != 200 {
		t.Fatalf("status %d", got.Code)
	}
	if err := g.app.RevokeNode(t.Context(), "mill"); err != nil {
		t.Fatal(err)
	}
	if got := g.request(h, "GET", "/", "Authorization", bearer); got.Code != 401 || got.body["code"] != "invalid_token" {
		t.Errorf("status %d: %v", got.Code, got.body)
	}
}

// TestProvider: the same in Caddy's own handler.
func TestProvider(t *testing.T) {
	g := orchard(t)
	provider := &Provider{Rules{Capabilities: []string{"search"}}}
	if err := provider.Provision(g.ctx); err != nil {
		t.Fatal(err)
	}
	provider.logger = g.logger
	stock := &caddyauth.Authentication{Providers: map[string]caddyauth.Authenticator{"federation": provider}}
	got := g.request(stock, "GET", "/", "Authorization", "Bearer "+g.issue("mill").AccessToken)
	if got.Code != 200 || got.id.ID != "mill" {
		t.Errorf("%d, %+v", got.Code, got.id)
	}
	for name, expected := range map[string]string{"id": "mill", "type": "child", "method": "jwt", "capabilities": "search", "federation_id": fmt.Sprint(g.node("mill").ID)} {
		if value, _ := got.repl.GetString("http.auth.user." + name); value != expected {
			t.Errorf("{http.auth.user.%s} is %q", name, value)
		}
	}
	for _, header := range []string{"", "Bearer nonsense", "Bearer " + g.strict("orchard-shop")} {
		got := g.request(stock, "GET", "/", "Authorization", header)
		if got.Code != 401 || !strings.HasPrefix(got.Header().Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%.10s: %d %v", header, got.Code, got.Header())
		}
	}
}

func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		rules Rules
		says  string
	}{
		"method":     {Rules{Allow: []string{"password"}}, `unknown method "password"`},
		"compat":     {Rules{Compat: "rails"}, "expected laravel"},
		"capability": {Rules{Capabilities: []string{`a"b`}}, "capability"},
		"header":     {Rules{APIKeyHeader: "X Y"}, "not a header name"},
		"taken":      {Rules{APIKeyHeader: "authorization"}, "not for API keys"},
	} {
		if err := c.rules.check(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMetrics(t *testing.T) {
	g := orchard(t)
	h := g.handler(Handler{})
	refused, accepted := requests.WithLabelValues("", "malformed"), requests.WithLabelValues("jwt", reasonAccepted)
	value := func(counter prometheus.Counter) float64 {
		var metric dto.Metric
		if err := counter.Write(&metric); err != nil {
			t.Fatal(err)
		}
		return metric.GetCounter().GetValue()
	}
	before, beforeAccepted := value(refused), value(accepted)
	g.request(h, "GET", "/", "Authorization", "Bearer a.b.é")
	g.request(h, "GET", "/", "Authorization", "Bearer "+g.issue("mill").AccessToken)
	if value(refused) != before+1 || value(accepted) != beforeAccepted+1 {
		t.Error("the requests were not counted")
	}
}

// BenchmarkCredential is what finding the credential of a request costs.
func BenchmarkCredential(b *testing.B) {
	rules := &Rules{laravel: true, APIKeyHeader: "X-Api-Key"}
	r := httptest.NewRequest("GET", "/?q=a", nil)
	r.Header.Set("Authorization", "Bearer a.b.c")
	b.ReportAllocs()
	for b.Loop() {
		if raw, d := rules.credential(r); raw == "" || d != nil {
			b.Fatal(raw, d)
		}
	}
}
