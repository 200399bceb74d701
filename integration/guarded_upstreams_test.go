package integration

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// TestNodesThatChoseTheirURLNeedOurTransport: no other transport asks node_urls
// when it dials, so a node could register, point its name at the gateway's own
// machine and have it called there (DNS rebinding).
func TestNodesThatChoseTheirURLNeedOurTransport(t *testing.T) {
	for name, transport := range map[string]string{"ours": "federation", "none": "", "http": "http {\ndial_timeout 3s\n}"} {
		t.Run(name, func(t *testing.T) {
			if transport != "" {
				transport = "transport " + transport
			}
			chosen := node(t, answers(`{"by":"the node that chose its url"}`))
			g := registryGateway(t, "", openNodes+`
	handle {
		reverse_proxy {
			dynamic federation
			`+transport+`
		}
	}`)
			g.enrolled("App", chosen)
			expected := http.StatusServiceUnavailable
			if name == "ours" {
				expected = http.StatusOK
			}
			if got := g.plain("/"); got != expected {
				t.Errorf("the node that registered itself is answered for with %d, expected %d", got, expected)
			}
			g.expects(201, g.call("POST", "/v1/nodes", `{"name":"Placed","url":"`+chosen+`"}`, "Authorization", "Bearer "+g.clientKey("ops", "nodes:write")))
			if got := g.plain("/"); got != http.StatusOK {
				t.Errorf("a node that an operator placed is answered for with %d", got)
			}
		})
	}
}

// plain asks for a path and returns the status.
func (g gateway) plain(path string) int {
	g.Helper()
	response, err := http.Get(g.url + path)
	if err != nil {
		g.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// clientKey makes an API key of a caller that is no node.
func (g gateway) clientKey(name string, capabilities ...string) string {
	g.Helper()
	key, _, err := fleet.Running("test").NewClientKey(g.Context(), name, capabilities, time.Time{})
	if err != nil {
		g.Fatal(err)
	}
	return key
}
