package integration

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

const alertSecret = "a secret of the receiver"

// told is one attempt that reached the receiver.
type told struct {
	key, signature string
	alerts         string // "+node_down/shop" for a beginning, "-" for an end
}

// alertReceiver is the other end of a webhook. It holds every signature.
type alertReceiver struct {
	testing.TB
	url string

	mu     sync.Mutex
	status []int // of the next answers; then 204
	told   []told
}

func receiveAlerts(t testing.TB) *alertReceiver {
	r := &alertReceiver{TB: t}
	r.url = node(t, func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		mac := hmac.New(sha256.New, []byte(alertSecret))
		mac.Write([]byte(request.Header.Get("X-Federation-Timestamp") + "." + string(body)))
		signature := request.Header.Get("X-Federation-Signature")
		if signature != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
			t.Errorf("signature %q does not fit %s", signature, body)
		}
		var message struct {
			Federation string
			Alerts     []struct{ Key, Status string }
		}
		if err := json.Unmarshal(body, &message); err != nil || message.Federation != "test" {
			t.Errorf("%s: %v", body, err)
		}
		var words []string
		for _, a := range message.Alerts {
			words = append(words, map[string]string{"firing": "+", "resolved": "-"}[a.Status]+a.Key)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		status := http.StatusNoContent
		if len(r.status) > 0 {
			status, r.status = r.status[0], r.status[1:]
		}
		r.told = append(r.told, told{request.Header.Get("Idempotency-Key"), signature, strings.Join(words, " ")})
		w.WriteHeader(status)
	})
	return r
}

func (r *alertReceiver) answer(status ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *alertReceiver) all() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

// within waits for much longer than the second that alerts are grouped for.
func within(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// expect waits for the n-th attempt and holds what it told.
func (r *alertReceiver) expect(n int, alerts string) told {
	r.Helper()
	within(r, time.Minute, alerts, func() bool { return len(r.all()) >= n })
	all := r.all()
	if all[n-1].alerts != alerts {
		r.Fatalf("attempt %d told %q, expected %q", n, all[n-1].alerts, alerts)
	}
	return all[n-1]
}

// TestAnAlertArrivesOnce: over a receiver that fails, a restart while it waits,
// and a node that comes back.
func TestAnAlertArrivesOnce(t *testing.T) {
	r := receiveAlerts(t)
	var mu sync.Mutex
	up := true
	set := func(to bool) {
		mu.Lock()
		defer mu.Unlock()
		up = to
	}
	shop := node(t, func(w http.ResponseWriter, request *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !up {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		answers(`{"status":"pass"}`)(w, request)
	})
	port, file := loopback.FreePort(t), filepath.Join(t.TempDir(), "alerts.db")
	text := strings.Replace(strings.Replace(federation(port, fmt.Sprintf(`
		node shop %s {
			dialect gateway
		}
		health {
			interval 200ms
			fast 100ms
			down 200ms
		}
		breaker off
		alert group 1s
		alert webhook %s/?token=hunter2 {
			secret %q
		}`, shop, r.url, alertSecret), ""), "store memory", "store bolt "+file, 1), "\tfederation_search", "\tfederation_nodes\n\tfederation_search", 1)
	load(t, text)
	app := func() *fleet.App { return fleet.Running("test") }
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	healthy := func() bool { return app().Snapshot().Node("shop").Health().State == fleet.HealthHealthy }
	within(t, time.Minute, "the node is healthy", healthy)

	r.answer(slices.Repeat([]int{503}, 1000)...)
	set(false)
	first := r.expect(1, "+node_down/shop")
	second := r.expect(2, "+node_down/shop")
	if first.key == "" || second.key != first.key {
		t.Errorf("keys are %q and %q", first.key, second.key)
	}
	if second.signature == first.signature {
		t.Error("the signature is not of the attempt")
	}
	within(t, 30*time.Second, "health says that alerts do not arrive", func() bool { // when the answer has reached the gateway
		health := g.call("GET", "/v1/health", "")
		if strings.Contains(health.raw, "hunter2") {
			t.Fatalf("health is %d %s", health.status, health.raw)
		}
		return health.text("status") != "pass" && strings.Contains(health.raw, "alerts do not arrive: the webhook answered HTTP 503")
	})

	// it waits while the gateway ends and another one begins
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	before := len(r.all())
	r.answer()
	load(t, text)
	if again := r.expect(before+1, "+node_down/shop"); again.key != first.key {
		t.Error("after a restart it has another key")
	}
	set(true)
	if resolved := r.expect(before+2, "-node_down/shop"); resolved.key == first.key { // with nothing in between
		t.Error("another message has the same key")
	}
	within(t, time.Minute, "nothing waits", func() bool { s := app().AlertStatus(); return s.Pending == 0 && s.Delivered == 2 && s.Firing == 0 })
}

// TestTwoGatewaysTellOnce: two processes on one Redis that both see a node go down.
func TestTwoGatewaysTellOnce(t *testing.T) {
	server := redistest.Start(t)
	r := receiveAlerts(t)
	address := fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))
	var processes []*exec.Cmd
	for i := range 2 {
		process := another(t, fmt.Sprintf(`{
	admin off
	log {
		level ERROR
	}
	federation test {
		store redis %s {
			timeout 500ms
		}
		node shop %s {
			dialect gateway
		}
		health {
			interval 200ms
			fast 100ms
			down 200ms
		}
		breaker off
		alert group 1s
		alert webhook %s {
			secret %q
		}
	}
}
`, server.URL(), "http://"+address, r.url, alertSecret))
		processes = append(processes, process)
		t.Logf("gateway %d is process %d", i, process.Process.Pid)
	}
	r.expect(1, "+node_down/shop")
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	shop := &http.Server{Handler: answers(`{"status":"pass"}`)}
	go func() { _ = shop.Serve(listener) }()
	defer shop.Close()
	// a second later or more, so that nothing can have come in between
	r.expect(2, "-node_down/shop")
	for _, process := range processes {
		if err := process.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = process.Wait() // Caddy's own exit code for a signal
	}
}

// TestTheLossOfRedisIsTold: by the gateway that lost it, and once; what was
// firing is put back into a server that comes back empty.
func TestTheLossOfRedisIsTold(t *testing.T) {
	server := redistest.Start(t)
	r := receiveAlerts(t)
	port := loopback.FreePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))
	load(t, strings.Replace(federation(port, fmt.Sprintf(`
		node shop http://%s {
			dialect gateway
		}
		health {
			interval 200ms
			fast 100ms
			down 200ms
		}
		breaker off
		alert group 1s
		alert webhook %s {
			secret %q
		}`, address, r.url, alertSecret), ""), "store memory", "store redis "+server.URL()+" {\n timeout 500ms\n}", 1))
	app := fleet.Running("test")
	gateway := app.Members().Self
	r.expect(1, "+node_down/shop")
	server.Kill()
	r.expect(2, "+store_down/"+gateway)
	server.Restart() // empty
	r.expect(3, "-store_down/"+gateway)
	within(t, time.Minute, "the alerts are put back", func() bool {
		state, err := app.Store().Alerts().State(t.Context())
		return err == nil && strings.Contains(string(state.Data), "node_down/shop")
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	shop := &http.Server{Handler: answers(`{"status":"pass"}`)}
	go func() { _ = shop.Serve(listener) }()
	defer shop.Close()
	r.expect(4, "-node_down/shop") // and nothing in between
}

// TestTheCommandSendsATestAlert: what it prints, and its exit code.
func TestTheCommandSendsATestAlert(t *testing.T) {
	r := receiveAlerts(t)
	refuses := node(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	o := operate(t, "", fmt.Sprintf("alert webhook %s/?token=hunter2 {\n secret %q\n on node_up\n}\nalert webhook %s/hunter2 {\n format slack\n}", r.url, alertSecret, refuses))
	o.golden(o.expect(5, "", "test-alert"), `WEBHOOK  AT  FORMAT  HTTP  TOOK  ERROR
1  http://127.0.0.1:PORT  json  204  N ms  -
2  http://127.0.0.1:PORT  slack  403  N ms  the webhook answered HTTP 403
`)
	o.golden(o.expect(0, "", "test-alert", "--webhook", "1"), `WEBHOOK  AT  FORMAT  HTTP  TOOK  ERROR
1  http://127.0.0.1:PORT  json  204  N ms  -
`)
	if all := r.all(); len(all) != 2 || !strings.HasPrefix(all[0].alerts, "+test/") || all[0].key == all[1].key {
		t.Errorf("%v arrived", all)
	}
	asJSON := o.expect(6, "", "test-alert", "--webhook", "2", "-o", "json").out
	if !strings.Contains(asJSON, `"http_status": 403`) || strings.Contains(asJSON, "hunter2") {
		t.Errorf("JSON is %s", asJSON)
	}
	if refused := o.expect(1, "", "test-alert", "--webhook", "3"); !strings.Contains(refused.errout, "there is no webhook 3, expected 1 to 2") {
		t.Errorf("stderr %q", refused.errout)
	}
	o.expect(1, "", "test-alert", "--webhook", "-1")
	if stats := o.expect(0, "", "stats").out; !strings.Contains(stats, "0 firing, 0 pending, 0 delivered, 0 failed") {
		t.Errorf("stats: %s", stats)
	}
	if health := o.expect(0, "", "health").out; !strings.Contains(health, "alerts:deliveries") {
		t.Errorf("health: %s", health)
	}
}
