package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
)

func TestAnAlertReachesEachWebhookOnceAndSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"), hook("two", func(w *AlertWebhook) { w.On = []string{"node_up"}; w.Secret = "" }))
		defer stop()
		time.Sleep(time.Second)
		a.Emit("node_down", "shop", reason)
		time.Sleep(afterGroup)
		a.Emit("node_up", "shop", nil)
		a.ActionStuck("run-1", "no answer to its undo")
		time.Sleep(time.Hour)
		a.ActionUnstuck("run-1")
		time.Sleep(afterGroup)
		r.receiver.expect(t, "one", "+node_down/shop", "+action_stuck/run-1 -node_down/shop", "-action_stuck/run-1")
		r.receiver.expect(t, "two", "-node_down/shop")
		keys := make(map[string]bool)
		for _, p := range r.receiver.all() {
			keys[p.header.Get("Idempotency-Key")] = true
			timestamp, signature := alert.Sign("a secret of some length", p.at, p.body)
			if p.host == "two" {
				signature = ""
			}
			h := p.header
			if h.Get("X-Federation-Timestamp") != timestamp || h.Get("X-Federation-Signature") != signature ||
				h.Get("Content-Type") != "application/json" || !strings.HasPrefix(h.Get("User-Agent"), "caddy-federation/") {
				t.Errorf("headers are %v", h)
			}
		}
		if len(keys) != 4 {
			t.Errorf("keys are %v", keys)
		}
		status := a.AlertStatus()
		if status.Firing != 0 || status.Pending != 0 || status.Delivered != 4 || status.Failed != 0 || status.LastError != "" || len(status.Webhooks) != 2 {
			t.Errorf("status is %+v", status)
		}
	})
}

func TestADeliveryIsTriedAgainWithItsKeyAndANewSignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.receiver.answer = func(p posted, n int) (*http.Response, error) {
			switch {
			case p.host == "other":
				return answered(200), nil
			case n == 1:
				return answered(503, "Retry-After", "90"), nil
			case n == 2:
				return nil, errors.New("reset")
			default:
				return answered(200), nil
			}
		}
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		time.Sleep(15 * time.Second)
		a.Emit("node_down", "b", reason) // waits behind the first
		time.Sleep(3 * time.Minute)
		r.receiver.expect(t, "one", "+node_down/a", "+node_down/a", "+node_down/a", "+node_down/b")
		tries := r.receiver.all()[:3]
		if pause := tries[1].at.Sub(tries[0].at); pause < 90*time.Second || pause > 93*time.Second {
			t.Errorf("it came again after %v, and was asked for 90s", pause)
		}
		for _, p := range tries[1:] {
			if p.header.Get("Idempotency-Key") != tries[0].header.Get("Idempotency-Key") || string(p.body) != string(tries[0].body) {
				t.Error("another key or body")
			}
			if _, signature := alert.Sign("a secret of some length", p.at, p.body); p.header.Get("X-Federation-Signature") != signature {
				t.Error("the signature is not of the attempt's time")
			}
		}
		r.logged("alerts do not arrive", 1)
		r.logged("alerts arrive again", 1)
		for _, entry := range r.said.All() {
			if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, "hunter2") || strings.Contains(text, "a secret of") {
				t.Errorf("a secret was logged: %s", text)
			}
		}
		text, _ := json.Marshal(a.AlertStatus())
		if s := string(text); strings.Contains(s, "hunter2") || strings.Contains(s, "http") {
			t.Errorf("status is %s", s)
		}
	})
}

func TestWhatIsRefusedOrTooOldIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.receiver.answer = func(p posted, _ int) (*http.Response, error) {
			switch p.host {
			case "gone":
				return answered(410), nil
			case "moved":
				return answered(302, "Location", "http://elsewhere/"), nil
			default:
				return answered(500), nil
			}
		}
		a, stop := r.gateway(nil, hook("gone"), hook("moved"), hook("broken", func(w *AlertWebhook) { w.Repeat = -1 }))
		defer stop()
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		time.Sleep(time.Minute)
		r.receiver.expect(t, "gone", "+node_down/a")
		r.receiver.expect(t, "moved", "+node_down/a")
		r.receiver.expect(t, "elsewhere")
		if s := a.AlertStatus(); s.Pending != 1 || s.Failed != 2 || s.Webhooks[0].LastError != "the webhook answered HTTP 410" || !s.Webhooks[2].Failing {
			t.Errorf("status is %+v", s)
		}
		r.logged("an alert was given up", 2)
		time.Sleep(alert.GiveUpAfter)
		n := len(r.receiver.of("broken"))
		if n < 70 || n > 160 { // every 2.5 to 5 minutes, after a minute or so
			t.Errorf("it was tried %d times in %v", n, alert.GiveUpAfter)
		}
		time.Sleep(time.Hour)
		if got := len(r.receiver.of("broken")); got != n {
			t.Errorf("it was tried %d times after it was given up", got-n)
		}
		if s := a.AlertStatus(); s.Pending != 0 || s.Webhooks[2].Failed != 1 {
			t.Errorf("status is %+v", s)
		}
	})
}

func TestAWebhookThatHangsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.receiver.answer = func(p posted, _ int) (*http.Response, error) {
			if p.host == "hangs" {
				return nil, nil
			}
			return answered(200), nil
		}
		a, stop := r.gateway(nil, hook("hangs"), hook("well"))
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		time.Sleep(afterGroup)
		a.Emit("node_down", "b", reason)
		time.Sleep(afterGroup)
		r.receiver.expect(t, "well", "+node_down/a", "+node_down/b")
		if s := a.AlertStatus(); s.Webhooks[0].LastError != "the webhook did not answer in time" || s.Webhooks[0].Pending != 2 {
			t.Errorf("status is %+v", s)
		}
		for len(r.receiver.of("hangs")) < 4 {
			time.Sleep(time.Second)
		}
		start := time.Now()
		stop()
		if took := time.Since(start); took > alertGrace+time.Second {
			t.Errorf("the stop took %v", took)
		}
	})
}

func TestAReloadTellsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		var fails atomic.Bool
		fails.Store(true)
		r.receiver.answer = func(p posted, _ int) (*http.Response, error) {
			if fails.Load() && p.host == "one" {
				return answered(500), nil
			}
			return answered(200), nil
		}
		old, stopOld := r.gateway(nil, hook("one"), hook("two"))
		time.Sleep(time.Second)
		old.Emit("node_down", "a", reason)
		time.Sleep(afterGroup)
		old.Emit("node_down", "b", reason)
		r.receiver.expect(t, "two", "+node_down/a")
		fails.Store(false)
		// the new one begins before the old one ends
		_, stopNext := r.gateway(old.shared, hook("one"), hook("three"))
		stopOld()
		time.Sleep(time.Minute)
		told := r.receiver.of("one")
		if len(told) < 3 || told[len(told)-2] != "+node_down/a" || told[len(told)-1] != "+node_down/b" {
			t.Errorf("one was told %q", told)
		}
		r.receiver.expect(t, "two", "+node_down/a")
		r.receiver.expect(t, "three", "+node_down/b")
		time.Sleep(3 * time.Hour)
		r.receiver.expect(t, "three", "+node_down/b")
		time.Sleep(time.Hour + time.Minute)
		r.receiver.expect(t, "three", "+node_down/b", "+node_down/a", "+node_down/b") // repeated
		stopNext()

		// nor does a restart, which remembers nothing but the store
		r.health = HealthHealthy // and they came back meanwhile
		again, stopAgain := r.gateway(nil, hook("three"))
		defer stopAgain()
		time.Sleep(time.Hour)
		if s := again.AlertStatus(); s.Firing != 0 {
			t.Errorf("status is %+v", s)
		}
		r.receiver.expect(t, "three", "+node_down/b", "+node_down/a", "+node_down/b", "-node_down/a -node_down/b")
	})
}

// TestTheGroupTimeIsTheConfigs, with the store and without it.
func TestTheGroupTimeIsTheConfigs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.group = time.Minute
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		time.Sleep(50 * time.Second)
		r.receiver.expect(t, "one")
		a.Emit("node_down", "b", reason)
		time.Sleep(15 * time.Second)
		r.receiver.expect(t, "one", "+node_down/a +node_down/b")
		r.lose(true, a)
		time.Sleep(50 * time.Second)
		if n := len(r.receiver.all()); n != 1 {
			t.Errorf("%d messages before the loss has lasted for a minute", n)
		}
		time.Sleep(15 * time.Second)
		if n := len(r.receiver.all()); n != 2 {
			t.Errorf("%d messages after the loss has lasted for a minute", n)
		}
	})
}

// TestTheGroupTimeOfTheGatewayThatLooksAfterAlertsCounts: whoever saw the
// change, and whoever goes on before the time is over.
func TestTheGroupTimeOfTheGatewayThatLooksAfterAlertsCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.group = time.Minute
		_, stop := r.gateway(nil, hook("one"))
		time.Sleep(time.Second)
		r.group = 2 * time.Second
		other, stopOther := r.gateway(nil, hook("one"))
		defer stopOther()
		time.Sleep(time.Second)
		other.Emit("node_down", "a", reason)
		time.Sleep(30 * time.Second)
		stop()
		time.Sleep(25 * time.Second)
		r.receiver.expect(t, "one")
		time.Sleep(10 * time.Second)
		r.receiver.expect(t, "one", "+node_down/a")
		other.Emit("node_down", "b", reason)
		time.Sleep(5 * time.Second)
		r.receiver.expect(t, "one", "+node_down/a", "+node_down/b")
	})
}

// TestAStuckQueueShowsOnEveryGateway: also where another one sends.
func TestAStuckQueueShowsOnEveryGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		var well atomic.Bool
		r.receiver.answer = func(posted, int) (*http.Response, error) {
			if well.Load() {
				return answered(200), nil
			}
			return answered(503), nil
		}
		sends, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		looks, stopToo := r.gateway(nil, hook("one"))
		defer stopToo()
		check := func(a *App) HealthCheck { return a.Examine(false).Checks["alerts:deliveries"][0] }
		time.Sleep(time.Minute)
		sends.Emit("node_down", "a", reason)
		time.Sleep(afterGroup + time.Second)
		if c := check(sends); c.Status != HealthWarn || c.Output != "alerts do not arrive: the webhook answered HTTP 503" {
			t.Errorf("after the first attempt: %+v", c)
		}
		if c := check(looks); c.Status != HealthPass {
			t.Errorf("a message that has waited for seconds: %+v", c)
		}
		time.Sleep(2 * time.Minute)
		if c := check(looks); c.Status != HealthWarn || !strings.HasPrefix(c.Output, "alerts have been waiting for a webhook for ") {
			t.Errorf("a queue that is stuck: %+v", c)
		}
		status := looks.AlertStatus()
		if waiting := status.waitingFor(); waiting < 110*time.Second || waiting > 130*time.Second {
			t.Errorf("it waits for %v", waiting)
		}
		if c := check(sends); !strings.HasPrefix(c.Output, "alerts do not arrive: the webhook answered HTTP 503; alerts have been waiting for a webhook for 2m") {
			t.Errorf("where it is sent: %+v", c)
		}
		// one that begins later goes on with its age, once it sends
		stop()
		stopToo()
		time.Sleep(time.Hour)
		sends, stop = r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		looks, stopToo = r.gateway(nil, hook("one"))
		defer stopToo()
		time.Sleep(5 * time.Minute)
		status = sends.AlertStatus()
		if waiting := status.waitingFor(); waiting < time.Hour || waiting > 70*time.Minute {
			t.Errorf("after a restart it waits for %v", waiting)
		}
		well.Store(true)
		time.Sleep(10 * time.Minute)
		for _, a := range []*App{sends, looks} {
			if c := check(a); c.Status != HealthPass {
				t.Errorf("when it arrived: %+v", c)
			}
			if s := a.AlertStatus(); !s.Webhooks[0].WaitingSince.IsZero() {
				t.Errorf("when it arrived: %+v", s)
			}
		}
	})
}

// TestAFollowerReadsTheStateWhenItChanged: it knows each state two ticks
// later, and reads none twice.
func TestAFollowerReadsTheStateWhenItChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		leader, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(2 * time.Second)
		follower, stopped := r.gateway(nil, hook("one"))
		defer stopped()
		time.Sleep(time.Minute) // it is noted by then
		before := r.store.read.Load()
		time.Sleep(time.Minute)
		if n := r.store.read.Load() - before; n != 0 {
			t.Errorf("a state that stood was read %d times", n)
		}
		leader.Emit("node_down", "a", reason)
		time.Sleep(2*alertTick + 500*time.Millisecond)
		if firing := follower.AlertStatus().Firing; firing != 1 {
			t.Errorf("the follower knows of %d alerts", firing)
		}
		time.Sleep(time.Minute)
		state, err := r.store.Store.Alerts().State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := r.store.read.Load() - before; n == 0 || n > int64(state.Revision) {
			t.Errorf("%d states were read %d times", state.Revision, n)
		}
	})
}
