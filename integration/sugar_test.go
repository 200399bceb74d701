package integration

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// TestOneLineIsAWholeGateway: the site directive `federation` lets a node in
// and a search through, and keeps the rest out.
func TestOneLineIsAWholeGateway(t *testing.T) {
	for prefix, site := range map[string]string{"": "federation\nrespond \"the site's own\"", "/fleet": "federation /fleet/*\nrespond \"the site's own\""} {
		t.Run("below "+prefix, func(t *testing.T) { oneLine(t, prefix, site) })
	}
}

func oneLine(t *testing.T, prefix, site string) {
	shop := node(t, answers(hits("1", "2")))
	g := registryGateway(t, "node shop "+shop+" {\ndialect gateway\n}", site)
	g.url += prefix
	r := g.expects(201, g.call("POST", "/v1/nodes", `{"name":"App","url":"`+shop+`","dialect":"gateway"}`, "X-Enrollment-Secret", enrollSecret))
	bearer := []string{"Authorization", "Bearer " + r.text("tokens", "access_token")}
	if location := r.header.Get("Location"); location != prefix+"/v1/nodes/app" {
		t.Errorf("the node is at %s", location)
	} else {
		outside := gateway{t, strings.TrimSuffix(g.url, prefix)}
		outside.expects(200, outside.call("GET", location, "", bearer...))
	}
	if r := g.expects(200, g.call("GET", "/api/ai-engine/manifest", "", "X-Node-Token", bearer[1][7:])); r.text("node", "url") != g.url {
		t.Errorf("the manifest says %s of the gateway at %s", r.text("node", "url"), g.url)
	}
	found := g.expects(200, g.call("POST", "/v1/search", `{"query":"x"}`, bearer...))
	if found.text("total", "value") != "2" || found.header.Get("X-RateLimit-Limit") != "60" || found.header.Get("X-RateLimit-Remaining") != "59" {
		t.Errorf("the search found %s with %v", found.raw, found.header)
	}
	old := g.expects(200, g.call("POST", "/api/ai-engine/search", `{"query":"x"}`, "X-Node-Token", r.text("tokens", "access_token")))
	if old.text("count") != "2" {
		t.Errorf("the old search found %s", old.raw)
	}
	g.expects(200, g.call("GET", "/api/ai-engine/status", "", "X-Node-Token", r.text("tokens", "access_token")))
	for path, status := range map[string]int{
		"/v1/health": 200, "/v1/health/live": 200, "/v1/openapi.json": 200, "/.well-known/jwks.json": 200, "/api/ai-engine/health": 200,
		"/v1/search?q=x": 401, "/v1/nodes": 401, "/v1/stats": 401, "/v1/events": 401, "/v1/nothing": 401,
		"/api/ai-engine/status": 401, "/api/ai-engine/manifest": 401, "/api/ai-engine/nothing": 401,
		"/v1/health/redy": 401, "/v1/health/": 401, "/v1/health/api/ai-engine/status": 401, "/V1/HEALTH": 404,
		"/index.php/ai-engine/admin": 403, "/ai-engine/adminer": 403, "/ai-engine/admin": 403, "/ai-engine/admin/nodes/register": 403,
	} {
		if got := g.call("GET", path, ""); got.status != status {
			t.Errorf("%s%s: status %d, expected %d: %s", prefix, path, got.status, status, got.raw)
		}
	}
	if got := g.expects(404, g.call("GET", "/v1/nothing", "", bearer...)); got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("an unknown path is answered %s as %s", got.raw, got.header.Get("Content-Type"))
	}
	if got := g.expects(404, g.call("GET", "/api/ai-engine/nothing", "", bearer...)); got.raw != `{"message":""}` {
		t.Errorf("an unknown old path is answered %s", got.raw)
	}
	response, err := http.Get(strings.TrimSuffix(g.url, prefix) + "/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("the rest of the site answers %d", response.StatusCode)
	}
	if prefix != "" {
		outside := gateway{t, strings.TrimSuffix(g.url, prefix)}
		outside.expects(403, outside.call("GET", "/ai-engine/admin", ""))
		// not past what the rest of the site guards, by a path with a prefix
		g.expects(404, g.call("GET", "/elsewhere", ""))
	}
	if r := g.call("POST", "/v1/health/api/ai-engine/register", `{"name":"x","url":"`+shop+`"}`, "X-Enrollment-Secret", enrollSecret); r.status != 401 {
		t.Errorf("registered around the limit: %d %s", r.status, r.raw)
	}
	// registration is limited by address
	refused := 0
	for range 70 {
		if g.call("POST", "/v1/nodes", `{}`, "X-Enrollment-Secret", "wrong").status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 5 {
		t.Errorf("%d of 70 guesses of the enrollment secret were refused", refused)
	}
}

// TestAWrongMethodNeedsNoCredentials: where a path is open, another method is
// refused for what it is, as the old master did. Nothing else opens.
func TestAWrongMethodNeedsNoCredentials(t *testing.T) {
	for prefix, site := range map[string]string{"": "federation", "/fleet": "federation /fleet/*"} {
		g := registryGateway(t, "", site)
		g.url += prefix
		for call, allow := range map[string]string{
			"POST /api/ai-engine/health": "GET, HEAD", "PUT /v1/health": "GET, HEAD", "POST /v1/health": "GET, HEAD",
			"DELETE /v1/health/live": "GET, HEAD", "POST /v1/health/ready": "GET, HEAD", "POST /v1/openapi.json": "GET, HEAD",
			"POST /.well-known/jwks.json": "GET, HEAD",
			"GET /api/ai-engine/register": "POST", "PUT /api/ai-engine/register": "POST", "GET /api/ai-engine/refresh-token": "POST",
			"GET /v1/tokens/refresh": "POST", "GET /v1/tokens/revoke": "POST",
		} {
			method, path, _ := strings.Cut(call, " ")
			r := g.call(method, path, "")
			if r.status != 405 || r.header.Get("Allow") != allow {
				t.Errorf("%s%s: status %d, Allow %q, expected 405 and %s: %s", prefix, call, r.status, r.header.Get("Allow"), allow, r.raw)
			}
			if strings.HasPrefix(path, "/api/ai-engine/") && r.text("message") == "" {
				t.Errorf("%s: an old client finds no message in %s", call, r.raw)
			}
		}
		for _, call := range []string{
			"GET /v1/nodes", "PUT /v1/nodes", "POST /v1/stats", "POST /v1/health/", "POST /v1/tokens/inspect", "GET /v1/tokens",
			"POST /api/ai-engine/manifest", "POST /api/ai-engine/status", "GET /api/ai-engine/chat", "GET /api/ai-engine/register/x",
		} {
			method, path, _ := strings.Cut(call, " ")
			if r := g.call(method, path, ""); r.status != 401 {
				t.Errorf("%s%s: status %d, expected 401: %s", prefix, call, r.status, r.raw)
			}
		}
	}
}

// TestOldTokensAreForTheOldFacesOnly: they can neither be revoked one by one nor
// be told from those of another fleet.
func TestOldTokensAreForTheOldFacesOnly(t *testing.T) {
	shop := node(t, answers(hits("1")))
	g := registryGateway(t, "node boss "+shop+" {\ncapabilities search nodes:read nodes:write\n}", "federation")
	old, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "http://another.fleet.test", "sub": fleet.Running("test").Snapshot().Node("boss").ID, "node_slug": "boss",
		"exp": time.Now().Add(time.Minute).Unix(), "capabilities": []string{"nodes:write"}, "type": "child",
	}).SignedString([]byte(fleetSecret))
	if err != nil {
		t.Fatal(err)
	}
	bearer := []string{"Authorization", "Bearer " + old}
	g.expects(200, g.call("GET", "/api/ai-engine/status", "", bearer...))
	g.expects(401, g.call("GET", "/v1/nodes", "", bearer...))
	// with one, a node that registered is known where it speaks as it did
	first := g.expects(201, g.call("POST", "/v1/nodes", fmt.Sprintf(`{"name":"Mill","url":%q,"owner_proof":"a proof that is long enough"}`, shop), "X-Enrollment-Secret", enrollSecret))
	mill, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "http://another.fleet.test", "sub": fleet.Running("test").Snapshot().Node("mill").ID, "node_slug": "mill",
		"exp": time.Now().Add(time.Minute).Unix(), "capabilities": []string{"search"}, "type": "child",
	}).SignedString([]byte(fleetSecret))
	if err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{"/api/ai-engine/register": 200, "/v1/nodes": 409} {
		r := g.expects(status, g.call("POST", path, fmt.Sprintf(`{"name":"Mill","url":%q}`, shop), "X-Enrollment-Secret", enrollSecret, "X-Node-Token", mill))
		if status == 200 && r.text("node", "id") != first.text("node", "id") {
			t.Errorf("it was %s and is %s", first.raw, r.raw)
		}
	}
	if r := g.call("POST", "/v1/nodes", `{"name":"inner","url":"http://127.0.0.1:9"}`, bearer...); r.status != 401 && r.status != 403 {
		t.Errorf("an old token added a node: %d %s", r.status, r.raw)
	}
}

// TestAMatcherLeavesTheAdminPagesShut: those of old nodes, in all of the site.
func TestAMatcherLeavesTheAdminPagesShut(t *testing.T) {
	g := registryGateway(t, "", "@inside header X-Inside yes\nfederation @inside\nrespond \"the site's own\"")
	for _, headers := range [][]string{nil, {"X-Inside", "yes"}} {
		g.expects(403, g.call("GET", "/ai-engine/admin/nodes", "", headers...))
	}
	g.expects(401, g.call("GET", "/v1/nodes", "", "X-Inside", "yes"))
	if got := g.plain("/v1/nodes"); got != 200 {
		t.Errorf("what does not match goes to the rest of the site, which answers %d", got)
	}
	before := len(logged(t))
	request, err := http.NewRequest("GET", g.url+"/elsewhere", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Node-Token", "not-to-be-logged")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) { // the log comes after the answer
		lines := logged(t)[before:]
		if strings.Contains(lines, "not-to-be-logged") || time.Now().After(deadline) {
			t.Fatalf("the log has %s", lines)
		}
		if strings.Contains(lines, "/elsewhere") {
			return
		}
	}
}

// logged is the access log so far.
func logged(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(accessLog())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAnAddressOfIPv6HasTheLimitOfItsNetwork: one subscriber has a /64 at least.
func TestAnAddressOfIPv6HasTheLimitOfItsNetwork(t *testing.T) {
	port := loopback.FreePort(t)
	load(t, fmt.Sprintf(`{
	admin off
	auto_https off
	servers {
		trusted_proxies static 127.0.0.0/8
	}
	log {
		level ERROR
	}
	federation test {
		store memory
		key main hs256 %s
		enrollment secret %q
	}
}
http://127.0.0.1:%d {
	federation
}
`, fleetSecret, enrollSecret, port))
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	guess := func(i int) int {
		return g.call("POST", "/v1/nodes", `{}`, "X-Enrollment-Secret", "wrong", "X-Forwarded-For", fmt.Sprintf("2001:db8:1:2::%x", i+1)).status
	}
	refused := 0
	for i := range 70 {
		if guess(i) == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 5 {
		t.Errorf("%d of 70 guesses from one /64 were refused", refused)
	}
}
