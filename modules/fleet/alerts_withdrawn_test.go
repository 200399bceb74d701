package fleet

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestABeginningThatDidNotArriveIsNotToldWhenItIsOver: it waits in the memory of
// a gateway that is cut off, behind a message for which the webhook asked to
// wait. The gateway with the store told both, and the end must be the last word.
func TestABeginningThatDidNotArriveIsNotToldWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.health = HealthHealthy
		first, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		second, stopToo := r.gateway(nil, hook("one"))
		set := func(slug string, state Health, gateways ...*App) {
			for _, a := range gateways {
				a.Snapshot().Node(slug).gate.member.health.status.Store(&HealthStatus{State: state, Since: time.Now(), Reason: "refused"})
				a.Emit(map[Health]string{HealthUnhealthy: "node_down", HealthHealthy: "node_up"}[state], slug, reason)
			}
		}
		down := "store_down/" + second.shared.circuits.gateway
		var took incidents
		took.accept(r.receiver, func(p posted) *http.Response {
			if strings.Contains(string(p.body), down) && len(took.of(down)) == 0 && len(r.receiver.of("one")) == 1 {
				return answered(429, "Retry-After", "60")
			}
			return answered(204)
		})
		time.Sleep(2 * alertLook)
		r.cut(true, second)
		time.Sleep(afterGroup)
		set("a", HealthUnhealthy, first, second)
		set("b", HealthUnhealthy, second)
		time.Sleep(afterGroup)
		set("a", HealthHealthy, first, second)
		time.Sleep(5 * time.Minute)
		took.expect(t, "node_down/a", "+-") // both by the first
		took.expect(t, "node_down/b", "+")
		took.expect(t, down, "+")
		set("a", HealthUnhealthy, second) // it was not told by this one
		time.Sleep(time.Minute)
		took.expect(t, "node_down/a", "+-+")
		stopToo()
	})
}

// TestWhatWasToldAMomentBeforeTheLossIsNotToldAnew: by a gateway that did not
// tell it itself, but saw it and has read that it was told.
func TestWhatWasToldAMomentBeforeTheLossIsNotToldAnew(t *testing.T) {
	for tenths := range 10 { // wherever the second gateway is between two looks
		synctest.Test(t, func(t *testing.T) {
			r := newAlertRoom(t)
			r.health = HealthHealthy
			r.group = time.Second
			first, stop := r.gateway(nil, hook("one"))
			defer stop()
			time.Sleep(time.Second + time.Duration(tenths)*alertLook/10)
			second, stopToo := r.gateway(nil, hook("one"))
			defer stopToo()
			time.Sleep(2*alertLook + time.Second/2)
			for _, a := range []*App{first, second} {
				a.Snapshot().Node("a").gate.member.health.status.Store(&HealthStatus{State: HealthUnhealthy, Since: time.Now(), Reason: "refused"})
			}
			first.Emit("node_down", "a", reason)
			time.Sleep(4 * time.Second) // it is told after one or two
			r.receiver.expect(t, "one", "+node_down/a")
			r.lose(true, first, second)
			time.Sleep(afterGroup)
			for _, told := range r.receiver.of("one")[1:] {
				if told != "+store_down/"+first.shared.circuits.gateway && told != "+store_down/"+second.shared.circuits.gateway {
					t.Errorf("at %d, then %q was told", tenths, told)
				}
			}
		})
	}
}

// TestAnEndDoesNotWaitForAGatewayThatIsCutOff: of what was told with the store.
// What that gateway told alone ends once more.
func TestAnEndDoesNotWaitForAGatewayThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.health = HealthHealthy
		var took incidents
		took.accept(r.receiver, func(posted) *http.Response { return answered(204) })
		repeats := hook("one", func(w *AlertWebhook) { w.Repeat = caddy.Duration(2 * time.Minute) })
		first, stop := r.gateway(nil, repeats)
		defer stop()
		time.Sleep(time.Second)
		second, stopToo := r.gateway(nil, repeats)
		defer stopToo()
		set := func(slug string, state Health, gateways ...*App) {
			for _, a := range gateways {
				a.Snapshot().Node(slug).gate.member.health.status.Store(&HealthStatus{State: state, Since: time.Now(), Reason: "refused"})
				a.Emit(map[Health]string{HealthUnhealthy: "node_down", HealthHealthy: "node_up"}[state], slug, reason)
			}
		}
		time.Sleep(2 * alertLook)
		set("a", HealthUnhealthy, first, second)
		time.Sleep(time.Minute)
		r.cut(true, second)
		time.Sleep(afterGroup)
		set("b", HealthUnhealthy, first, second)
		time.Sleep(afterGroup)
		set("a", HealthHealthy, first)
		set("b", HealthHealthy, first)
		time.Sleep(afterGroup)
		took.expect(t, "node_down/a", "+-")
		took.expect(t, "node_down/b", "++-")
		time.Sleep(time.Minute)
		took.expect(t, "node_down/a", "+-+") // repeated where it is still seen
		r.cut(false, second)
		time.Sleep(time.Minute)
		took.expect(t, "node_down/a", "+-+-")
		took.expect(t, "node_down/b", "++--") // the first has found it well for half a minute
		time.Sleep(time.Hour)
		took.expect(t, "node_down/b", "++--")
		took.expect(t, "node_down/a", "+-+-")
	})
}
