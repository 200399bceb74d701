package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// TestCallersAreKnownEverywhere: in the access log, in the handlers behind and
// in handle_errors; and no credential is in any of it.
func TestCallersAreKnownEverywhere(t *testing.T) {
	const secret = "a secret of more than thirty-two bytes"
	port := loopback.FreePort(t)
	logs := filepath.Join(t.TempDir(), "log")
	load(t, fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level DEBUG
		output file %[1]s
		format filter {
			request>headers>X-Api-Key delete
			request>headers>X-Node-Token delete
			request>uri query {
				replace api_key REDACTED
				replace access_token REDACTED
			}
		}
	}
	federation auth-test {
		store memory
		key main hs256 %[2]q
		node shop http://127.0.0.1:1
		node mill http://127.0.0.1:1 {
			capabilities search
		}
	}
}
http://127.0.0.1:%[3]d {
	log
	federation_auth /v1/* {
		api_key_header X-API-Key
	}
	federation_auth /api/ai-engine/* {
		compat laravel
	}
	federation_auth /actions {
		capability actions
	}
	respond /v1/whoami "{http.auth.user.id} {http.auth.user.type} {http.auth.user.method} {http.auth.user.capabilities}"
	respond /api/ai-engine/whoami "{http.auth.user.id}"
	error /v1/broken 500
	handle_errors {
		respond "{err.status_code} of {http.auth.user.id}"
	}
}
`, logs, secret, port))
	app := fleet.Running("auth-test")
	if app == nil {
		t.Fatal("the federation does not run")
	}
	pair, err := app.IssueTokens(t.Context(), app.Snapshot().Node("mill"))
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := app.NewAPIKey(t.Context(), app.Snapshot().Node("shop"), nil)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{secret, pair.AccessToken, pair.RefreshToken, key}
	var seen strings.Builder
	sent := 0
	for _, c := range []struct {
		method, path string
		headers      []string
		status       int
		body         string
	}{
		{"GET", "/v1/whoami", []string{"Authorization", "Bearer " + pair.AccessToken}, 200, "mill child jwt search"},
		{"HEAD", "/v1/whoami", []string{"Authorization", "Bearer " + pair.AccessToken}, 200, ""},
		{"GET", "/v1/whoami", []string{"X-API-Key", key}, 200, "shop child api_key actions search"},
		{"GET", "/api/ai-engine/whoami", []string{"X-Node-Token", pair.AccessToken}, 200, "mill"},
		{"GET", "/api/ai-engine/whoami", []string{"X-API-Key", key}, 200, "shop"},
		{"GET", "/v1/broken", []string{"X-API-Key", key}, 500, "500 of shop"},
		{"GET", "/v1/whoami", nil, 401, `"code":"missing_token"`},
		{"HEAD", "/v1/whoami", nil, 401, ""},
		{"OPTIONS", "/v1/whoami", nil, 401, `"code":"missing_token"`},
		{"GET", "/v1/whoami", []string{"X-API-Key", secret}, 401, `"code":"invalid_token"`},
		{"GET", "/v1/whoami?api_key=" + key, nil, 400, "in the query are not accepted"},
		{"GET", "/api/ai-engine/whoami?api_key=" + key, nil, 401, `"error":"Unauthorized"`},
		{"GET", "/actions", []string{"Authorization", "Bearer " + pair.AccessToken}, 403, `"code":"insufficient_scope"`},
		{"GET", "/actions", []string{"Authorization", "Bearer " + pair.RefreshToken}, 401, `"code":"invalid_token"`},
	} {
		request, err := http.NewRequest(c.method, fmt.Sprintf("http://127.0.0.1:%d%s", port, c.path), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(c.headers); i += 2 {
			request.Header.Set(c.headers[i], c.headers[i+1])
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != c.status || !strings.Contains(string(body), c.body) || c.body == "" && len(body) > 0 {
			t.Errorf("%s %s %v: %d %s, expected %d %s", c.method, c.path, c.headers, response.StatusCode, body, c.status, c.body)
		}
		fmt.Fprintln(&seen, response.Header, string(body))
		sent++
	}
	var text []byte
	within(t, 30*time.Second, "all requests are in the access log", func() bool { // a line is written after its answer
		if text, err = os.ReadFile(logs); err != nil {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte(`"logger":"http.log.access`)) == sent
	})
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	users := make(map[string]int)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var entry struct {
			Logger, Msg string
			UserID      string `json:"user_id"`
			Reason      string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if strings.HasPrefix(entry.Logger, "http.log.access") {
			users[entry.UserID]++
		}
		if entry.Msg == "request refused" {
			users["refused: "+entry.Reason]++
		}
	}
	for name, expected := range map[string]int{
		"mill": 3, "shop": 3, "refused: missing": 3, "refused: unknown_key": 2, "refused: in_query": 2, "refused: insufficient_scope": 1,
	} {
		if users[name] != expected {
			t.Errorf("%s is in the log %d times, expected %d: %v", name, users[name], expected, users)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(seen.String(), secret) || strings.Contains(string(text), secret) {
			t.Errorf("%.12s… got out", secret)
		}
	}
}

// TestRotatingTheSecret: a file with the secret is read again at a reload, and
// the tokens of the old one are good until it is gone.
func TestRotatingTheSecret(t *testing.T) {
	port := loopback.FreePort(t)
	dir := t.TempDir()
	write := func(name, secret string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	config := func(keys string) string {
		return fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level ERROR
	}
	federation rotating {
		store memory
		%s
		node shop http://127.0.0.1:1
	}
}
http://127.0.0.1:%d {
	federation_auth
	respond "{http.auth.user.id}"
}
`, keys, port)
	}
	ask := func(raw string) int {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+raw)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	issue := func() string {
		t.Helper()
		app := fleet.Running("rotating")
		pair, err := app.IssueTokens(t.Context(), app.Snapshot().Node("shop"))
		if err != nil {
			t.Fatal(err)
		}
		return pair.AccessToken
	}
	old, fresh := write("old", strings.Repeat("old ", 10)), write("fresh", strings.Repeat("fresh ", 10))
	load(t, config("key a hs256 {file."+old+"}"))
	first := issue()
	if status := ask(first); status != 200 {
		t.Fatalf("status %d", status)
	}
	load(t, config("key b hs256 {file."+fresh+"}\nkey a hs256 {file."+old+"} verify_only"))
	second := issue()
	if a, b := ask(first), ask(second); a != 200 || b != 200 {
		t.Errorf("while both are there: %d and %d", a, b)
	}
	// revocations outlive the reload, also in the moment before the store is read
	app := fleet.Running("rotating")
	if err := app.RevokeToken(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	third := issue()
	load(t, config("key b hs256 {file."+fresh+"}"))
	if a, b, c := ask(first), ask(second), ask(third); a != 401 || b != 401 || c != 200 {
		t.Errorf("the old key is gone: %d; revoked: %d; good: %d", a, b, c)
	}
	// the same name with another secret is another key
	write("fresh", strings.Repeat("other ", 10))
	load(t, config("key b hs256 {file."+fresh+"}"))
	if status := ask(third); status != 401 {
		t.Errorf("a token of the secret that was replaced: %d", status)
	}
}
