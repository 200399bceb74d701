package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// TestTheFormatHidesWhatNoDirectiveCan: what the server answers before any
// handler, spellings that it drops, and what others log at any level.
func TestTheFormatHidesWhatNoDirectiveCan(t *testing.T) {
	secretTexts = append(slices.Clip(secretTexts), someKey)
	folder, port := t.TempDir(), loopback.FreePort(t)
	upstream := strings.TrimPrefix(node(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}), "http://")
	run := t.Run("gateway", func(t *testing.T) { // ends the gateway, so that all is written
		load(t, fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level DEBUG
		output file %[1]s/default.log
		format federation_redact {
			headers X-Partner-Key
		}
	}
}
http://127.0.0.1:%[2]d {
	log {
		output file %[1]s/access.log
		format federation_redact {
			headers X-Partner-Key
			wrap console
		}
	}
	rewrite /old /up
	reverse_proxy /up %[3]s
	file_server {
		root %[1]s
	}
}
`, folder, port, upstream))
		send := func(head string) {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = fmt.Fprintf(conn, "%s\r\nConnection: close\r\nX-API-Key: %[2]s\r\nX_Node_Token: %[2]s\r\nX.User.Token: %[2]s\r\nReferer: http://a/?api_key=%[2]s\r\n\r\n", head, someKey)
			_, _ = io.Copy(io.Discard, bufio.NewReader(conn))
		}
		query := "?access_token=" + someKey
		send("GET /up" + query + " HTTP/1.1\r\nHost: 127.0.0.1")
		send("GET /old" + query + " HTTP/1.1\r\nHost: 127.0.0.1")
		send("GET /" + query + " HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Partner-Key: " + someKey)
		send(strings.Repeat("A", 40) + " /" + query + " HTTP/1.1\r\nHost: 127.0.0.1")
		send("GET /" + query + " HTTP/1.1\r\nHost: ...")
		send("GET /" + query + " HTTP/1.1\r\nHost: nobody.example")
	})
	if !run {
		return
	}
	for name, expected := range map[string][]string{
		"default.log": {"aborting with incomplete response", "upstream roundtrip", "rewrote request", `"X-Api-Key":["REDACTED"]`, `"X-Partner-Key":["REDACTED"]`, "access_token=REDACTED", `"X_node_token":["REDACTED"]`},
		"access.log":  {"handled request", `"X-Api-Key":["REDACTED"]`, "access_token=REDACTED"},
	} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if what := leaked(string(text)); what != "" {
			for line := range strings.Lines(string(text)) {
				if leaked(line) != "" {
					t.Errorf("%s holds %s:\n%s", name, what, line)
				}
			}
		}
		plain := strings.ReplaceAll(strings.ToLower(string(text)), `": `, `":`) // as console writes it, too
		for _, part := range expected {
			if !strings.Contains(plain, strings.ToLower(part)) {
				t.Errorf("%s has no %s:\n%s", name, part, text)
			}
		}
	}
}
