package fleet

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// incidents is a receiver that opens and closes incidents in the order of what
// arrives, and knows nothing but the key and the dedup key of an alert.
type incidents struct {
	mu      sync.Mutex
	arrived []string // "+node_down/a" for a beginning or a repeat, "-" for an end
	at      []time.Time
}

// accept answers what one receiver does, and notes what it took.
func (i *incidents) accept(r *receiver, answer func(p posted) *http.Response) {
	r.answer = func(p posted, _ int) (*http.Response, error) {
		response := answer(p)
		if response.StatusCode < 300 {
			i.mu.Lock()
			defer i.mu.Unlock()
			lone := &receiver{attempts: []posted{p}}
			for _, word := range strings.Fields(lone.of(p.host)[0]) {
				i.arrived, i.at = append(i.arrived, word), append(i.at, time.Now())
			}
		}
		return response, nil
	}
}

func (i *incidents) of(key string) (told []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, word := range i.arrived {
		if word[1:] == key {
			told = append(told, word[:1])
		}
	}
	return told
}

func (i *incidents) expect(t *testing.T, key, expected string) {
	t.Helper()
	if got := strings.Join(i.of(key), ""); got != expected {
		t.Fatalf("of %s the receiver took %q, expected %q", key, got, expected)
	}
}

// TestAnEndNeverOvertakesItsBeginning: the receiver is down while a gateway tells
// alone, and the end comes when the store is back, by whichever gateway sends.
func TestAnEndNeverOvertakesItsBeginning(t *testing.T) {
	for _, sole := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newAlertRoom(t)
			var down atomic.Bool
			down.Store(true)
			var took incidents
			took.accept(r.receiver, func(posted) *http.Response {
				if down.Load() {
					return answered(503)
				}
				return answered(204)
			})
			first, stop := r.gateway(nil, hook("one"))
			defer stop()
			told := first
			if !sole {
				time.Sleep(time.Second)
				var stopToo func()
				told, stopToo = r.gateway(nil, hook("one"))
				defer stopToo()
			}
			time.Sleep(time.Second)
			r.lose(true, first, told)
			time.Sleep(time.Second)
			told.Emit("node_down", "b", reason)
			time.Sleep(10 * time.Minute) // by now it is tried every few minutes
			r.lose(false, first, told)
			told.Emit("node_up", "b", nil)
			time.Sleep(time.Minute)
			down.Store(false)
			time.Sleep(30 * time.Minute)
			// once more, where the other gateway's messages were in the store already
			if told := strings.Join(took.of("node_down/b"), ""); told != "+-" && (sole || told != "++-") {
				t.Fatalf("of node b the receiver took %q", told)
			}
			took.expect(t, "store_down/"+told.shared.circuits.gateway, "+-")
			if s := told.AlertStatus(); s.Pending != 0 || s.Firing != 0 {
				t.Errorf("status is %+v", s)
			}
		})
	}
}

// TestAnOldEndIsNotTheLastWord: it waits in the store when that is lost, and what
// it is about begins anew meanwhile.
func TestAnOldEndIsNotTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		var down atomic.Bool
		var took incidents
		took.accept(r.receiver, func(posted) *http.Response {
			if down.Load() {
				return answered(503)
			}
			return answered(204)
		})
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		time.Sleep(afterGroup)
		down.Store(true)
		a.Emit("node_up", "a", nil)
		time.Sleep(afterGroup + time.Second/2) // between two attempts
		r.lose(true, a)
		down.Store(false)
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		time.Sleep(time.Minute)
		took.expect(t, "node_down/a", "++")
		r.lose(false, a)
		time.Sleep(time.Minute)
		took.expect(t, "node_down/a", "++-+")
		a.Emit("node_up", "a", nil)
		time.Sleep(time.Minute)
		took.expect(t, "node_down/a", "++-+-")
	})
}

// TestALongQueueIsHandedOverInOrder: more messages than go into the store at once.
func TestALongQueueIsHandedOverInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.group = time.Second
		var down atomic.Bool
		down.Store(true)
		var took incidents
		took.accept(r.receiver, func(posted) *http.Response {
			if down.Load() {
				return answered(503)
			}
			return answered(204)
		})
		a, stop := r.gateway(nil, hook("one", func(w *AlertWebhook) { w.On = []string{"action_stuck"} }))
		defer stop()
		time.Sleep(time.Second)
		r.lose(true, a)
		const n = 2*handedAtOnce + 50
		for i := range n {
			a.ActionStuck(fmt.Sprintf("run-%d", i), "no answer")
			time.Sleep(2 * time.Second)
		}
		if s := a.AlertStatus(); s.Pending != n {
			t.Fatalf("status is %+v", s)
		}
		r.lose(false, a)
		a.ActionUnstuck("run-0")
		down.Store(false)
		time.Sleep(30 * time.Minute)
		if len(took.arrived) != n+1 || took.arrived[n] != "-action_stuck/run-0" {
			t.Fatalf("%d messages arrived", len(took.arrived))
		}
		for i, word := range took.arrived[:n] {
			if word != fmt.Sprintf("+action_stuck/run-%d", i) {
				t.Fatalf("message %d is %s", i, word)
			}
		}
	})
}

// TestARetryAfterHoldsForAWebhookAsAWhole: whether what is to be sent is in
// memory or in the store.
func TestARetryAfterHoldsForAWebhookAsAWhole(t *testing.T) {
	for _, alone := range []bool{true, false} { // the message that is answered
		synctest.Test(t, func(t *testing.T) {
			r := newAlertRoom(t)
			r.receiver.answer = func(_ posted, n int) (*http.Response, error) {
				if n == 1 {
					return answered(429, "Retry-After", "600"), nil
				}
				return answered(204), nil
			}
			a, stop := r.gateway(nil, hook("one"))
			defer stop()
			time.Sleep(time.Second)
			r.lose(alone, a)
			a.Emit("node_down", "a", reason)
			time.Sleep(afterGroup)
			r.lose(!alone, a)
			a.Emit("node_down", "b", reason)
			time.Sleep(9 * time.Minute)
			if n := len(r.receiver.all()); n != 1 {
				t.Fatalf("alone: %v; it was called %d times within the time that it had asked for", alone, n-1)
			}
			time.Sleep(2 * time.Minute)
			if told := strings.Join(r.receiver.of("one"), " "); !strings.Contains(told, "+node_down/b") {
				t.Errorf("alone: %v; then %q was told", alone, told)
			}
		})
	}
}

// TestARetryAfterGoesWithTheMessage: it was asked of a gateway that was cut off,
// and holds for the one that sends when the message is in the store.
func TestARetryAfterGoesWithTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		first, stop := r.gateway(nil, hook("one"), hook("two"))
		defer stop()
		time.Sleep(time.Second)
		second, stopToo := r.gateway(nil, hook("one"), hook("two"))
		defer stopToo()
		asked := false
		r.receiver.answer = func(p posted, _ int) (*http.Response, error) {
			if p.host == "one" && !asked {
				asked = true
				return answered(429, "Retry-After", "600"), nil
			}
			return answered(204), nil
		}
		time.Sleep(2 * alertLook)
		r.cut(true, second)
		time.Sleep(afterGroup)
		r.cut(false, second)
		first.Emit("node_down", "a", reason)
		time.Sleep(9 * time.Minute)
		if n := len(r.receiver.of("one")); n != 1 {
			t.Fatalf("it was called %d times within the time that it had asked for", n-1)
		}
		down := "store_down/" + second.shared.circuits.gateway
		r.receiver.expect(t, "two", "+"+down, "+node_down/a -"+down)
		time.Sleep(2 * time.Minute)
		r.receiver.expect(t, "one", "+"+down, "+"+down, "+node_down/a -"+down)
	})
}

// TestAWebhookThatFailsIsNotCalledMoreOftenForTheStoreIsBack: the pauses go on.
func TestAWebhookThatFailsIsNotCalledMoreOftenForTheStoreIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.receiver.answer = func(posted, int) (*http.Response, error) { return answered(503), nil }
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		r.lose(true, a)
		time.Sleep(time.Hour)
		r.lose(false, a)
		before := len(r.receiver.all())
		time.Sleep(10 * time.Minute)
		if n := len(r.receiver.all()) - before; n < 2 || n > 5 {
			t.Errorf("it was called %d times in ten minutes", n)
		}
		keys := make(map[string]bool)
		for _, p := range r.receiver.all() {
			keys[p.header.Get("Idempotency-Key")] = true
		}
		if len(keys) != 1 {
			t.Errorf("one message had the keys %v", keys)
		}
	})
}

// TestAGatewayThatNoLongerSendsWarnsOfNoWebhook: another one does, and it works.
func TestAGatewayThatNoLongerSendsWarnsOfNoWebhook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		var well atomic.Bool
		r.receiver.answer = func(posted, int) (*http.Response, error) {
			if well.Load() {
				return answered(200), nil
			}
			return answered(503), nil
		}
		first, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		second, stopToo := r.gateway(nil, hook("one"))
		defer stopToo()
		time.Sleep(time.Second)
		first.Emit("node_down", "a", reason)
		time.Sleep(afterGroup)
		if s := first.AlertStatus(); !s.Webhooks[0].Failing {
			t.Fatalf("status is %+v", s)
		}
		// the first loses the store for long enough that the second leads
		r.cut(true, first)
		time.Sleep(alertLeaseTTL + time.Second) // and short enough that it tells nothing of it
		r.cut(false, first)
		well.Store(true)
		time.Sleep(10 * time.Minute)
		for i, a := range []*App{first, second} {
			if s := a.AlertStatus(); s.Webhooks[0].Failing || s.LastError != "" || s.Pending != 0 {
				t.Errorf("status of gateway %d is %+v", i+1, s)
			}
			if c := a.Examine(false).Checks["alerts:deliveries"][0]; c.Status != HealthPass {
				t.Errorf("gateway %d: %+v", i+1, c)
			}
		}
		if !slices.Contains(r.receiver.of("one"), "+node_down/a") {
			t.Errorf("%q was told", r.receiver.of("one"))
		}
	})
}
