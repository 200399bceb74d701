package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// TestALineOfReverseProxyHoldsNoCredential: reverse_proxy writes the request that
// it handed to its transport, at level WARN when a node breaks off its answer and
// at DEBUG for each attempt. Behind `transport federation` the line has neither
// what the caller proved itself with nor what the gateway does, and the node gets
// both as ever.
func TestALineOfReverseProxyHoldsNoCredential(t *testing.T) {
	secretTexts = append(slices.Clip(secretTexts), someKey)
	asCaller := []string{"X-Api-Key", someKey, "X-Partner-Key", someKey, "Referer", "http://a/?api_key=" + someKey}
	for name, c := range map[string]struct {
		proxy string
		query string
		gets  func(r *http.Request) bool // what the node must have been sent
	}{
		"as it came": {
			proxy: "federation_redact X-Partner-Key\nreverse_proxy %s {\ntransport federation\n}",
			query: "?access_token=" + someKey,
			gets: func(r *http.Request) bool {
				return r.Header.Get("X-Api-Key") == someKey && r.Header.Get("X-Partner-Key") == someKey && r.URL.Query().Get("access_token") == someKey
			},
		},
		"signed by the gateway": {
			proxy: "federation_redact X-Partner-Key\nreverse_proxy {\ndynamic federation\ntransport federation {\ncredentials on\n}\n}",
			gets: func(r *http.Request) bool {
				return r.Header.Get("X-Api-Key") == "" && strings.Count(r.Header.Get("X-Node-Token"), ".") == 2 && r.Header.Get("X-Secret-Of-The-Node") == someKey
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder, port := t.TempDir(), loopback.FreePort(t)
			sent := make(chan *http.Request, 1)
			upstream := node(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/up" {
					return // a health check
				}
				select {
				case sent <- r.Clone(r.Context()):
				default:
				}
				w.Header().Set("Content-Length", "1000")
				_, _ = io.WriteString(w, "half")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			})
			proxy := c.proxy
			if strings.Contains(proxy, "%s") {
				proxy = fmt.Sprintf(proxy, strings.TrimPrefix(upstream, "http://"))
			}
			if !t.Run("gateway", func(t *testing.T) { // ends the gateway, so that all is written
				load(t, fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level DEBUG
		output file %s/default.log
	}
	federation proxied {
		store memory
		key main hs256 %s
		node shop %s {
			header_up X-Secret-Of-The-Node %s
		}
	}
}
http://127.0.0.1:%d {
	%s
}
`, folder, fleetSecret, upstream, someKey, port, proxy))
				gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}.send(http.MethodGet, "/up"+c.query, "", asCaller...)
				if r := <-sent; !c.gets(r) {
					t.Errorf("the node was sent %s with %v", r.URL, r.Header)
				}
			}) {
				return
			}
			text, err := os.ReadFile(filepath.Join(folder, "default.log"))
			if err != nil {
				t.Fatal(err)
			}
			for _, expected := range []string{"aborting with incomplete response", "upstream roundtrip", `"X-Api-Key":["REDACTED"]`, `"X-Partner-Key":["REDACTED"]`} {
				if !strings.Contains(string(text), expected) {
					t.Errorf("no line has %s:\n%s", expected, text)
				}
			}
			for line := range strings.Lines(string(text)) {
				if what := leaked(line); what != "" {
					t.Errorf("a line holds %s: %s", what, line)
				}
			}
		})
	}
}
