package faults

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// declaration finds a row of the table in docs/stores.md that says with what
// status each request may be answered while the store cannot be used.
var declaration = regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]*)`[^|]*\\| ([0-9, ]+) \\|")

// declared reads the table.
func declared(t testing.TB) map[string][]int {
	t.Helper()
	text, err := os.ReadFile("../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]int)
	for _, row := range declaration.FindAllStringSubmatch(string(text), -1) {
		for word := range strings.SplitSeq(row[2], ",") {
			status, err := strconv.Atoi(strings.TrimSpace(word))
			if err != nil {
				t.Fatalf("docs/stores.md: %s: %v", row[1], err)
			}
			found[row[1]] = append(found[row[1]], status)
		}
	}
	return found
}

// load are callers that send every kind of request, one after the other each,
// until it is stopped.
type load struct {
	*gateway
	allowed map[string][]int
	cancel  func()
	running sync.WaitGroup

	mu    sync.Mutex
	seen  map[string]map[int]int // answers, by request and status
	wrong map[string]string      // the first undeclared answer to each
	since map[string]int         // answers since mark
}

// pace is the time between two requests of a caller.
const pace = 20 * time.Millisecond

func (g *gateway) startLoad(guest *node) *load {
	l := &load{gateway: g, allowed: declared(g), seen: make(map[string]map[int]int), wrong: make(map[string]string), since: make(map[string]int)}
	stop := make(chan struct{})
	l.cancel = sync.OnceFunc(func() { close(stop); l.running.Wait() })
	g.Cleanup(l.cancel)
	caller := func(name string, ask func(i int) (int, string, error)) {
		l.running.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(pace):
				}
				status, raw, err := ask(i)
				l.note(name, status, raw, err)
			}
		})
	}
	simple := func(method, path, body string, headers ...string) {
		caller(method+" "+path, func(i int) (int, string, error) {
			r, err := g.call(method, path, body, append(headers, "K", fmt.Sprint(i%50))...)
			return r.status, r.raw, err
		})
	}
	bearer := []string{"Authorization", "Bearer " + guest.access}
	simple("POST", "/v1/search", `{"query":"tea"}`, bearer...)
	simple("GET", "/v1/nodes", "", bearer...)
	simple("GET", "/v1/health", "")
	simple("GET", "/v1/health/ready", "")
	simple("GET", "/proxied", "")
	simple("GET", "/limited", "")
	simple("GET", "/closed", "")
	simple("POST", "/v1/tokens/revoke", `{"token":"nobody's"}`)
	caller("POST /v1/nodes", func(int) (int, string, error) { // a name that somebody has
		r, err := g.call("POST", "/v1/nodes", fmt.Sprintf(`{"name":%q,"url":%q}`, "one", "http://127.0.0.1:2"), "X-Enrollment-Secret", enrollSecret)
		return r.status, r.raw, err
	})
	caller("PATCH /v1/nodes/{slug}", func(i int) (int, string, error) {
		r, err := g.call("PATCH", "/v1/nodes/"+guest.slug, fmt.Sprintf(`{"description":"%d"}`, i), bearer...)
		return r.status, r.raw, err
	})
	refresh := guest.refresh
	caller("POST /v1/tokens/refresh", func(int) (int, string, error) {
		r, err := g.call("POST", "/v1/tokens/refresh", fmt.Sprintf(`{"refresh_token":%q}`, refresh))
		if r.status == http.StatusOK {
			refresh = r.text("refresh_token")
		}
		return r.status, r.raw, err
	})
	return l
}

func (l *load) note(name string, status int, raw string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[name] == nil {
		l.seen[name] = make(map[int]int)
	}
	l.seen[name][status]++
	l.since[name]++
	if l.wrong[name] == "" && (err != nil || !slices.Contains(l.allowed[name], status)) {
		l.wrong[name] = fmt.Sprintf("status %d, %v: %.300s", status, err, raw)
	}
}

// each waits until every caller had n more answers.
func (l *load) each(n int) {
	l.Helper()
	l.mu.Lock()
	clear(l.since)
	l.mu.Unlock()
	eventually(l, fmt.Sprintf("every caller has %d answers", n), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		least := n
		for name := range l.allowed {
			least = min(least, l.since[name])
		}
		return least >= n
	})
}

// end stops the load and fails the test for what was not declared.
func (l *load) end() {
	l.Helper()
	l.cancel()
	for _, name := range slices.Sorted(maps.Keys(l.seen)) {
		l.Logf("%-24s %v", name, l.seen[name])
		if l.wrong[name] != "" {
			l.Errorf("%s: an answer is not declared in docs/stores.md: %s", name, l.wrong[name])
		}
	}
	for name := range l.allowed {
		if l.seen[name] == nil {
			l.Errorf("%s is declared in docs/stores.md and not tried", name)
		}
	}
}

// patience is how long anything may take here, on a machine that is busy.
const patience = 60 * time.Second

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
