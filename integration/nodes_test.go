package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

const (
	fleetSecret  = "orchard-gateway-fixture-secret-2026-0001"
	enrollSecret = "an enrollment secret of the tests"
)

// registryGateway runs a gateway that nodes on this machine can register with.
func registryGateway(t testing.TB, block, site string) gateway {
	t.Helper()
	port := loopback.FreePort(t)
	load(t, registryCaddyfile(port, block, site))
	return gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
}

func registryCaddyfile(port int, block, site string) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level ERROR
	}
	federation test {
		store memory
		key main hs256 %s
		enrollment secret %q
		node_urls 127.0.0.0/8
		%s
	}
}
http://127.0.0.1:%d {
	log {
		output file %s
	}
	%s
}
`, fleetSecret, enrollSecret, block, port, accessLog(), site)
}

// openNodes lets anybody at the endpoints that check for themselves, and who
// has a token at all of them.
const openNodes = `
	@open path /v1/health* /v1/tokens/* /.well-known/* /api/ai-engine/health /api/ai-engine/register /api/ai-engine/refresh-token
	@register {
		path /v1/nodes
		method POST
	}
	handle @open {
		federation_nodes {
			compat laravel
		}
	}
	handle @register {
		federation_nodes
	}
	handle /v1/* {
		federation_auth
		federation_nodes
	}
	route {
		federation_auth {
			compat laravel
		}
		federation_nodes {
			compat laravel
		}
		header Content-Type application/json
		respond ` + "`{\"message\":\"\"}`" + ` 404
	}`

// reply is an answer with its JSON.
type reply struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (r reply) text(path ...string) string {
	var value any = r.body
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return fmt.Sprint(value)
}

// call sends a request; headers are name, value, name, value.
func (g gateway) call(method, path, body string, headers ...string) reply {
	g.Helper()
	var reader io.Reader = http.NoBody
	if body != "" {
		reader = strings.NewReader(body)
	}
	request, err := http.NewRequest(method, g.url+path, reader)
	if err != nil {
		g.Fatal(err)
	}
	request.Header.Set("Accept", "application/json")
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		g.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.Fatal(err)
	}
	r := reply{status: response.StatusCode, header: response.Header, raw: string(text)}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &r.body); err != nil {
			g.Fatalf("%s %s answers %d with %s: %v", method, path, r.status, text, err)
		}
	}
	described(g, method, path, r)
	return r
}

// expects fails unless the answer has the status.
func (g gateway) expects(status int, r reply) reply {
	g.Helper()
	if r.status != status {
		g.Fatalf("status %d, expected %d: %s", r.status, status, r.raw)
	}
	return r
}

// enrolled registers a node and returns its access and refresh tokens.
func (g gateway) enrolled(name, url string) (access, refresh string) {
	g.Helper()
	r := g.expects(http.StatusCreated, g.call(http.MethodPost, "/v1/nodes", fmt.Sprintf(`{"name":%q,"url":%q}`, name, url),
		"X-Enrollment-Secret", enrollSecret))
	return r.text("tokens", "access_token"), r.text("tokens", "refresh_token")
}

// issued is a token that an operator gives a node.
func (g gateway) issued(slug string) string {
	g.Helper()
	app := fleet.Running("test")
	pair, err := app.IssueTokens(g.Context(), app.Snapshot().Node(slug))
	if err != nil {
		g.Fatal(err)
	}
	return pair.AccessToken
}

// TestANodeComesBackByItsTokenBesideTheSecret: where the enrollment secret is
// the bearer, the node's own token is in X-Node-Token.
func TestANodeComesBackByItsTokenBesideTheSecret(t *testing.T) {
	g := registryGateway(t, "", openNodes)
	body := fmt.Sprintf(`{"name":"Mill","url":%q`, node(t, answers(`{"status":"pass"}`)))
	first := g.expects(201, g.call("POST", "/v1/nodes", body+`,"owner_proof":"a proof that is long enough"}`, "X-Enrollment-Secret", enrollSecret))
	for _, path := range []string{"/v1/nodes", "/api/ai-engine/register"} {
		g.expects(409, g.call("POST", path, body+"}", "Authorization", "Bearer "+enrollSecret))
		again := g.expects(200, g.call("POST", path, body+"}", "Authorization", "Bearer "+enrollSecret, "X-Node-Token", first.text("tokens", "access_token")))
		if again.text("node", "id") != first.text("node", "id") {
			t.Errorf("%s: it was %s and is %s", path, first.raw, again.raw)
		}
	}
}

func TestTheLifeOfANode(t *testing.T) {
	g := registryGateway(t, "", openNodes)
	url := node(t, answers(`{"status":"pass"}`))
	access, refresh := g.enrolled("Seed Bank", url)
	bearer := []string{"Authorization", "Bearer " + access}

	own := g.expects(200, g.call("GET", "/v1/nodes/seed-bank", "", bearer...))
	if own.text("slug") != "seed-bank" || own.text("admin_state") != "enabled" || own.text("source") != "registry" {
		t.Errorf("the node is %s", own.raw)
	}
	if list := g.expects(200, g.call("GET", "/v1/nodes", "", bearer...)); list.text("count") != "1" {
		t.Errorf("the list is %s", list.raw)
	}
	// only itself, and only what is its own to change
	g.enrolled("Mill", url)
	if list := g.expects(200, g.call("GET", "/v1/nodes", "", bearer...)); list.text("count") != "1" {
		t.Errorf("a node sees others: %s", list.raw)
	}
	for _, c := range []struct {
		status       int
		method, path string
		body         string
	}{
		{403, "GET", "/v1/nodes/mill", ""},
		{403, "PATCH", "/v1/nodes/mill", `{"name":"Mine"}`},
		{403, "DELETE", "/v1/nodes/mill", ""},
		{403, "POST", "/v1/nodes/mill/revoke", ""},
		{403, "POST", "/v1/nodes/seed-bank/enable", ""},
		{403, "POST", "/v1/nodes/seed-bank/drain", ""},
		{403, "GET", "/v1/stats", ""},
		{403, "GET", "/v1/events", ""},
		{403, "GET", "/v1/requests", ""},
		{200, "GET", "/v1/requests?node=seed-bank", ""},
		{403, "GET", "/v1/requests?node=mill", ""},
		{400, "GET", "/v1/requests?node=seed-bank&limit=0", ""},
		{403, "PATCH", "/v1/nodes/seed-bank", `{"weight":900}`},
		{403, "PATCH", "/v1/nodes/seed-bank", `{"capabilities":["search","actions","nodes:write"]}`},
		{422, "PATCH", "/v1/nodes/seed-bank", `{"url":"http://169.254.169.254"}`},
		{400, "PATCH", "/v1/nodes/seed-bank", `{}`},
		{400, "PATCH", "/v1/nodes/seed-bank", `[]`},
		{400, "PATCH", "/v1/nodes/seed-bank", `{"wieght":2}`},
		{200, "PATCH", "/v1/nodes/seed-bank", `{"description":"Trees","capabilities":["search"]}`},
		{200, "POST", "/v1/nodes/seed-bank/ping", ""},
		{405, "PUT", "/v1/nodes/seed-bank", ""},
		{405, "DELETE", "/v1/nodes", ""},
	} {
		r := g.call(c.method, c.path, c.body, bearer...)
		if r.status != c.status {
			t.Errorf("%s %s %s: status %d, expected %d: %s", c.method, c.path, c.body, r.status, c.status, r.raw)
		}
		if c.status >= 400 && (r.text("code") == "<nil>" || r.text("trace_id") == "<nil>" || r.header.Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s %s: the problem is %s", c.method, c.path, r.raw)
		}
	}
	// tokens
	if r := g.call("GET", "/v1/nodes", ""); r.status != 401 || r.header.Get("WWW-Authenticate") == "" {
		t.Errorf("nobody: %d %s", r.status, r.raw)
	}
	next := g.expects(200, g.call("POST", "/v1/tokens/refresh", `{"refresh_token":"`+refresh+`"}`))
	if again := g.expects(200, g.call("POST", "/v1/tokens/refresh", `{"refresh_token":"`+refresh+`"}`)); again.text("refresh_token") != next.text("refresh_token") {
		t.Error("within the grace another successor was given")
	}
	g.expects(401, g.call("POST", "/v1/tokens/refresh", `{"refresh_token":"`+strings.Repeat("0", 64)+`"}`))
	g.expects(400, g.call("POST", "/v1/tokens/refresh", `{}`))
	key := g.expects(201, g.call("POST", "/v1/nodes/seed-bank/api-key", "", bearer...)).text("api_key")
	g.expects(200, g.call("GET", "/v1/nodes/seed-bank", "", "Authorization", "Bearer "+key))
	if set := g.expects(200, g.call("GET", "/.well-known/jwks.json", "")); strings.Contains(set.raw, fleetSecret) {
		t.Error("the key set has the secret")
	}
	// everything dies at once
	g.expects(200, g.call("POST", "/v1/nodes/seed-bank/revoke", "", bearer...))
	for _, dead := range []string{access, next.text("access_token"), key} {
		g.expects(401, g.call("GET", "/v1/nodes/seed-bank", "", "Authorization", "Bearer "+dead))
	}
	g.expects(401, g.call("POST", "/v1/tokens/refresh", `{"refresh_token":"`+next.text("refresh_token")+`"}`))
	// it comes back as itself, and leaves
	back := g.expects(200, g.call("POST", "/v1/nodes", fmt.Sprintf(`{"name":"Seed Bank","url":%q}`, url), "Authorization", "Bearer "+enrollSecret))
	if back.text("node", "id") != own.text("id") {
		t.Errorf("came back as %s", back.raw)
	}
	bearer[1] = "Bearer " + back.text("tokens", "access_token")
	if r := g.call("DELETE", "/v1/nodes/seed-bank", "", bearer...); r.status != 204 {
		t.Fatalf("status %d: %s", r.status, r.raw)
	}
	g.expects(401, g.call("GET", "/v1/nodes", "", bearer...))
	if third := g.expects(201, g.call("POST", "/v1/nodes", fmt.Sprintf(`{"name":"Seed Bank","url":%q}`, url), "X-Enrollment-Secret", enrollSecret)); third.text("node", "id") == own.text("id") {
		t.Errorf("a new node has the old one's number: %s", third.raw)
	}
}

// startsAt fails unless the stream after an event begins with this one.
func (g gateway) startsAt(first, after, authorization string) {
	g.Helper()
	ctx, cancel := context.WithTimeout(g.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/v1/events", http.NoBody)
	if err != nil {
		g.Fatal(err)
	}
	request.Header.Set("Authorization", authorization)
	request.Header.Set("Last-Event-ID", after)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		g.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			if id != first {
				g.Errorf("the stream after event %s begins with %s, expected %s", after, id, first)
			}
			return
		}
	}
	g.Errorf("the stream after event %s ends without one", after)
}

func TestAnOperatorOverHTTP(t *testing.T) {
	url := node(t, answers(`{"status":"pass"}`))
	g := registryGateway(t, "node ops "+url+" {\ncapabilities search nodes:read nodes:write tokens\n}", openNodes)
	// its url stands for no node with power over others: an operator gives it a token
	g.expects(409, g.call("POST", "/v1/nodes", fmt.Sprintf(`{"name":"ops","url":%q}`, url), "X-Enrollment-Secret", enrollSecret))
	bearer := []string{"Authorization", "Bearer " + g.issued("ops")}
	// an operator needs no secret, and may put a node anywhere
	added := g.expects(201, g.call("POST", "/v1/nodes", `{"name":"Shop","url":"http://10.0.0.1"}`, bearer...))
	shop := []string{"Authorization", "Bearer " + added.text("tokens", "access_token")}
	shopRefresh := added.text("tokens", "refresh_token")
	g.expects(200, g.call("GET", "/v1/nodes/shop", "", shop...))
	for _, c := range []struct{ operation, state string }{
		{"drain", "draining"}, {"maintenance", "maintenance"}, {"enable", "enabled"}, {"disable", "disabled"}, {"enable", "enabled"},
	} {
		if r := g.expects(200, g.call("POST", "/v1/nodes/shop/"+c.operation, "", bearer...)); r.text("admin_state") != c.state {
			t.Errorf("%s made it %s", c.operation, r.text("admin_state"))
		}
		// a refresh token is good again once its node may act
		pair := fmt.Sprintf(`{"refresh_token":%q}`, shopRefresh)
		native, old := g.call("POST", "/v1/tokens/refresh", pair), g.call("POST", "/api/ai-engine/refresh-token", pair)
		switch oldState := map[string]string{"maintenance": "maintenance", "disabled": "inactive"}[c.state]; {
		case oldState == "":
			shopRefresh = g.expects(200, native).text("refresh_token")
			g.expects(200, old)
		case g.expects(403, native).text("node_status") != c.state || native.text("code") != "node_not_active":
			t.Errorf("%s: a refresh is refused with %s", c.state, native.raw)
		case g.expects(403, old).text("node_status") != oldState:
			t.Errorf("%s: an old client's refresh is refused with %s", c.state, old.raw)
		}
	}
	g.expects(409, g.call("POST", "/v1/nodes/shop/approve", "", bearer...))
	// nobody gives power over others here, and who is held back cannot leave
	g.expects(403, g.call("PATCH", "/v1/nodes/shop", `{"capabilities":["search","tokens"]}`, bearer...))
	// nor has a node that has such power called where it likes
	for _, change := range []string{`{"dialect":{"dialect":"gateway"}}`, `{"credentials":{"type":"none"}}`} {
		if r := g.expects(403, g.call("PATCH", "/v1/nodes/ops", change, bearer...)); !strings.Contains(r.text("detail"), "on the command line only") {
			t.Errorf("the refusal is %s", r.raw)
		}
	}
	g.expects(200, g.call("POST", "/v1/nodes/shop/drain", "", bearer...))
	g.expects(403, g.call("DELETE", "/v1/nodes/shop", "", shop...))
	g.expects(200, g.call("POST", "/v1/nodes/shop/enable", "", bearer...))
	if r := g.expects(200, g.call("POST", "/v1/nodes/shop/breaker", `{"force":"open","reason":"moving","for":"10m"}`, bearer...)); r.text("state") != "forced_open" || r.text("actor") != "ops" {
		t.Errorf("the breaker is %s", r.raw)
	}
	g.expects(200, g.call("GET", "/v1/nodes/shop/breaker", "", shop...))
	g.expects(403, g.call("POST", "/v1/nodes/shop/breaker", `{"force":"auto"}`, shop...))
	for _, body := range []string{`{"force":"ajar"}`, `{"force":"open","for":"forever"}`, `{"force":"open","for":"-1s"}`, `{}`} {
		g.expects(400, g.call("POST", "/v1/nodes/shop/breaker", body, bearer...))
	}
	g.expects(200, g.call("POST", "/v1/nodes/shop/breaker", `{"force":"reset"}`, bearer...))
	g.expects(200, g.call("PATCH", "/v1/nodes/shop", `{"weight":2.5,"timeout":"3s","dialect":{"dialect":"laravel"}}`, bearer...))
	g.expects(409, g.call("PATCH", "/v1/nodes/ops", `{"capabilities":["search"]}`, bearer...))
	g.expects(409, g.call("DELETE", "/v1/nodes/ops", "", bearer...))
	if r := g.expects(404, g.call("GET", "/v1/nodes/shopp", "", bearer...)); !strings.Contains(r.text("detail"), "did you mean shop?") {
		t.Errorf("the problem is %s", r.raw)
	}
	stats := g.expects(200, g.call("GET", "/v1/stats", "", bearer...))
	if stats.text("nodes", "total") != "2" {
		t.Errorf("the statistics are %s", stats.raw)
	}
	g.expects(200, g.call("GET", "/v1/requests?limit=5", "", bearer...))

	// an id of a store that was emptied meanwhile loses nothing that came since
	g.startsAt("1", "999999", bearer[1])
	g.startsAt("2", "1", bearer[1])

	// what happened, as a stream from the beginning
	stream, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(stream, http.MethodGet, g.url+"/v1/events?since=0", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", bearer[1])
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("the stream is %s", got)
	}
	lines := bufio.NewScanner(response.Body)
	var kinds []string
	for lines.Scan() && !slices.Contains(kinds, "node_unregistered") {
		if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kinds = append(kinds, kind)
			if kind == "node_admin_state" && !slices.Contains(kinds[:len(kinds)-1], kind) {
				g.call("DELETE", "/v1/nodes/shop", "", bearer...) // while it is open
			}
		}
	}
	// a stream ends with the right to listen
	g.expects(200, g.call("POST", "/v1/nodes/ops/revoke", "", bearer...))
	if ended, err := io.ReadAll(response.Body); err != nil {
		t.Errorf("the stream of a caller that was revoked goes on: %v after %s", err, ended)
	}
	if !slices.Contains(kinds, "node_registered") || !slices.Contains(kinds, "node_unregistered") {
		t.Errorf("the events are %v", kinds)
	}
}

func TestHealthDocuments(t *testing.T) {
	g := registryGateway(t, "node down http://127.0.0.1:1 {\nadmin_state maintenance\n}", openNodes)
	for path, expected := range map[string]struct {
		status int
		state  string
	}{"/v1/health": {503, "fail"}, "/v1/health/live": {200, "pass"}, "/v1/health/ready": {503, "fail"}} {
		r := g.expects(expected.status, g.call("GET", path, ""))
		if r.text("status") != expected.state || r.header.Get("Content-Type") != "application/health+json" || strings.Contains(r.raw, "down") {
			t.Errorf("%s answers %s", path, r.raw)
		}
	}
	g.expects(503, g.call("GET", "/api/ai-engine/health", ""))
	g.enrolled("Up", node(t, answers(`{"status":"pass"}`)))
	if r := g.expects(200, g.call("GET", "/v1/health", "")); r.text("status") != "warn" {
		t.Errorf("the document is %s", r.raw)
	}
	g.expects(200, g.call("GET", "/api/ai-engine/health", ""))
}
