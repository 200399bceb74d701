package fleet

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
