package integration

import (
	"net/http"
	"strings"
	"testing"
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
