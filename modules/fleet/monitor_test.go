package fleet

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func TestMonitorTakesANodeOutAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := ward(t, 4, "")
		n := f.node("n0")
		time.Sleep(10 * time.Second)
		if h := n.Health(); h.State != HealthHealthy || h.Checked.IsZero() {
			t.Fatalf("health is %+v", h)
		}
		p[0].is(sickNode, nil)
		time.Sleep(10 * time.Second)
		if h := n.Health(); h.State != HealthUnhealthy || h.Reason != "the database is gone" || n.Refusal() != "unhealthy" {
			t.Fatalf("health is %+v, refusal %q", h, n.Refusal())
		}
		if _, call := f.app.Search(t.Context(), n, &SearchQuery{Text: "x", Limit: 1}); call.Attempts != 0 || Describe(call.Err) != "not sent: unhealthy" {
			t.Errorf("a call was %+v", call)
		}
		if v := n.View(); v.Health != HealthUnhealthy || v.HealthReason != "the database is gone" || v.Available {
			t.Errorf("the view is %+v", v)
		}
		if f.node("n1").Health().State != HealthHealthy {
			t.Error("another node suffers")
		}
		p[0].is(nil, syscall.ECONNREFUSED)
		time.Sleep(25 * time.Second)
		if h := n.Health(); h.State != HealthUnhealthy || h.Reason != "the node refused the connection" {
			t.Errorf("health is %+v", h)
		}
		p[0].is(wellNode, nil)
		time.Sleep(15 * time.Second)
		if h := n.Health(); h.State != HealthHealthy || h.Reason != "" || n.Refusal() != "" {
			t.Errorf("it did not come back: %+v", h)
		}
		if down, up := f.events("node_down"), f.events("node_up"); len(down) != 1 || len(up) != 1 || down[0] != "n0" {
			t.Errorf("events are %v and %v", down, up)
		}
		p[0].is(&Report{Dialect: "checked", Health: HealthDegraded, Version: "1"}, nil)
		time.Sleep(10 * time.Second)
		if h := n.Health(); h.State != HealthDegraded || n.Refusal() != "" {
			t.Errorf("a degraded node is %+v", h)
		}
		f.stop()
	})
}

// What the node holds is asked every five minutes and when it changed, not
// with each check.
func TestMonitorAsksForFactsRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := ward(t, 1, "")
		time.Sleep(290 * time.Second)
		if probes, checks := p[0].probes.Load(), p[0].checks.Load(); probes != 1 || checks < 45 || checks > 75 {
			t.Errorf("%d probes and %d checks", probes, checks)
		}
		p[0].is(&Report{Dialect: "checked", Health: HealthHealthy, Version: "2", Keywords: []string{"new"}}, nil)
		time.Sleep(7 * time.Second)
		if p[0].probes.Load() < 2 || len(f.node("n0").Facts().Keywords) != 1 {
			t.Error("a new version was not asked what it holds")
		}
		time.Sleep(305 * time.Second)
		if n := p[0].probes.Load(); n < 3 || n > 4 {
			t.Errorf("%d probes in ten minutes", n)
		}
		// the log of requests is not flooded by checks that went well
		f.stop()
		records, err := f.store.Requests().Last(t.Context(), "n0", 1000)
		if err != nil || len(records) > 5 {
			t.Errorf("%d records, %v", len(records), err)
		}
	})
}

// A probe never changes the operator's word, and a node whose word is
// maintenance is watched all the same.
func TestANodeInMaintenanceThatAnswersStaysInMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := ward(t, 1, "")
		f.put("n1", `{"url":"http://127.0.0.1:1","admin_state":"maintenance"}`)
		f.put("n2", `{"url":"http://127.0.0.1:1","admin_state":"disabled"}`)
		for _, slug := range []string{"n1", "n2"} {
			q := new(patient)
			q.is(wellNode, nil)
			patients.Store(slug, q)
		}
		_ = p
		time.Sleep(time.Minute)
		n := f.node("n1")
		if n.AdminState != AdminMaintenance || n.Refusal() != "maintenance" || n.Health().State != HealthHealthy {
			t.Errorf("it is %s, %q, %+v", n.AdminState, n.Refusal(), n.Health())
		}
		if patientOf("n2").checks.Load() != 0 {
			t.Error("a disabled node was checked")
		}
		f.delete("n1")
		time.Sleep(time.Minute)
		before := patientOf("n1").checks.Load()
		time.Sleep(time.Minute)
		if patientOf("n1").checks.Load() != before {
			t.Error("a node that left is checked")
		}
		f.stop()
	})
}

// A node that answers and refuses us, or speaks otherwise, is used and reported.
func TestWhatAnErrorToACheckSays(t *testing.T) {
	status := func(code int) error { return &StatusError{Status: code, Header: http.Header{}} }
	for _, c := range []struct {
		err    error
		state  Health
		reason string
	}{
		{status(401), HealthDegraded, "refuses our credentials (HTTP 401)"}, {status(403), HealthDegraded, "refuses our credentials (HTTP 403)"},
		{status(404), HealthDegraded, "has nothing where its health is asked for (HTTP 404)"}, {status(405), HealthDegraded, "(HTTP 405)"},
		{status(400), HealthDegraded, "refuses health checks (HTTP 400)"}, {BadPayload("x"), HealthDegraded, "x"}, {status(429), HealthUnknown, ""},
		{status(500), HealthUnhealthy, "HTTP 500"}, {status(503), HealthUnhealthy, "HTTP 503"}, {context.DeadlineExceeded, HealthUnhealthy, "in time"},
		{&StatusError{Status: 503, RetryAfter: time.Minute, Header: http.Header{"Retry-After": {"60"}}}, HealthUnhealthy, "HTTP 503"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f, p := ward(t, 1, "")
			p[0].is(nil, c.err)
			patients.Store("n0", p[0])
			time.Sleep(time.Minute)
			h := f.node("n0").Health()
			if c.state == HealthUnknown {
				h.State = c.state // the first check may have been before
			}
			if h.State != c.state || !strings.Contains(h.Reason, c.reason) {
				t.Errorf("%v: %+v, expected %s: %s", c.err, h, c.state, c.reason)
			}
			f.stop()
		})
	}
}

func TestMonitorHoldsAFlappingNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := ward(t, 4, "health {\n interval 1s\n down 1s\n}")
		n := f.node("n0")
		time.Sleep(5 * time.Second)
		for range 2 {
			p[0].is(sickNode, nil)
			time.Sleep(6 * time.Second)
			p[0].is(wellNode, nil)
			time.Sleep(6 * time.Second)
		}
		if h := n.Health(); h.State != HealthUnhealthy || !h.Flapping || h.Flaps != 1 || h.Reason == "" {
			t.Fatalf("health is %+v", h)
		}
		if e := f.events("flapping"); len(e) != 1 || e[0] != "n0" {
			t.Errorf("events are %v", e)
		}
		time.Sleep(70 * time.Second)
		if h := n.Health(); h.State != HealthHealthy || h.Flapping {
			t.Errorf("after it stood: %+v", h)
		}
		f.stop()
	})
}

// A thousand nodes are not asked all at once, neither at the start nor later.
func TestAThousandNodesStartWithoutABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := ward(t, 1000, "")
		time.Sleep(30 * time.Second)
		perTenth := make(map[time.Duration]int)
		start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, q := range p {
			q.mu.Lock()
			for _, at := range q.times {
				perTenth[at.Sub(start)/(100*time.Millisecond)]++
			}
			q.mu.Unlock()
		}
		most := 0
		for _, n := range perTenth {
			most = max(most, n)
		}
		if most > 45 { // 20 on average
			t.Errorf("%d checks in a tenth of a second", most)
		}
		for i := range p {
			if f.node(fmt.Sprint("n", i)).Health().State != HealthHealthy {
				t.Fatalf("n%d was not checked", i)
			}
		}
		f.stop()
	})
}

// Failures in traffic bring the next check forward.
func TestPassiveEvidenceWakesTheMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := ward(t, 2, "health {\n interval 10m\n fast 1s\n}\nbreaker {\n consecutive off\n}")
		time.Sleep(15 * time.Minute)
		p[0].is(sickNode, nil)
		before := p[0].checks.Load()
		f.app.Search(t.Context(), f.node("n0"), &SearchQuery{Text: "x", Limit: 1})
		time.Sleep(5 * time.Second)
		if p[0].checks.Load() == before || f.node("n0").Health().State != HealthUnhealthy {
			t.Errorf("%d checks, %+v", p[0].checks.Load()-before, f.node("n0").Health())
		}
		f.stop()
	})
}

func TestHealthOffJudgesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := ward(t, 1, "health off")
		p[0].is(sickNode, nil)
		time.Sleep(10 * time.Minute)
		n := f.node("n0")
		if n.Refusal() != "" || n.Health().State != HealthUnknown || p[0].checks.Load() == 0 || p[0].checks.Load() > 10 {
			t.Errorf("%q, %+v, %d checks", n.Refusal(), n.Health(), p[0].checks.Load())
		}
		f.stop()
	})
}

// A reload keeps what was observed.
func TestHealthOutlivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := ward(t, 2, "")
		p[0].is(sickNode, nil)
		time.Sleep(30 * time.Second)
		old := f.app
		next := new(App)
		*next = App{logger: zap.NewNop()}
		shared, err := loadShared(old.Name)
		if err != nil {
			t.Fatal(err)
		}
		if m := shared.member("n0", "http://127.0.0.1:1"); m.health.read().State != HealthUnhealthy {
			t.Errorf("the next config knows %+v", m.health.read())
		}
		_, _ = pool.Delete(old.Name)
		f.stop()
	})
}
