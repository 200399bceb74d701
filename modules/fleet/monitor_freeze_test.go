package fleet

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// When most nodes turn bad in one moment, the gateway's own network is down.
func TestMonitorFreezesRatherThanEjectTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := ward(t, 20, "")
		time.Sleep(20 * time.Second)
		for _, q := range p[:15] {
			q.is(nil, errors.New("no route to host"))
		}
		time.Sleep(5 * time.Minute)
		for i := range p {
			if n := f.node(fmt.Sprint("n", i)); n.Refusal() != "" {
				t.Fatalf("%s is out: %+v", n.Slug, n.Health())
			}
		}
		if e := f.events("prober_unhealthy"); len(e) != 1 {
			t.Errorf("%d events", len(e))
		}
		for _, q := range p[:14] {
			q.is(wellNode, nil)
		}
		time.Sleep(time.Minute)
		if f.node("n14").Health().State != HealthUnhealthy || f.node("n0").Health().State != HealthHealthy {
			t.Errorf("after the freeze: %+v", f.node("n14").Health())
		}
		if e := f.events("prober_healthy"); len(e) != 1 {
			t.Errorf("%d events", len(e))
		}
		f.stop()
	})
}

// A prober that could not run for a while does not blame the nodes for what it
// sees right after.
func TestAStalledProberEjectsNobody(t *testing.T) {
	for _, stall := range []time.Duration{0, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			f, p := ward(t, 20, "")
			time.Sleep(20 * time.Second)
			f.app.prober.mu.Lock()
			for _, w := range f.app.prober.plan { // as if it had not run for so long
				w.due = w.due.Add(-stall)
			}
			p[0].is(nil, context.DeadlineExceeded)
			f.app.prober.mu.Unlock()
			time.Sleep(9 * time.Second)
			if out := f.node("n0").Refusal() != ""; out != (stall == 0) {
				t.Errorf("after a stall of %v: out is %v, %+v", stall, out, f.node("n0").Health())
			}
			p[0].is(wellNode, nil)
			time.Sleep(20 * time.Second)
			if down := f.events("node_down"); stall > 0 && len(down) > 0 {
				t.Errorf("%v went down", down)
			}
			f.stop()
		})
	}
}
