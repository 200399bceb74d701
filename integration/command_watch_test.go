package integration

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// begin starts `caddy federation …` as a process of its own, and returns the
// lines that it writes to stdout and to stderr.
func (o operator) begin(args ...string) (command *exec.Cmd, out, errout *bufio.Scanner) {
	o.Helper()
	program, err := os.Executable()
	if err != nil {
		o.Fatal(err)
	}
	command = exec.CommandContext(o.Context(), program, append([]string{"federation", "--address", o.address}, args...)...)
	command.Env = append(os.Environ(), asCaddy+"=1")
	scan := func(pipe func() (r interface{ Read([]byte) (int, error) }, err error)) *bufio.Scanner {
		reader, err := pipe()
		if err != nil {
			o.Fatal(err)
		}
		return bufio.NewScanner(reader)
	}
	out = scan(func() (interface{ Read([]byte) (int, error) }, error) { return command.StdoutPipe() })
	errout = scan(func() (interface{ Read([]byte) (int, error) }, error) { return command.StderrPipe() })
	if err := command.Start(); err != nil {
		o.Fatal(err)
	}
	return command, out, errout
}

// until reads lines up to one that has a text.
func until(t testing.TB, lines *bufio.Scanner, text string) string {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return lines.Text()
		}
	}
	t.Fatalf("the output ended before %q", text)
	return ""
}

func TestHealthIsWatchedUntilInterrupted(t *testing.T) {
	o := operate(t, "", "health off\nnode a http://127.0.0.1:1\nnode b http://127.0.0.1:1")
	for _, format := range []string{"table", "json"} {
		command, out, _ := o.begin("health", "--watch", "--interval", "50ms", "-o", format)
		if line := until(t, out, "pass"); format == "json" && !json.Valid([]byte(line)) {
			t.Errorf("no line of JSON: %s", line)
		}
		o.expect(0, "", "nodes", "drain", "a")
		until(t, out, "1 of 2 nodes are not available")
		o.expect(0, "", "nodes", "enable", "a")
		until(t, out, "pass")
		if err := command.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		for out.Scan() {
			if format == "table" {
				continue
			}
			t.Errorf("one more line without a change: %s", out.Text())
		}
		if err := command.Wait(); err != nil {
			t.Errorf("%s: interrupted, it ended with %v", format, err)
		}
	}
}

func TestDrainingWaitsForCallsThatRun(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	end := sync.OnceFunc(func() { close(release) })
	defer end() // else a test that failed would wait for its node for ever
	busy := node(t, func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-release })
	o := operate(t, "", "health off\nnode busy "+busy+" {\n timeout 2m\n dialect json {\n path /s\n}\n}\nnode idle http://127.0.0.1:1")
	done := make(chan fleet.Call, 1)
	app := fleet.Running("test")
	go func() {
		_, call := app.Search(t.Context(), app.Snapshot().Node("busy"), &fleet.SearchQuery{Text: "x", Limit: 1})
		done <- call
	}()
	<-entered
	if r := o.expect(0, "", "nodes", "drain", "busy", "idle"); !strings.Contains(r.errout, "Node busy has 1 call in flight.") ||
		!strings.Contains(r.errout, "Node idle has 0 calls in flight.") {
		t.Errorf("%q", r.errout)
	}
	if r := o.expect(8, "", "nodes", "drain", "busy", "--wait", "--timeout", "300ms"); !strings.Contains(r.errout, "not drained in 300ms: busy has 1 call in flight") {
		t.Errorf("%q", r.errout)
	}
	command, _, errout := o.begin("nodes", "drain", "busy", "--wait")
	until(t, errout, "Waiting: busy has 1 call in flight.")
	end()
	if err := command.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	<-done
}

func TestBreakersAreListedAndForced(t *testing.T) {
	o := operate(t, "", "health off\nnode a http://127.0.0.1:1\nnode b http://127.0.0.1:1")
	o.golden(o.expect(0, "", "breaker", "ls"), `NODE  STATE  SHARE  SINCE  OPENS  NEXT  FORCED BY  GUARDED  WHY
a  closed  100%  -  0  -  -  0  -
b  closed  100%  -  0  -  -  0  -
`)
	o.golden(o.expect(0, "", "breaker", "force", "a", "open", "--reason", "the disk is replaced", "--for", "10m"), `NODE  STATE  SHARE  SINCE  OPENS  NEXT  FORCED BY  GUARDED  WHY
a  forced_open  0%  TIME  0  trial calls at TIME  operator  0  the disk is replaced
`)
	var list struct {
		Breakers []struct{ Node, State, Reason, Actor string }
		Count    int
	}
	if err := json.Unmarshal([]byte(o.expect(0, "", "breaker", "ls", "-o", "json").out), &list); err != nil || list.Count != 2 ||
		list.Breakers[0].State != "forced_open" || list.Breakers[0].Actor != "operator" || list.Breakers[1].State != "closed" {
		t.Errorf("%+v, %v", list, err)
	}
	if r := o.expect(5, "", "health"); !strings.Contains(r.out, "is not called: open, the disk is replaced") {
		t.Errorf("%s", r.out)
	}
	if r := o.expect(0, "", "nodes", "ls"); !strings.Contains(r.out, "not called: open, the disk is replaced") {
		t.Errorf("%s", r.out)
	}
	if r := o.expect(0, "", "stats"); !strings.Contains(steady(r.out), "by breaker  closed 1, forced_open 1") {
		t.Errorf("%s", r.out)
	}
	o.expect(0, "", "breaker", "force", "a", "reset")
	if r := o.expect(0, "", "breaker", "force", "b", "closed"); !strings.Contains(r.out, "forced_closed") {
		t.Errorf("%s", r.out)
	}
	if r := o.expect(1, "", "breaker", "force", "b", "auto", "--for", "10m"); !strings.Contains(r.errout, "for: auto has no duration") {
		t.Errorf("%s", r.errout)
	}
	if r := o.expect(1, "", "breaker", "force", "b", "open", "--for", "721h"); !strings.Contains(r.errout, "for: expected a duration up to 30d") {
		t.Errorf("%s", r.errout)
	}
	o.expect(4, "", "breaker", "force", "nobody", "open")
}

func TestJobsAreDistributed(t *testing.T) {
	o := operate(t, "", "health off\nnode a http://127.0.0.1:1 {\nweight 2\n}\nnode b http://127.0.0.1:1\nnode c http://127.0.0.1:1 {\nadmin_state draining\n}")
	o.golden(o.expect(0, "", "nodes", "distribute", "10"), `NODE  WEIGHT  COUNT  LEFT OUT
a  2  7  -
b  1  3  -
c  -  0  draining
`)
	var d fleet.Distribution
	nobody := o.expect(6, "", "nodes", "distribute", "10", "--capability", "search", "--capability", "nothing", "-o", "json")
	if nobody.errout != "caddy federation: nothing is shared out: of 3 nodes none that has search and nothing can be called now\n" {
		t.Errorf("stderr %q", nobody.errout)
	}
	if err := json.Unmarshal([]byte(nobody.out), &d); err != nil ||
		d.Count != 0 || len(d.Nodes) != 0 || len(d.LeftOut) != 3 || d.LeftOut[0].Reason != "capability" {
		t.Errorf("%+v, %v", d, err)
	}
	for _, wrong := range []string{"0", "many", "1000000001", "-5", "-50"} {
		if r := o.expect(1, "", "nodes", "distribute", wrong); !strings.HasPrefix(r.errout, "caddy federation: ") || !strings.Contains(r.errout, "count") || !strings.Contains(r.errout, "expected a whole number") {
			t.Errorf("%s: %s", wrong, r.errout)
		}
	}
}

func TestJobsOfAFederationWithoutNodes(t *testing.T) {
	o := operate(t, "", "")
	if r := o.expect(6, "", "nodes", "distribute", "10"); r.errout != "caddy federation: nothing is shared out: the federation has no nodes\n" {
		t.Errorf("stderr %q", r.errout)
	}
	o = operate(t, "", "node a http://127.0.0.1:1 {\nadmin_state disabled\n}")
	if r := o.expect(6, "", "nodes", "distribute", "10"); r.errout != "caddy federation: nothing is shared out: of 1 node none can be called now\n" || steady(r.out) != "NODE  WEIGHT  COUNT  LEFT OUT\na  -  0  disabled\n" {
		t.Errorf("stderr %q, stdout\n%s", r.errout, r.out)
	}
	if r := o.expect(1, "", "nodes", "distribute", "10", "-x"); !strings.Contains(r.errout, "unknown shorthand flag") {
		t.Errorf("stderr %q", r.errout)
	}
}

// TestNobodyIsMadeToWaitForApproval: pending is what a registration makes.
func TestNobodyIsMadeToWaitForApproval(t *testing.T) {
	o := operate(t, "", "node a http://127.0.0.1:1")
	if r := o.expect(1, "", "nodes", "set", "a", "--admin-state", "pending"); !strings.Contains(r.errout, "admin_state: expected enabled") {
		t.Errorf("%s", r.errout)
	}
	_, err := adapt(administered(o.address, "test", "node a http://127.0.0.1:1 {\n admin_state pending\n}"))
	if err == nil || !strings.Contains(err.Error(), "admin_state") {
		t.Errorf("the Caddyfile takes it: %v", err)
	}
}
