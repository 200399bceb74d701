package fleet

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestAWebhookHearsNoEndOfWhatItDidNotHearBegin: it was added, or wants to hear
// more, by a reload while something is wrong; of that it hears with its next
// repeat.
func TestAWebhookHearsNoEndOfWhatItDidNotHearBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		on := func(kinds ...string) func(*AlertWebhook) { return func(w *AlertWebhook) { w.On = kinds } }
		old, stop := r.gateway(nil, hook("one"), hook("more", on("store_down")), hook("gone"), hook("ends", on("node_up")))
		time.Sleep(time.Second)
		old.Emit("node_down", "a", reason)
		old.Emit("node_down", "b", reason)
		time.Sleep(afterGroup)
		next, stopNext := r.gateway(old.shared, hook("one"), hook("more"), hook("new"),
			hook("soon", func(w *AlertWebhook) { w.Repeat = caddy.Duration(2 * time.Minute) }), hook("late", on("node_up")))
		defer stopNext()
		stop()
		time.Sleep(time.Minute)
		next.Emit("node_up", "a", nil)
		time.Sleep(4 * time.Minute)
		next.Emit("node_up", "b", nil)
		next.Emit("node_down", "c", reason)
		time.Sleep(time.Minute)
		next.Emit("node_up", "c", nil)
		time.Sleep(time.Minute)
		began := "+node_down/a +node_down/b"
		r.receiver.expect(t, "one", began, "-node_down/a", "+node_down/c -node_down/b", "-node_down/c")
		r.receiver.expect(t, "gone", began)
		r.receiver.expect(t, "more", "+node_down/c", "-node_down/c")
		r.receiver.expect(t, "new", "+node_down/c", "-node_down/c")
		r.receiver.expect(t, "soon", "+node_down/b", "+node_down/b", "+node_down/c -node_down/b", "-node_down/c")
		r.receiver.expect(t, "ends")
		r.receiver.expect(t, "late", "-node_down/a", "-node_down/b", "-node_down/c") // it asked for ends alone
	})
}

// TestWhatDidNotReachOneWebhookEndsForTheOther: told alone, it is over before one
// of them could be called.
func TestWhatDidNotReachOneWebhookEndsForTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.health = HealthHealthy
		calls := 0
		r.receiver.answer = func(p posted, _ int) (*http.Response, error) {
			if p.host == "two" {
				if calls++; calls == 1 {
					return answered(429, "Retry-After", "120"), nil
				}
			}
			return answered(204), nil
		}
		expect := func(one, two string) {
			t.Helper()
			if first, second := r.receiver.only("one").repeatedOf(t, "node_down/a"), r.receiver.only("two").repeatedOf(t, "node_down/a"); first != one || second != two {
				t.Fatalf("one was told %q, expected %q; two %q, expected %q", first, one, second, two)
			}
		}
		a, stop := r.gateway(nil, hook("one"), hook("two"))
		defer stop()
		set := func(state Health) {
			a.Snapshot().Node("a").gate.member.health.status.Store(&HealthStatus{State: state, Since: time.Now(), Reason: "refused"})
			a.Emit(map[Health]string{HealthUnhealthy: "node_down", HealthHealthy: "node_up"}[state], "a", reason)
		}
		time.Sleep(time.Second)
		r.lose(true, a)
		time.Sleep(afterGroup)
		set(HealthUnhealthy)
		time.Sleep(afterGroup)
		set(HealthHealthy)
		time.Sleep(afterGroup)
		expect("+", "")
		set(HealthUnhealthy) // for one it goes on
		time.Sleep(afterGroup)
		set(HealthHealthy)
		time.Sleep(afterGroup)
		r.lose(false, a)
		time.Sleep(5 * time.Minute)
		expect("+-", "")
	})
}

// only is what reached one host.
func (r *receiver) only(host string) *receiver {
	return &receiver{attempts: slices.DeleteFunc(r.all(), func(p posted) bool { return p.host != host })}
}
