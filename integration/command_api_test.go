package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// post sends a request to the admin API as a program would.
func (o operator) post(path, body string, header http.Header) (int, string) {
	o.Helper()
	request, err := http.NewRequestWithContext(o.Context(), http.MethodPost, "http://"+o.address+"/federation/"+path, strings.NewReader(body))
	if err != nil {
		o.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		o.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		o.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// tooDeep nests deeper than metadata may.
var tooDeep = strings.Repeat("[", 32) + strings.Repeat("]", 32)

func TestTheAdminAPIRefusesClearly(t *testing.T) {
	o := operate(t, "", "")
	for _, c := range []struct {
		path, body string
		header     http.Header
		status     int
		want       string
	}{
		{"nodes", `{"slug":"a","url":"http://a.test"}`, http.Header{"Origin": {"https://evil.example"}}, 403, "origin"},
		{"nodes", `{"slug":"a","url":"http://a.test"}`, http.Header{"Sec-Fetch-Mode": {"no-cors"}}, 400, ""},
		{"nodes", `{"slug":"a","colour":"red"}`, nil, 400, "colour: unknown field"},
		{"nodes", `{"slug":7}`, nil, 400, "slug: a number does not fit"},
		{"nodes", `{"slug":"a"} {}`, nil, 400, "more than one"},
		{"nodes", ``, nil, 400, "empty"},
		{"nodes", `{`, nil, 400, "the body is not valid JSON"},
		{"nodes", `{"slug":"` + strings.Repeat("a", 1<<20) + `"}`, nil, 413, "larger than 1 MiB"},
		{"nowhere", `{}`, nil, 404, "there is no call POST /federation/nowhere"},
		{"health", `{}`, nil, 404, "there is no call POST"},
		{"nodes/nobody/drain", ``, nil, 404, "there is no node"},
		{"nodes?federation=other", `{}`, nil, 404, "those that do: test"},
		{"tokens", `{"node":"nobody"}`, nil, 404, "there is no node"},
		{"tokens/inspect", `{}`, nil, 400, "token: required"},
		{"apply", `{"nodes":[{"row":"0","node":{"slug":"a","url":"nowhere"},"set":["url"]}]}`, nil, 409, "invalid"},
		{"apply", `{"nodes":[{"row":"0","node":{"slug":"a","url":"http://{env.HOME}.test"},"set":["url"]}]}`, nil, 409, "invalid"},
		{"nodes", `{"slug":"a","url":"http://a.test","keys":[{"id":"k","algorithm":"HS256","secret":"0123456789abcdef"}]}`, nil, 400, "keys: a registered node cannot have keys of its own"},
		{"apply", `{"nodes":[{"row":"0","node":{"slug":"a","url":"http://a.test","keys":[{"id":"k","algorithm":"HS256"}]},"set":["url"]}]}`, nil, 409, "invalid"},
		{"nodes", `{"slug":"a","url":"http://a.test","max_response_size":966367641600}`, nil, 400, "max_response_size"},
		{"nodes", `{"slug":"a","url":"http://a.test","metadata":{"x":` + tooDeep + `}}`, nil, 400, "metadata: it nests deeper than 32 levels"},
		{"apply", `{"nodes":[{"row":"0","node":{"slug":"a","url":"http://a.test","metadata":{"x":` + tooDeep + `}},"set":["url","metadata"]}]}`, nil, 409, "invalid"},
		{"plan", `{"nodes":[],"prune":true,"create_only":true}`, nil, 400, "create_only and prune exclude each other"},
		{"apply", `{"nodes":[],"prune":true,"create_only":true}`, nil, 400, "create_only and prune exclude each other"},
		{"keys", `{"name":"client","capabilities":["bad cap"]}`, nil, 400, `capabilities: \"bad cap\" is not one word`},
	} {
		status, answer := o.post(c.path, c.body, c.header)
		if status != c.status || !strings.Contains(answer, c.want) || !strings.Contains(answer, `"error"`) {
			t.Errorf("POST %s %.60s: %d %s, expected %d %q", c.path, c.body, status, answer, c.status, c.want)
		}
	}
	if r := o.expect(0, "", "nodes", "ls", "-o", "json"); !strings.Contains(r.out, `"count": 0`) {
		t.Errorf("something was written: %s", r.out)
	}
}

func TestHealthOfAFederation(t *testing.T) {
	up := node(t, answers(`{"status":"pass"}`))
	o := operate(t, "", "node a "+up+" {\n dialect gateway\n}\nnode b "+up+" {\n dialect gateway\n}")
	o.expect(0, "", "nodes", "ping")
	o.golden(o.expect(0, "", "health"), `CHECK  STATUS  VALUE  WHY
federation test  pass  -  -
gateways:count  pass  1 gateways  -
nodes:available  pass  2 nodes  -
store  pass  -  -
`)
	o.expect(0, "", "health", "--wait")
	o.expect(0, "", "nodes", "drain", "a")
	if r := o.expect(5, "", "health"); !strings.Contains(r.out, "1 of 2 nodes are not available") {
		t.Errorf("%s", r.out)
	}
	o.expect(0, "", "nodes", "disable", "b")
	if r := o.expect(6, "", "health", "-o", "json"); !strings.Contains(r.out, `"output": "no node is available"`) {
		t.Errorf("%s", r.out)
	}
	o.expect(8, "", "health", "--wait", "--request-timeout", "900ms")
	if r := o.expect(8, "", "health", "--wait", "--timeout", "300ms"); !strings.Contains(r.errout, "in 300ms: no node is available") {
		t.Errorf("%q", r.errout)
	}
	o.expect(0, "", "nodes", "enable", "b")
	o.expect(0, "", "health", "--wait") // with a warning: traffic may come
}

func TestTheAdminAPISurvivesAFailedReload(t *testing.T) {
	o := operate(t, "", "node a http://127.0.0.1:1")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	broken := administered(o.address, "test", "node b http://127.0.0.1:1") +
		fmt.Sprintf("http://127.0.0.1:%d {\n\tfederation_search\n}\n", busy.Addr().(*net.TCPAddr).Port)
	adapted, err := adapt(broken)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err == nil {
		t.Fatal("the broken config was loaded")
	}
	if r := o.expect(0, "", "nodes", "ls"); !strings.Contains(r.out, "\na ") {
		t.Errorf("%s", r.out)
	}
	adapted, err = adapt(administered(o.address, "test", "node c http://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return strings.Contains(o.caddy("", "nodes", "ls").out, "\nc ") })
}
