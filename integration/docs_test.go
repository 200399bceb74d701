package integration

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// TestTheNodesPageIsTrue: what docs/nodes.md says answers without a credential
// does so with the page's own Caddyfile.
func TestTheNodesPageIsTrue(t *testing.T) {
	page, err := os.ReadFile("../docs/nodes.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("FEDERATION_SECRET", fleetSecret)
	port := loopback.FreePort(t)
	example := inDocs.FindStringSubmatch(string(page))[1]
	load(t, strings.NewReplacer(
		"\tfederation {", "\tadmin off\n\tauto_https off\n\tlog {\n\t\tlevel ERROR\n\t}\n\tfederation {",
		":8080 {", fmt.Sprintf("http://127.0.0.1:%d {", port)).Replace(example))
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	g.expects(201, g.call("POST", "/v1/nodes", `{"name":"Seed Bank","url":"http://10.9.0.3","capabilities":["search"],"owner_proof":"a secret that this node keeps"}`,
		"X-Enrollment-Secret", fleetSecret))
	g.expects(200, g.call("POST", "/v1/tokens/revoke", `{"token":"x"}`))
	g.expects(401, g.call("POST", "/v1/tokens/refresh", `{"refresh_token":"x"}`))
	for _, path := range []string{"/v1/health", "/v1/health/live", "/v1/health/ready", "/v1/openapi.json", "/.well-known/jwks.json", "/api/ai-engine/health"} {
		if r := g.call("GET", path, ""); r.status == http.StatusUnauthorized || r.status == http.StatusNotFound {
			t.Errorf("%s is answered with %d", path, r.status)
		}
	}
	for _, path := range []string{"/v1/nodes", "/v1/stats", "/api/ai-engine/status"} {
		g.expects(401, g.call("GET", path, ""))
	}
}
