package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// Gateways of one store tell of what one of them saw once, whichever it was,
// and go on when the one that does for all is gone.
func TestGatewaysTellOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		first, stopFirst := r.gateway(nil, hook("one"))
		time.Sleep(time.Second)
		second, stopSecond := r.gateway(nil, hook("one"))
		third, stopThird := r.gateway(nil, hook("one"))
		time.Sleep(time.Second)
		second.Emit("node_down", "a", reason)
		third.Emit("node_down", "a", reason)
		third.Emit("node_down", "b", reason)
		time.Sleep(afterGroup)
		r.receiver.expect(t, "one", "+node_down/a +node_down/b")
		first.Emit("node_up", "a", nil)
		time.Sleep(3 * time.Second)
		stopFirst() // within the window
		time.Sleep(afterGroup)
		third.Emit("node_down", "c", reason)
		stopThird()
		time.Sleep(alertLeaseTTL + afterGroup)
		r.receiver.expect(t, "one", "+node_down/a +node_down/b", "-node_down/a", "+node_down/c")
		if s := second.AlertStatus(); s.Firing != 2 || s.Pending != 0 {
			t.Errorf("status is %+v", s)
		}
		stopSecond()
	})
}

// A gateway tells of the loss of the store itself, and of what happens
// meanwhile. When the store is back, nothing of it is told again.
func TestTheLossOfTheStoreIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		gateway := a.shared.circuits.gateway
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		time.Sleep(afterGroup)
		r.lose(true, a)
		time.Sleep(5 * time.Second)
		a.Emit("node_down", "b", reason)
		time.Sleep(afterGroup)
		r.receiver.expect(t, "one", "+node_down/a", "+store_down/"+gateway+" +node_down/b")
		a.Emit("node_up", "a", nil) // which this gateway has not told itself
		time.Sleep(4 * time.Hour)
		r.receiver.expect(t, "one", "+node_down/a", "+store_down/"+gateway+" +node_down/b", "+store_down/"+gateway+" +node_down/b")
		r.lose(false, a)
		time.Sleep(time.Minute)
		told := r.receiver.of("one")
		if len(told) != 4 || told[3] != "-node_down/a -store_down/"+gateway {
			t.Fatalf("then %q was told", told[3:])
		}
		a.Emit("node_up", "b", nil)
		time.Sleep(time.Minute)
		if told = r.receiver.of("one"); len(told) != 5 || told[4] != "-node_down/b" {
			t.Fatalf("then %q was told", told[4:])
		}
		if s := a.AlertStatus(); s.Firing != 0 || s.Pending != 0 {
			t.Errorf("status is %+v", s)
		}
		// a loss of seconds is none
		r.lose(true, a)
		time.Sleep(3 * time.Second)
		r.lose(false, a)
		time.Sleep(time.Minute)
		if told = r.receiver.of("one"); len(told) != 5 {
			t.Errorf("then %q was told", told[5:])
		}
	})
}

// TestOneLossOfASharedStoreHasOneDedupKey: whichever gateways tell of it, and
// however they started; a store of its own is another incident for each.
func TestOneLossOfASharedStoreHasOneDedupKey(t *testing.T) {
	for _, own := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newAlertRoom(t)
			rooms := [3]*alertRoom{r, r, r}
			if own {
				for i := range rooms {
					rooms[i] = newAlertRoom(t)
					rooms[i].receiver, rooms[i].store.own = r.receiver, true
				}
			}
			first, stopFirst := rooms[0].gateway(nil, hook("one"))
			defer stopFirst()
			second, stopSecond := rooms[1].gateway(nil, hook("one"))
			defer stopSecond()
			time.Sleep(time.Second)
			rooms[0].lose(true, first)
			rooms[1].lose(true, second)
			rooms[2].store.lost.Store(true)
			_, stopThird := rooms[2].gateway(nil, hook("one")) // and has never seen it
			defer stopThird()
			time.Sleep(afterGroup)
			rooms[0].lose(false, first)
			rooms[1].lose(false, second)
			time.Sleep(afterGroup)
			dedup, keys, ends := make(map[string]int), make(map[string]int), 0
			for _, p := range r.receiver.all() {
				var message struct {
					Alerts []struct {
						Key, Status string
						Dedup       string `json:"dedup_key"`
					}
				}
				if err := json.Unmarshal(p.body, &message); err != nil {
					t.Fatalf("%s: %v", p.body, err)
				}
				for _, at := range message.Alerts {
					dedup[at.Dedup]++
					keys[at.Key]++
					if at.Status == "resolved" {
						ends++
					}
				}
			}
			if len(keys) != 3 || ends != 2 || !own && (len(dedup) != 1 || dedup["f/store_down"] != 5) || own && len(dedup) != 3 {
				t.Errorf("own: %v; keys %v, dedup keys %v, %d ends", own, keys, dedup, ends)
			}
		})
	}
}

// An attempt whose end the store did not hear of is not made again.
func TestWhatArrivedWhileTheStoreWentIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		r.receiver.answer = func(posted, int) (*http.Response, error) {
			r.store.lost.Store(true) // for less than anybody notices
			return answered(200), nil
		}
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		time.Sleep(afterGroup)
		r.store.lost.Store(false)
		time.Sleep(time.Hour)
		r.receiver.expect(t, "one", "+node_down/a")
		if s := a.AlertStatus(); s.Pending != 0 || s.Delivered != 1 {
			t.Errorf("status is %+v", s)
		}
	})
}

// What waits for a webhook in memory goes over a reload as well.
func TestWhatIsToldAloneGoesOverAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		var fails atomic.Bool
		fails.Store(true)
		r.receiver.answer = func(posted, int) (*http.Response, error) {
			if fails.Load() {
				return nil, errors.New("no network")
			}
			return answered(200), nil
		}
		a, stop := r.gateway(nil, hook("one"))
		time.Sleep(time.Second)
		r.lose(true, a)
		time.Sleep(time.Minute)
		if s := a.AlertStatus(); s.Pending != 1 || s.Firing != 1 {
			t.Errorf("status is %+v", s)
		}
		next, stopNext := r.gateway(a.shared, hook("one"))
		stop()
		fails.Store(false)
		r.lose(true, next)
		time.Sleep(5 * time.Minute)
		n := len(r.receiver.all())
		time.Sleep(time.Hour)
		if told := r.receiver.of("one"); len(told) != n || told[n-1] != "+store_down/"+a.shared.circuits.gateway {
			t.Errorf("%q was told", told)
		}
		keys := make(map[string]bool)
		for _, p := range r.receiver.all() {
			keys[p.header.Get("Idempotency-Key")] = true
		}
		if len(keys) != 1 {
			t.Errorf("keys are %v", keys)
		}
		stopNext()
	})
}

// A store that was emptied is told what was known, and nothing is told twice.
func TestAnEmptiedStoreLearnsWhatIsFiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		a.Emit("node_down", "a", reason)
		time.Sleep(afterGroup)
		empty := newAlertRoom(t)
		r.lose(true, a)
		time.Sleep(3 * time.Second)
		r.store.other.Store(&empty.store.Store)
		r.lose(false, a)
		time.Sleep(time.Minute)
		state, err := r.store.Alerts().State(t.Context())
		if err != nil || state.Revision == 0 {
			t.Fatalf("state is %+v, %v", state, err)
		}
		r.receiver.expect(t, "one", "+node_down/a")
		a.Emit("node_up", "a", nil)
		time.Sleep(afterGroup)
		r.receiver.expect(t, "one", "+node_down/a", "-node_down/a")
	})
}

func TestOperatorStatesAreHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.health = HealthUnhealthy
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		set := func(to AdminState) {
			old := a.Snapshot()
			node := *old.Node("a")
			node.AdminState = to
			a.registry.current.Store(&Snapshot{Nodes: []*Node{&node}, bySlug: map[string]*Node{"a": &node}})
			a.Emit("node_admin_state", "a", map[string]any{"to": string(to)})
		}
		set(AdminMaintenance)
		a.Emit("node_down", "a", reason)
		a.Emit("breaker_open", "a", reason)
		time.Sleep(time.Minute)
		r.receiver.expect(t, "one")
		set(AdminEnabled) // it is still down
		time.Sleep(time.Minute)
		r.receiver.expect(t, "one", "+node_down/a")
		set(AdminMaintenance)
		time.Sleep(time.Minute)
		r.receiver.expect(t, "one", "+node_down/a", "-node_down/a")
	})
}

// A start that finds a past without alerts tells nothing of it.
func TestTheFirstStartTellsNothingOfThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		for range 3 {
			if _, err := r.store.Events().Append(t.Context(), store.Event{Kind: "node_down", Node: "a", Data: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Minute)
		r.receiver.expect(t, "one")
		a.Emit("node_down", "b", reason)
		time.Sleep(afterGroup)
		r.receiver.expect(t, "one", "+node_down/b")
	})
}

// A node that is down is told of, although whoever was to raise its event died.
func TestADownNodeThatNoEventToldOfIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		r.health = HealthUnhealthy
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(alertOverAfter - time.Second)
		r.receiver.expect(t, "one")
		time.Sleep(time.Minute)
		r.receiver.expect(t, "one", "+node_down/a +node_down/b +node_down/c +node_down/shop")
		a.Emit("node_down", "a", reason) // late
		a.Emit("node_up", "b", nil)
		a.Snapshot().Node("b").gate.member.health.status.Store(&HealthStatus{State: HealthHealthy, Since: time.Now()})
		time.Sleep(time.Minute)
		r.receiver.expect(t, "one", "+node_down/a +node_down/b +node_down/c +node_down/shop", "-node_down/b")
	})
}

func TestATestAlertGoesPastEverything(t *testing.T) {
	r := newAlertRoom(t)
	r.receiver.answer = func(p posted, _ int) (*http.Response, error) {
		if p.host == "two" {
			return answered(404), nil
		}
		return answered(200), nil
	}
	a, stop := r.gateway(nil, hook("one", func(w *AlertWebhook) { w.On = []string{"node_up"} }), hook("two"))
	defer stop()
	results, err := a.TestAlert(t.Context(), 0)
	if err != nil || len(results) != 2 || results[0].Error != "" || results[0].Status != 200 ||
		results[1].Error != "the webhook answered HTTP 404" || results[1].At != "http://two" {
		t.Fatalf("%+v %v", results, err)
	}
	r.receiver.expect(t, "one", "+test/"+a.shared.circuits.gateway)
	if results, err = a.TestAlert(t.Context(), 1); err != nil || len(results) != 1 || results[0].Webhook != 1 {
		t.Errorf("%+v %v", results, err)
	}
	var refused *NodeError
	if _, err = a.TestAlert(t.Context(), 3); !errors.As(err, &refused) {
		t.Errorf("error is %v", err)
	}
	bare, stopBare := r.gateway(nil)
	defer stopBare()
	if _, err = bare.TestAlert(t.Context(), 0); !errors.As(err, &refused) {
		t.Errorf("error is %v", err)
	}
}

// Up to 25 nodes are listed one by one; of more there is one summary, and one
// of their return.
func TestManyNodesThatGoDownAreOneSummary(t *testing.T) {
	for _, n := range []int{25, 26, 300} {
		synctest.Test(t, func(t *testing.T) {
			r := newAlertRoom(t)
			a, stop := r.gateway(nil, hook("one"), hook("slack", func(w *AlertWebhook) { w.Format = "slack" }))
			defer stop()
			time.Sleep(time.Second)
			for _, kind := range []string{"node_down", "node_up"} {
				for i := range n {
					a.Emit(kind, fmt.Sprintf("node-%d", i), reason)
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(afterGroup)
			}
			slack := 0
			var messages []posted
			for _, p := range r.receiver.all() {
				if p.host == "slack" {
					slack++
				} else {
					messages = append(messages, p)
				}
			}
			if len(messages) != 2 || slack != 2 {
				t.Fatalf("%d nodes made %d messages, and %d for Slack", n, len(messages), slack)
			}
			for i, status := range []string{"firing", "resolved"} {
				var m struct {
					Status, Summary string
					Storm           bool
					Omitted         int
					Counts          map[string]map[string]int
					Alerts          []struct{}
				}
				if err := json.Unmarshal(messages[i].body, &m); err != nil {
					t.Fatal(err)
				}
				listed := n
				if n > 25 {
					listed = 10
				}
				if m.Status != status || m.Storm != (n > 25) || len(m.Alerts) != listed || m.Omitted != n-listed || m.Counts[status]["node_down"] != n ||
					m.Summary != fmt.Sprintf("%d %s (%d node_down)", n, status, n) {
					t.Errorf("%d nodes: %s", n, messages[i].body)
				}
			}
		})
	}
}

func TestAStormIsOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		for i := range 600 {
			a.Emit("action_stuck", "", map[string]any{"action": string(rune('A'+i%26)) + time.Duration(i).String()})
		}
		time.Sleep(time.Minute)
		if n := len(r.receiver.all()); n != 1 {
			t.Fatalf("%d messages", n)
		}
		if body := r.receiver.all()[0].body; len(body) > 10_000 {
			t.Errorf("it has %d bytes", len(body))
		}
		if a.AlertStatus().Firing != 600 {
			t.Errorf("status is %+v", a.AlertStatus())
		}
	})
}
