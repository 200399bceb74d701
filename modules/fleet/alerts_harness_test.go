package fleet

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

// posted is one attempt as a receiver sees it.
type posted struct {
	at     time.Time
	host   string
	header http.Header
	body   []byte
}

// receiver is the other end of all webhooks.
type receiver struct {
	mu       sync.Mutex
	attempts []posted
	answer   func(p posted, n int) (*http.Response, error)
}

// RoundTrip implements [http.RoundTripper].
func (r *receiver) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	p := posted{time.Now(), request.URL.Host, request.Header, body}
	r.mu.Lock()
	r.attempts = append(r.attempts, p)
	n, answer := len(r.attempts), r.answer
	r.mu.Unlock()
	if answer == nil {
		return answered(204), nil
	}
	response, err := answer(p, n)
	if response == nil && err == nil { // it hangs
		<-request.Context().Done()
		err = request.Context().Err()
	}
	return response, err
}

func answered(status int, header ...string) *http.Response {
	r := &http.Response{StatusCode: status, Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(nil))}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (r *receiver) all() []posted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.attempts)
}

// of returns what reached a host: "+node_down/a" for a beginning, "-" for an
// end, one text per attempt.
func (r *receiver) of(host string) (told []string) {
	for _, p := range r.all() {
		if p.host != host {
			continue
		}
		var message struct {
			Alerts []struct{ Key, Status string }
		}
		if err := json.Unmarshal(p.body, &message); err != nil {
			told = append(told, err.Error())
			continue
		}
		var words []string
		for _, a := range message.Alerts {
			words = append(words, map[string]string{"firing": "+", "resolved": "-"}[a.Status]+a.Key)
		}
		told = append(told, strings.Join(words, " "))
	}
	return told
}

func (r *receiver) expect(t *testing.T, host string, expected ...string) {
	t.Helper()
	if got := r.of(host); !slices.Equal(got, expected) {
		t.Fatalf("%s was told %q, expected %q", host, got, expected)
	}
}

// losable is a store that gateways share and that can be lost.
type losable struct {
	store.Store
	lost  atomic.Bool
	own   bool                        // nobody shares it
	other atomic.Pointer[store.Store] // that came back in its place
	read  atomic.Int64                // how often all of the alerts' state was
}

func (l *losable) now() store.Store {
	if other := l.other.Load(); other != nil {
		return *other
	}
	return l.Store
}

func (l *losable) Shared() bool { return !l.own }

func (l *losable) fault() error {
	if l.lost.Load() {
		return fmt.Errorf("%w: somebody pulled the plug", store.ErrUnavailable)
	}
	return nil
}

func (l *losable) Events() store.Events { return losableEvents{l.now().Events(), l} }
func (l *losable) Alerts() store.Alerts { return losableAlerts{l.now().Alerts(), l} }

type losableEvents struct {
	store.Events
	l *losable
}

func (e losableEvents) Append(ctx context.Context, event store.Event) (store.Event, error) {
	if err := e.l.fault(); err != nil {
		return store.Event{}, err
	}
	return e.l.now().Events().Append(ctx, event) // it may be another one by now
}

type losableAlerts struct {
	store.Alerts
	l *losable
}

func (a losableAlerts) State(ctx context.Context) (store.AlertState, error) {
	a.l.read.Add(1)
	return a.Alerts.State(ctx)
}

func (a losableAlerts) Claim(ctx context.Context, webhook string, ttl time.Duration) (store.Delivery, error) {
	if err := a.l.fault(); err != nil {
		return store.Delivery{}, err
	}
	return a.l.now().Alerts().Claim(ctx, webhook, ttl)
}

func (a losableAlerts) Finish(ctx context.Context, d store.Delivery) error {
	if err := a.l.fault(); err != nil {
		return err
	}
	return a.l.now().Alerts().Finish(ctx, d)
}

// alertRoom is a store, a receiver, and the gateways between them.
type alertRoom struct {
	*testing.T
	store    *losable
	receiver *receiver
	said     *observer.ObservedLogs
	logger   *zap.Logger
	health   Health // of the nodes a, b, c and shop of a gateway to come
	group    time.Duration

	mu      sync.Mutex
	running []*App
	hosts   map[string]string // by gateway id; default: one for all
}

func newAlertRoom(t *testing.T) *alertRoom {
	s, err := memory.New(time.Now, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	core, said := observer.New(zap.InfoLevel)
	return &alertRoom{
		T: t, store: &losable{Store: s}, receiver: new(receiver), said: said, logger: zap.New(core), health: HealthUnknown, hosts: make(map[string]string),
	}
}

// gateway begins one with what is pooled of an earlier config, or nil.
func (r *alertRoom) gateway(of *shared, webhooks ...AlertWebhook) (a *App, stop func()) {
	r.Helper()
	if of == nil {
		of = &shared{circuits: newCircuits(true), events: newEventQueue(), alerting: newAlerting()}
	}
	a = &App{Name: "f", logger: r.logger, shared: of, raised: newEventQueue(), started: make(chan struct{}), AlertWebhooks: webhooks, AlertGroup: caddy.Duration(r.group)}
	a.registry = &registry{app: a}
	snapshot := &Snapshot{bySlug: make(map[string]*Node)}
	for _, slug := range []string{"a", "b", "c", "shop"} {
		node := NewNode(slug)
		node.AdminState = AdminEnabled
		node.gate.member.health.status.Store(&HealthStatus{State: r.health, Since: time.Now()})
		snapshot.Nodes, snapshot.bySlug[slug] = append(snapshot.Nodes, node), node
	}
	a.registry.current.Store(snapshot)
	a.prober = newProber(a)
	if err := a.provisionAlerts(caddy.NewReplacer()); err != nil {
		r.Fatal(err)
	}
	for _, hook := range a.alertHooks {
		hook.client.Transport = r.receiver
	}
	a.noteStore(r.store, r.store.fault()) // what Start found
	r.mu.Lock()
	r.running = append(r.running, a)
	r.mu.Unlock()
	r.muster()
	ctx, cancel := context.WithCancel(r.Context())
	a.running.Go(func() { a.storeEvents(ctx, r.store.Events()) })
	a.startAlerts(ctx, r.store)
	return a, func() {
		cancel()
		a.running.Wait()
		r.mu.Lock()
		r.running = slices.DeleteFunc(r.running, func(other *App) bool { return other == a })
		r.mu.Unlock()
		r.muster()
	}
}

// muster tells each gateway that has its store which ones have.
func (r *alertRoom) muster() {
	r.mu.Lock()
	defer r.mu.Unlock()
	hosts := make(map[string]string)
	for _, a := range r.running {
		if id := a.shared.circuits.gateway; a.storeOutage() == "" {
			hosts[id] = cmp.Or(r.hosts[id], hostName())
		}
	}
	var alive []store.Member
	for _, id := range slices.Sorted(maps.Keys(hosts)) {
		alive = append(alive, store.Member{ID: id, Data: fmt.Appendf(nil, `{"gateway":{"host":%q}}`, hosts[id])})
	}
	for _, a := range r.running {
		if a.storeOutage() == "" {
			a.noteMembers(alive, time.Now(), time.Now(), time.Now())
		} else {
			a.loseMembers()
		}
	}
}

// lose takes the store from gateways, or gives it back.
func (r *alertRoom) lose(lost bool, gateways ...*App) {
	r.store.lost.Store(lost)
	for _, a := range gateways {
		a.noteStore(r.store, r.store.fault())
	}
	r.muster()
}

// cut takes one gateway off the store, which the others have.
func (r *alertRoom) cut(cut bool, a *App) {
	var err error
	if cut {
		err = fmt.Errorf("%w: its cable is cut", store.ErrUnavailable)
	}
	a.noteStore(r.store, err)
	r.muster()
}

func (r *alertRoom) logged(message string, times int) {
	r.Helper()
	if got := r.said.FilterMessage(message).Len(); got != times {
		r.Errorf("%q was logged %d times, expected %d", message, got, times)
	}
}

func hook(host string, set ...func(*AlertWebhook)) AlertWebhook {
	w := AlertWebhook{URL: "http://user:hunter2@" + host + "/path-hunter2?key=hunter2", Secret: "a secret of some length"}
	for _, s := range set {
		s(&w)
	}
	return w
}

var reason = map[string]any{"reason": "refused"}

const afterGroup = alert.Group + 2*time.Second
