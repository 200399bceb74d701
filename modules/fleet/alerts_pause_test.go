package fleet

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestARetryAfterOutlivesTheStore: it was asked of the gateway that sends, and
// holds for the others, which tell by themselves when the store is lost.
func TestARetryAfterOutlivesTheStore(t *testing.T) {
	for tenths := range 10 { // wherever the second gateway is between two looks
		synctest.Test(t, func(t *testing.T) {
			r := newAlertRoom(t)
			r.group = time.Second
			first, stop := r.gateway(nil, hook("one"), hook("two"))
			defer stop()
			time.Sleep(time.Second + time.Duration(tenths)*alertTick/10)
			second, stopToo := r.gateway(nil, hook("one"), hook("two"))
			defer stopToo()
			asked := make(chan time.Time, 1)
			r.receiver.answer = func(p posted, _ int) (*http.Response, error) {
				if p.host == "one" && len(r.receiver.of("one")) == 1 {
					asked <- p.at
					return answered(429, "Retry-After", "60"), nil
				}
				return answered(204), nil
			}
			time.Sleep(2 * alertLook)
			first.Emit("node_down", "a", reason)
			at := <-asked
			time.Sleep(alertTick + alertTick/10)
			r.lose(true, first, second)
			time.Sleep(30 * time.Second)
			if n := len(r.receiver.of("two")); n != 3 { // which did not ask for anything
				t.Errorf("the other webhook was told %d messages", n)
			}
			time.Sleep(time.Minute)
			calls := r.receiver.all()
			n := 0
			for _, p := range calls {
				if p.host != "one" {
					continue
				}
				if n++; n > 1 && p.at.Sub(at) < time.Minute {
					t.Errorf("at %d, it asked for a minute and was called after %v", tenths, p.at.Sub(at))
				}
			}
			if n != 3 { // the store_down of both
				t.Errorf("it was called %d times", n)
			}
		})
	}
}
