package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// loggedSite runs a Caddyfile's site with an access log and an error log of all
// levels, and returns where it listens and their lines so far by logger.
func loggedSite(t *testing.T, block, site string) (gateway, func() map[string][]map[string]any) {
	t.Helper()
	folder, err := os.MkdirTemp(os.Getenv("HOME"), "logged-site")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) }) // not t.TempDir: a connection that was taken over is logged late
	port := loopback.FreePort(t)
	load(t, fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level DEBUG
		output file %[1]s/default.log
		exclude http.handlers.reverse_proxy
	}
	federation test {
		store memory
		key main hs256 %[2]s
		enrollment secret %[3]q
		node_urls 127.0.0.0/8
		%[4]s
	}
}
http://127.0.0.1:%[5]d {
	log {
		output file %[1]s/access.log
	}
	log second {
		output file %[1]s/second.log
	}
	%[6]s
}
`, folder, fleetSecret, enrollSecret, block, port, site))
	return gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}, func() map[string][]map[string]any {
		lines := make(map[string][]map[string]any)
		for _, name := range []string{"default.log", "access.log", "second.log"} {
			text, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if what := leaked(string(text)); what != "" {
				t.Errorf("%s holds %s:\n%s", name, what, text)
			}
			for line := range strings.Lines(string(text)) {
				var fields map[string]any
				if err := json.Unmarshal([]byte(line), &fields); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				logger, _ := fields["logger"].(string)
				lines[logger] = append(lines[logger], fields)
			}
		}
		return lines
	}
}

// forgetful follows no redirect, and nobody reads its answers along: they may
// hold what was sent.
var forgetful = &http.Client{
	Transport:     http.DefaultTransport,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send sends a request with headers and forgets the answer.
func (g gateway) send(method, path, body string, headers ...string) int {
	g.Helper()
	request, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := forgetful.Do(request)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// waitForLines waits until a logger has so many lines: the server writes them
// after the answer.
func waitForLines(t *testing.T, lines func() map[string][]map[string]any, logger string, count int) []map[string]any {
	t.Helper()
	var found []map[string]any
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if found = lines()[logger]; len(found) >= count {
			break
		}
	}
	if len(found) != count {
		t.Fatalf("%s has %d lines, expected %d: %v", logger, len(found), count, found)
	}
	return found
}

const someKey = "a-key-that-nobody-may-read-in-a-log"

// TestNoLogHoldsACredential sends credentials in all places that we and the old
// fleet read them from, through the site directive and through handlers alone.
func TestNoLogHoldsACredential(t *testing.T) {
	secretTexts = append(slices.Clip(secretTexts), someKey)
	down := fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))
	for name, c := range map[string]struct {
		site   string
		status []int // of those requests, in turn
	}{
		"the site directive":    {"federation\nreverse_proxy " + down, []int{401, 401, 400, 401, 400, 401, 502}},
		"with a prefix":         {"federation /fleet/*\nreverse_proxy " + down, []int{502, 502, 502, 502, 502, 502, 502}},
		"handlers of their own": {"federation_auth {\ncompat laravel\napi_key_header X-Private\n}\nfederation_nodes {\ncompat laravel\n}\nreverse_proxy " + down, nil},
		"redaction alone":       {"federation_redact x-private\nreverse_proxy " + down, []int{502, 502, 502, 502, 502, 502, 502}},
	} {
		t.Run(name, func(t *testing.T) {
			g, lines := loggedSite(t, "", c.site)
			private := "X-Api-Key"
			if strings.Contains(strings.ToLower(c.site), "x-private") {
				private = "X-Private"
			}
			requests := [][]string{
				{"GET", "/v1/nodes/shop", "X-Node-Token", someKey},
				{"GET", "/api/ai-engine/status", "X-Api-Key", someKey},
				{"POST", "/v1/nodes", "X-Enrollment-Secret", someKey},
				{"POST", "/api/ai-engine/chat", "X-User-Token", someKey},
				{"GET", "/v1/nodes?a=1&api_key=" + someKey + ";access%5Ftoken=" + someKey + "&b=%zz&api_key[]=" + someKey},
				{"GET", "/v1/stats", private, someKey, "Authorization", "Bearer " + someKey, "Cookie", "c=" + someKey},
				{"GET", "/elsewhere", "X-Node-Token", someKey},
			}
			for i, r := range requests {
				if status := g.send(r[0], r[1], "body", r[2:]...); c.status != nil && status != c.status[i] {
					t.Errorf("%v is answered %d, expected %d", r[:2], status, c.status[i])
				}
			}
			for _, logger := range []string{"http.log.access.log0", "http.log.access.second"} {
				written := make(map[string]map[string]any) // they come in any order
				for _, line := range waitForLines(t, lines, logger, len(requests)) {
					written[line["request"].(map[string]any)["uri"].(string)] = line
				}
				for i := range requests {
					uri := requests[i][1]
					if strings.Contains(uri, "?") {
						uri = "/v1/nodes?a=1&api_key=REDACTED;access%5Ftoken=REDACTED&b=%zz&api_key[]=REDACTED"
					}
					line := written[uri]
					if line == nil {
						t.Errorf("request %d is not logged as %s: %v", i, uri, written)
						continue
					}
					request := line["request"].(map[string]any)
					if len(requests[i]) > 2 {
						if shown := request["headers"].(map[string]any)[requests[i][2]]; fmt.Sprint(shown) != "[REDACTED]" {
							t.Errorf("request %d shows %v", i, shown)
						}
					}
					if c.status != nil && line["status"] != float64(c.status[i]) {
						t.Errorf("request %d is logged with %v", i, line["status"])
					}
				}
			}
			if c.status != nil {
				failed := 0
				for _, status := range c.status {
					if status == 502 {
						failed++
					}
				}
				for _, line := range waitForLines(t, lines, "http.log.error.log0", failed) {
					if line["level"] != "error" || line["status"] != 502. || line["err_id"] == "" || line["duration"] == nil || line["request"] == nil {
						t.Errorf("the error is logged as %v", line)
					}
				}
			}
		})
	}
}

var errorID = regexp.MustCompile(`(\{id=|"err_id":")\w+`)

// TestRedactedLinesAreCaddysOwn compares the lines of requests that differ in the
// name of a header alone.
func TestRedactedLinesAreCaddysOwn(t *testing.T) {
	upstream := strings.TrimPrefix(node(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/broken":
			w.Header().Set("Content-Length", "1000")
			_, _ = fmt.Fprint(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/down":
			w.WriteHeader(503)
		}
		_, _ = fmt.Fprint(w, "answer to ", r.URL.Path, r.Header.Get("X-Fine-Token"), r.Header.Get("X-Node-Token"))
	}), "http://")
	down := fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))
	g, lines := loggedSite(t, "", `
	federation_redact
	log_append site the-site
	log_append <early 5
	log_skip /skipped
	log_name /named second
	@quiet path /quiet
	log_level @quiet DEBUG
	route {
		vars who me
		log_append who {vars.who}
		respond /respond "text" 201
		error /teapot "no coffee" 418
		error /failure "out of order" 500
		error /handled "cannot" 409
		handle_path /stripped/* {
			request_header -X-Other
			reverse_proxy `+upstream+`
		}
		reverse_proxy /dead `+down+`
		handle /late/* {
			log_skip
			respond "late"
		}
		@up path /up /down /broken /quiet /skipped /named
		reverse_proxy @up `+upstream+`
	}
	handle_errors 409 {
		respond "handled {err.status_code} {err.message} {path}" 410
	}
	handle_errors 500 {
		error "again" 500
	}`)
	type request struct{ method, path, body string }
	requests := []request{
		{"GET", "/respond", ""}, {"GET", "/teapot", ""}, {"GET", "/failure?x=1", ""}, {"POST", "/handled", "a body"}, {"GET", "/dead", ""},
		{"POST", "/stripped/up", strings.Repeat("long", 1000)}, {"GET", "/up", ""}, {"GET", "/down", ""}, {"GET", "/broken", ""}, {"GET", "/quiet", ""},
		{"GET", "/skipped", ""}, {"GET", "/late/x", ""}, {"GET", "/named", ""}, {"GET", "/nothing", ""},
	}
	for _, r := range requests {
		plain, guarded := g.send(r.method, r.path, r.body, "X-Fine-Token", "REDACTED"), g.send(r.method, r.path, r.body, "X-Node-Token", "REDACTED")
		if plain != guarded {
			t.Errorf("%s is answered %d without and %d with a credential", r.path, plain, guarded)
		}
	}
	same := func(line map[string]any) string {
		line = maps.Clone(line)
		for _, name := range []string{"ts", "duration"} {
			if _, ok := line[name]; ok {
				line[name] = "any"
			}
		}
		request := line["request"].(map[string]any)
		request["remote_port"] = "any"
		headers := request["headers"].(map[string]any)
		if value, ok := headers["X-Node-Token"]; ok {
			headers["X-Fine-Token"] = value
			delete(headers, "X-Node-Token")
		}
		if headers, ok := line["resp_headers"].(map[string]any); ok {
			delete(headers, "Date")
		}
		text, _ := json.Marshal(line)
		return errorID.ReplaceAllString(string(text), "$1 any")
	}
	for logger, count := range map[string]int{"http.log.access.log0": 10, "http.log.access.second": 11, "http.log.error.log0": 4, "http.log.error.second": 4} {
		// by URI: a request that is broken off is logged later than it is answered
		written := make(map[string][]string)
		for _, line := range waitForLines(t, lines, logger, 2*count) {
			uri := line["request"].(map[string]any)["uri"].(string)
			written[uri] = append(written[uri], same(line))
		}
		for uri, lines := range written {
			if uri == "/failure?x=1" && strings.HasPrefix(logger, "http.log.error") {
				continue // an error of the error routes comes after what the guard sees
			}
			if len(lines) != 2 || lines[0] != lines[1] {
				t.Errorf("%s: the lines of %s differ:\n%s", logger, uri, strings.Join(lines, "\n"))
			}
		}
	}
}

// TestRedactionPassesConnectionsOn: what takes over the connection is not in its way.
func TestRedactionPassesConnectionsOn(t *testing.T) {
	upstream := strings.TrimPrefix(node(t, passing(t)), "http://")
	g, _ := loggedSite(t, "", "federation_redact\nreverse_proxy "+upstream)
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprint(conn, "GET /socket HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	buffer := make([]byte, 12)
	if _, err := conn.Read(buffer); err != nil || string(buffer) != "HTTP/1.1 101" {
		t.Errorf("answered %s, %v", buffer, err)
	}
}

// TestNoLogHoldsACredentialThatMoved: into the answer, out of the request, or
// into a header that only an inner guard knows of.
func TestNoLogHoldsACredentialThatMoved(t *testing.T) {
	secretTexts = append(slices.Clip(secretTexts), someKey)
	g, lines := loggedSite(t, "", `
	header +X-User-Token "{header.X-User-Token}"
	log_append <query {query}
	log_append <uri {uri}
	redir /away https://other.example{uri}
	uri /stripped query -api_key
	rewrite /rewritten /static?x=1
	route /outer/* {
		federation_redact
		federation_auth {
			api_key_header X-Partner-Key
			optional
		}
		respond "partner"
	}
	route /other/* {
		federation_nodes
		respond "other"
	}
	federation_redact /away*
	federation_auth {
		optional
	}
	respond "hi"`)
	for _, r := range [][]string{
		{"/away?api_key=" + someKey},
		{"/stripped?api_key=" + someKey},
		{"/rewritten?access_token=" + someKey},
		{"/outer/a", "X-User-Token", someKey, "X-Partner-Key", someKey},
		{"/other/a?refresh_token=" + someKey, "X-API-Key", someKey},
		{"/plain", "X-API-Key", someKey, "Referer", "http://127.0.0.1/?a=b&access_token=" + someKey},
	} {
		g.send("GET", r[0], "", r[1:]...)
	}
	for _, line := range waitForLines(t, lines, "http.log.access.log0", 6) {
		if line["status"] == 0. {
			t.Errorf("logged without a status: %v", line)
		}
	}
}
