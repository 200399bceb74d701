package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// handlesErrors is a site that has its own words for a refusal.
const handlesErrors = `respond hello
	handle_errors {
		respond "{err.status_code} {http.federation_rate_limit.exceeded.name} {http.federation_rate_limit.exceeded.key} {http.federation_rate_limit.exceeded.retry_after} {err.message}"
	}`

// A refusal is answered by the directive, whatever the site does with errors,
// and by the site where the directive leaves it to it.
func TestWhoAnswersARefusal(t *testing.T) {
	port := loopback.FreePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/api/ai-engine/x", port)
	const policy = "policy %s {\n limit 1 1h\n key me\n}\n"
	load(t, limited(port, "", fmt.Sprintf(policy, "own"), handlesErrors))
	if seen, _, body := statuses(t, url, 2); fmt.Sprint(seen) != "[200 429]" || !strings.HasPrefix(body, `{"error":"Too Many Requests"`) {
		t.Errorf("the directive answers %v %s", seen, body)
	}
	load(t, limited(port, "", fmt.Sprintf(policy, "asked")+"on_refusal error", handlesErrors))
	seen, last, body := statuses(t, url, 2)
	if fmt.Sprint(seen) != "[200 429]" || body != `429 asked asked:me 3600 more than 1 in 1h0m0s by the policy "asked": try again in 3600 s` {
		t.Errorf("the site answers %v %s", seen, body)
	}
	for name, want := range map[string]string{"Retry-After": "3600", "Ratelimit": `"asked";r=0;t=3600`, "X-Ratelimit-Remaining": "0", "X-Ratelimit-Limit": "1"} {
		if got := last.Header.Get(name); got != want {
			t.Errorf("%s is %q, expected %q", name, got, want)
		}
	}
	// and a site that handles no errors
	load(t, limited(port, "", fmt.Sprintf(policy, "bare")+"on_refusal error", "respond hello"))
	if seen, last, body := statuses(t, url, 2); fmt.Sprint(seen) != "[200 429]" || body != "" || last.Header.Get("Retry-After") != "3600" {
		t.Errorf("a site without words answers %v %q %v", seen, body, last.Header)
	}
}

// The access log can say what was refused, whoever answers.
func TestTheAccessLogTellsOfRefusals(t *testing.T) {
	for _, mode := range []string{"answer", "error"} {
		port := loopback.FreePort(t)
		log := filepath.Join(t.TempDir(), "access")
		load(t, limited(port, "", "policy logged-"+mode+" {\n limit 1 1h\n key me\n}\non_refusal "+mode,
			"log {\n output file "+log+"\n}\nlog_append refused {http.federation_rate_limit.exceeded.name}\nrespond hello"))
		if seen, _, _ := statuses(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 2); fmt.Sprint(seen) != "[200 429]" {
			t.Errorf("%s: %v", mode, seen)
		}
		var lines []string
		eventually(t, func() bool {
			text, err := os.ReadFile(log)
			lines = strings.Split(strings.TrimSpace(string(text)), "\n")
			return err == nil && len(lines) == 2
		})
		for i, want := range []string{"", "logged-" + mode} {
			var entry struct {
				Refused string
				Status  int
			}
			if err := json.Unmarshal([]byte(lines[i]), &entry); err != nil || entry.Refused != want {
				t.Errorf("%s: line %d says %q, expected %q: %v", mode, i, entry.Refused, want, err)
			}
		}
	}
}

// The old fleet's paths are its own however they are spelled.
func TestARefusalIsCompatibleHoweverThePathIsSpelled(t *testing.T) {
	port := loopback.FreePort(t)
	load(t, limited(port, "", "policy spelled {\n limit 1 1h\n key me\n}", "respond hello"))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	statuses(t, base, 1)
	for path, compatible := range map[string]bool{
		"/api/ai-engine/status": true, "/api//ai-engine/status": true, "/api/./ai-engine/status": true, "/x/../api/ai-engine/": true,
		"/api/ai-engine": true, "/api/ai-engines/": false, "/v1/search": false,
	} {
		request, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if want := map[bool]string{true: "application/json", false: "application/problem+json"}[compatible]; response.StatusCode != 429 || response.Header.Get("Content-Type") != want {
			t.Errorf("%s: status %d, %s, expected %s", path, response.StatusCode, response.Header.Get("Content-Type"), want)
		}
	}
}
