package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// operator is somebody at a shell beside a running Caddy.
type operator struct {
	testing.TB
	address string
}

// operate runs a federation with its admin endpoint on until the test ends.
func operate(t testing.TB, address, block string) operator {
	t.Helper()
	if address == "" {
		address = fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))
	}
	load(t, administered(address, "test", block))
	return operator{t, address}
}

func administered(address, name, block string) string {
	return fmt.Sprintf("{\n\tadmin %s\n\tgrace_period 1s\n\tlog {\n\t\tlevel FATAL\n\t}\n\tfederation %s {\n\t\tstore memory\n\t\t%s\n\t}\n}\n", address, name, block)
}

// ran is how a command went.
type ran struct {
	code        int
	out, errout string
}

// caddy runs `caddy federation …` as a process of its own.
func (o operator) caddy(stdin string, args ...string) ran {
	o.Helper()
	program, err := os.Executable()
	if err != nil {
		o.Fatal(err)
	}
	if o.address != "" {
		args = append(args, "--address", o.address)
	}
	command := exec.CommandContext(o.Context(), program, append([]string{"federation"}, args...)...)
	command.Env = append(os.Environ(), asCaddy+"=1", "TERM=xterm")
	command.Stdin = strings.NewReader(stdin)
	var out, errout bytes.Buffer
	command.Stdout, command.Stderr = &out, &errout
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		o.Fatal(err)
	}
	return ran{command.ProcessState.ExitCode(), out.String(), errout.String()}
}

// expect runs a command and holds its exit code.
func (o operator) expect(code int, stdin string, args ...string) ran {
	o.Helper()
	r := o.caddy(stdin, args...)
	if r.code != code {
		o.Errorf("%v: exit code %d, expected %d\n%s%s", args, r.code, code, r.out, r.errout)
	}
	if strings.Contains(r.out+r.errout, "\x1b") {
		o.Errorf("%v: an escape reached the terminal: %q", args, r.out+r.errout)
	}
	return r
}

var (
	ports  = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	times  = regexp.MustCompile(`\d+(\.\d+)? ms`)
	stamps = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	gaps   = regexp.MustCompile(` {2,}`)
)

// steady takes away what differs from run to run.
func steady(text string) string {
	text = ports.ReplaceAllString(text, "127.0.0.1:PORT")
	text = times.ReplaceAllString(text, "N ms")
	text = stamps.ReplaceAllString(text, "TIME")
	return gaps.ReplaceAllString(text, "  ")
}

func (o operator) golden(r ran, want string) {
	o.Helper()
	if got := steady(r.out); got != want {
		o.Errorf("stdout is\n%s\nexpected\n%s", got, want)
	}
}

func TestTheCommandLooksAfterNodes(t *testing.T) {
	up := node(t, answers(`{"status":"pass"}`))
	down := fmt.Sprintf("http://127.0.0.1:%d", loopback.FreePort(t))
	o := operate(t, "", "node fixed "+up+" {\n dialect gateway\n name \"The fixed one\"\n}")

	r := o.expect(0, "", "nodes", "add", "shop", up, "--name", "Orchard Shop", "--dialect", "gateway", "--weight", "2",
		"--capabilities", "search,actions", "--collections", `plant=App\Models\Plant,plot`, "--timeout", "3s", "--max-response-size", "1MiB", "--metadata", `{"row":7}`)
	if !strings.Contains(r.errout, "Node shop is added.") {
		t.Errorf("stderr %q", r.errout)
	}
	o.expect(0, "", "nodes", "add", "down", down, "--dialect", "gateway")
	o.golden(o.expect(5, "", "nodes", "ping"), `NODE  HEALTH  TOOK  HTTP  DIALECT  VERSION  WHY
down  unhealthy  N ms  -  -  -  the node refused the connection
fixed  healthy  N ms  200  gateway  -  -
shop  healthy  N ms  200  gateway  -  -
`)
	o.expect(6, "", "nodes", "ping", "down")
	o.expect(0, "", "nodes", "ping", "shop", "fixed")
	o.golden(o.expect(0, "", "nodes", "set", "shop", "--weight", "0.5", "--unset", "metadata,timeout", "--keywords", "tree,fruit"), `slug  shop
name  Orchard Shop
id  2
url  http://127.0.0.1:PORT
type  child
admin_state  enabled
health  healthy
available  yes
dialect  gateway
weight  0.5
required  no
capabilities  search, actions
keywords  tree, fruit
collections  plant (App\Models\Plant), plot
in flight  0
source  registry
registered_at  TIME
`)
	o.golden(o.expect(0, "", "nodes", "drain", "shop"), `SLUG  NAME  TYPE  URL  STATE  HEALTH  LATENCY  FROM  WHY
shop  Orchard Shop  child  http://127.0.0.1:PORT  draining  healthy  -  registry  -
`)
	for _, c := range []struct{ word, state string }{{"maintenance", "maintenance"}, {"disable", "disabled"}, {"enable", "enabled"}} {
		if r := o.expect(0, "", "nodes", c.word, "fixed"); !strings.Contains(r.out, c.state) {
			t.Errorf("%s: %s", c.word, r.out)
		}
	}
	var list struct {
		Nodes []struct {
			Slug  string
			State string `json:"admin_state"`
		}
		Count int
	}
	if err := json.Unmarshal([]byte(o.expect(0, "", "nodes", "ls", "-o", "json", "--state", "draining").out), &list); err != nil || list.Count != 1 || list.Nodes[0].Slug != "shop" {
		t.Errorf("%+v, %v", list, err)
	}
	if stats := o.expect(0, "", "stats").out; !strings.Contains(stats, "draining 1, enabled 2") {
		t.Errorf("stats: %s", stats)
	}

	if r := o.expect(4, "", "nodes", "get", "nobody"); !strings.Contains(r.errout, `there is no node "nobody"`) || r.out != "" {
		t.Errorf("%+v", r)
	}
	if r := o.expect(1, "", "nodes", "rm", "fixed"); !strings.Contains(r.errout, "in the Caddyfile") {
		t.Errorf("%+v", r)
	}
	if r := o.expect(1, "", "nodes", "approve", "shop"); !strings.Contains(r.errout, "does not wait for approval") {
		t.Errorf("%+v", r)
	}
	o.expect(5, "", "nodes", "disable", "shop", "nobody")
	o.expect(6, "", "nodes", "disable", "nobody", "nothing")
	o.expect(0, "", "nodes", "rm", "shop", "down")
	o.expect(4, "", "nodes", "get", "shop")
}

func TestWrongUseOfTheCommandIsNamed(t *testing.T) {
	o := operate(t, "", "")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"nodse"}, `unknown command "nodse"`},
		{[]string{"nodes", "list"}, `unknown command "list"`},
		{[]string{"nodes", "get"}, "accepts 1 arg"},
		{[]string{"nodes", "ls", "--colour"}, "unknown flag"},
		{[]string{"nodes", "ls", "-o", "yaml"}, "expected table or json"},
		{[]string{"nodes", "ls", "--request-timeout", "0s"}, "not above 0"},
		{[]string{"nodes", "add", "a b", "http://a.test"}, "a slug is"},
		{[]string{"nodes", "add", "a", "a.test"}, "scheme"},
		{[]string{"nodes", "add", "a", "http://a.test/{env.HOME}"}, "placeholders"},
		{[]string{"nodes", "add", "a", "http://a.test", "--weight", "-1"}, "weight"},
		{[]string{"nodes", "add", "a", "http://a.test", "--type", "cousin"}, "child or master"},
		{[]string{"nodes", "add", "a", "http://a.test", "--metadata", "[]"}, "no JSON object"},
		{[]string{"nodes", "add", "a", "http://a.test", "--max-response-size", "big"}, "not a size"},
		{[]string{"nodes", "add", "a", "http://a.test", "--max-response-size", "900GiB"}, "not a size from 1B to 1GiB"},
		{[]string{"nodes", "add", "a", "http://a.test", "--metadata", `{"x":` + tooDeep + `}`}, "metadata: it nests deeper than 32 levels"},
		{[]string{"nodes", "add", "a", "http://a.test", "--dialect", "klingon"}, "there is no dialect klingon"},
		{[]string{"nodes", "add", "a", "http://a.test", "--budget", "60"}, "no budget"},
		{[]string{"nodes", "set", "a"}, "nothing to change"},
		{[]string{"nodes", "set", "a", "--weight", "1", "--unset", "weight"}, "both set and unset"},
		{[]string{"nodes", "set", "a", "--capabilities", ""}, "--capabilities has an empty entry; --unset capabilities takes"},
		{[]string{"nodes", "set", "a", "--keywords", "x,,y"}, "--keywords has an empty entry"},
		{[]string{"nodes", "set", "a", "--weight", "0"}, "--weight 0 is not above 0; --unset weight takes it back"},
		{[]string{"nodes", "set", "a", "--weight", "NaN"}, "--weight NaN is not above 0"},
		{[]string{"nodes", "set", "a", "--timeout", "0s"}, "--timeout 0s is not above 0; --unset timeout takes it back"},
		{[]string{"nodes", "set", "a", "--max-requests", "0"}, "--max-requests 0 is not above 0; --unset max-requests takes it back"},
		{[]string{"nodes", "set", "a", "--type", ""}, "--type is empty; --unset type takes it back"},
		{[]string{"nodes", "set", "a", "--dialect", " "}, "--dialect is empty"},
		{[]string{"nodes", "set", "a", "--url", "", "--weight", "2"}, "--url is empty"},
		{[]string{"nodes", "add", "a", "http://a.test", "--weight", "0"}, "--weight 0 is not above 0"},
		{[]string{"nodes", "ls", "--adapter", "caddyfile"}, "needs --config"},
		{[]string{"nodes", "ls", "--state", "bogus"}, `there is no "bogus", expected enabled, draining, maintenance, disabled, pending`},
		{[]string{"nodes", "ls", "--type", "cousin"}, `there is no "cousin", expected child, master`},
		{[]string{"nodes", "add", "a", "http://a.test", "--admin-state", "pending"}, "admin_state: expected enabled, draining, maintenance or disabled"},
		{[]string{"nodes", "drain", "a", "--timeout", "1s"}, "and --wait"},
		{[]string{"health", "--wait", "--watch"}, "do not go together"},
		{[]string{"health", "--timeout", "1s"}, "and --wait"},
		{[]string{"health", "--watch", "--interval", "1ms"}, "at least 50ms"},
		{[]string{"breaker", "force", "a"}, "accepts 2 arg"},
		{[]string{"breaker", "force", "a", "ajar"}, `unknown state "ajar", expected open, closed, auto or reset`},
		{[]string{"breaker", "force", "a", "open", "--for", "-1s"}, "not above 0"},
		{[]string{"nodes", "plan", "nowhere.json"}, "no such file"},
		{[]string{"nodes", "plan", "-", "--create-only", "--prune"}, "--create-only and --prune exclude each other"},
		{[]string{"nodes", "apply", "-", "--create-only", "--prune"}, "--create-only and --prune exclude each other"},
		{[]string{"nodes", "plan", "-", "--format", "xml"}, "unknown format"},
		{[]string{"token", "issue"}, "name a node"},
		{[]string{"token", "issue", "a", "--client", "b"}, "name a node"},
		{[]string{"token", "issue", "--client", "b"}, "needs --capabilities"},
		{[]string{"token", "issue", "a", "--capabilities", "search"}, "for a --client"},
		{[]string{"token", "issue", "--client", "b", "--capabilities", "bad cap"}, `"bad cap" is not one word`},
		{[]string{"token", "revoke", "x", "--node", "a"}, "one of"},
		{[]string{"token", "inspect"}, "no token came"},
	} {
		stdin := ""
		if c.args[0] == "nodes" {
			stdin = "[]"
		}
		if r := o.expect(1, stdin, c.args...); !strings.Contains(r.errout, c.want) || r.out != "" {
			t.Errorf("%v: %q and %q, expected %q", c.args, r.errout, r.out, c.want)
		}
	}
	r := o.expect(0, "", "nodes", "ls")
	o.golden(r, "SLUG  NAME  TYPE  URL  STATE  HEALTH  LATENCY  FROM  WHY\n")
}

func TestUnreachableAndSlowEndpoints(t *testing.T) {
	nobody := operator{t, fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))}
	if r := nobody.expect(3, "", "nodes", "ls"); !strings.Contains(r.errout, "is Caddy running") {
		t.Errorf("%s", r.errout)
	}
	nobody.expect(8, "", "health", "--wait", "--request-timeout", "600ms")

	release := make(chan struct{})
	for code, handler := range map[int]http.HandlerFunc{
		8: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			select {
			case <-release:
			case <-r.Context().Done():
			}
		},
		7: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"error":"client is not allowed to access from origin ''"}`)
		},
		6: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"error":"it failed"}`)
		},
		3: http.NotFound, // a Caddy without this module
	} {
		other := operator{t, strings.TrimPrefix(node(t, handler), "http://")}
		other.expect(code, "", "nodes", "ls", "--request-timeout", "2s")
	}
	close(release)

	load(t, fmt.Sprintf("{\n\tadmin 127.0.0.1:%d\n\tlog {\n\t\tlevel FATAL\n\t}\n}\n", loopback.FreePort(t)))
}

// TestAServerThatIsNoCaddyIsNotBelieved, whatever JSON it answers with.
func TestAServerThatIsNoCaddyIsNotBelieved(t *testing.T) {
	other := operator{t, strings.TrimPrefix(node(t, answers(`{"status":"pass","nodes":[],"keys":[],"count":0}`)), "http://")}
	for _, args := range [][]string{
		{"nodes", "ls"}, {"nodes", "get", "x"}, {"nodes", "rm", "x"}, {"nodes", "export"}, {"stats"}, {"health"}, {"token", "ls"}, {"breaker", "ls"}, {"limits", "ls"},
	} {
		if r := other.expect(3, "", args...); !strings.Contains(r.errout, "is the address that of Caddy's admin endpoint") || r.out != "" {
			t.Errorf("%v: %q and %q", args, r.errout, r.out)
		}
	}
}

func TestACaddyWithoutAFederationSaysSo(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))
	load(t, fmt.Sprintf("{\n\tadmin %s\n\tlog {\n\t\tlevel FATAL\n\t}\n}\n", address))
	if r := (operator{t, address}).expect(3, "", "nodes", "ls"); !strings.Contains(r.errout, "no federation runs here") {
		t.Errorf("%s", r.errout)
	}
}

func TestTheEndpointIsFoundAsCaddysOwnCommandsDo(t *testing.T) {
	folder, err := os.MkdirTemp("", "fed") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket := "unix/" + filepath.Join(folder, "admin.sock")
	operate(t, socket, "")
	for _, address := range []string{socket, socket + "|0200"} {
		(operator{t, address}).expect(0, "", "nodes", "ls")
	}
	config := filepath.Join(folder, "Caddyfile")
	if err := os.WriteFile(config, []byte(administered(socket, "test", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	(operator{TB: t}).expect(0, "", "nodes", "ls", "--config", config)
	(operator{TB: t}).expect(0, "", "nodes", "ls", "--federation", "test", "--config", config, "--adapter", "caddyfile")
	if r := (operator{TB: t}).expect(4, "", "nodes", "ls", "--federation", "other", "--config", config); !strings.Contains(r.errout, "those that do: test") {
		t.Errorf("%s", r.errout)
	}
	if err := os.WriteFile(config, []byte("{\n\tadmin off\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	(operator{TB: t}).expect(3, "", "nodes", "ls", "--config", config)
}

func TestHostileNamesReachNoTerminal(t *testing.T) {
	up := node(t, answers(`{"status":"pass","version":"\u001b[2J1\u202e"}`))
	o := operate(t, "", "")
	body, err := json.Marshal(map[string]any{
		"slug": "evil", "url": up, "dialect": map[string]string{"dialect": "gateway"},
		"name": "\x1b]0;owned\x07\u009b31m\u202egnp\nSLUG  fake", "description": "a\x1b[31mb", "keywords": []string{"\x1b[1m"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := o.post("nodes", string(body), nil); status != 201 {
		t.Fatalf("status %d: %s", status, answer)
	}
	for _, args := range [][]string{
		{"nodes", "ls"}, {"nodes", "get", "evil"}, {"nodes", "ping"}, {"nodes", "ls", "-o", "json"}, {"nodes", "export"}, {"stats"},
		{"nodes", "get", "\x1b[2Jevil"},
	} {
		r := o.caddy("", args...)
		for _, bad := range []string{"\x1b", "\x07", "\u009b", "\u202e", "\nSLUG  fake"} {
			if strings.Contains(r.out+r.errout, bad) {
				t.Errorf("%v: %q reached the terminal: %q", args, bad, r.out+r.errout)
			}
		}
	}
	var list struct{ Nodes []struct{ Name string } }
	if err := json.Unmarshal([]byte(o.expect(0, "", "nodes", "ls", "-o", "json").out), &list); err != nil || list.Nodes[0].Name != "\x1b]0;owned\x07\u009b31m\u202egnp\nSLUG  fake" {
		t.Errorf("JSON lost something: %+v, %v", list, err)
	}
}
