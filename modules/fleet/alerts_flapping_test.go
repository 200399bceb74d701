package fleet

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// repeatedOf returns of each message about a key whether it was "+", a repeat
// "=" or an end "-".
func (r *receiver) repeatedOf(t *testing.T, key string) string {
	t.Helper()
	var told strings.Builder
	for _, p := range r.all() {
		var message struct {
			Alerts []struct {
				Key, Status string
				Repeated    bool
			}
		}
		if err := json.Unmarshal(p.body, &message); err != nil {
			t.Fatal(err)
		}
		for _, a := range message.Alerts {
			switch {
			case a.Key != key:
			case a.Status == "resolved":
				told.WriteString("-")
			case a.Repeated:
				told.WriteString("=")
			default:
				told.WriteString("+")
			}
		}
	}
	return told.String()
}

// TestAFlappingStoreIsToldOnce while another gateway is not heard of, so that the
// end waits.
func TestAFlappingStoreIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		first, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		second, stopToo := r.gateway(nil, hook("one"))
		defer stopToo()
		one, two := "store_down/"+first.shared.circuits.gateway, "store_down/"+second.shared.circuits.gateway
		r.hosts[second.shared.circuits.gateway] = "elsewhere"
		r.muster()
		time.Sleep(2 * alertLook)
		r.cut(true, second)
		for range 4 {
			time.Sleep(30 * time.Second)
			r.cut(true, first)
			time.Sleep(2 * afterGroup)
			r.cut(false, first)
		}
		time.Sleep(30 * time.Second)
		if told := r.receiver.repeatedOf(t, one); told != "+" {
			t.Fatalf("while the other one is missing %q was told", told)
		}
		back := time.Now()
		r.cut(false, second)
		time.Sleep(time.Minute)
		if told := r.receiver.repeatedOf(t, one) + r.receiver.repeatedOf(t, two); told != "+-+-" {
			t.Errorf("then %q was told", told)
		}
		for _, p := range r.receiver.all() {
			if p.at.After(back) && !strings.Contains(string(p.body), back.Add(-30*time.Second).UTC().Format("2006-01-02T15:04:05")) {
				t.Errorf("the last loss ended half a minute before: %s", p.body)
			}
		}
	})
}

// TestALossThatGoesOnIsToldOnce by the only gateway there is: nobody else can tell
// the end, which waits for the group.
func TestALossThatGoesOnIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		a, stop := r.gateway(nil, hook("one"))
		defer stop()
		for range 4 {
			time.Sleep(8 * time.Second)
			r.cut(true, a)
			time.Sleep(2 * afterGroup)
			r.cut(false, a)
		}
		time.Sleep(time.Minute)
		if told := r.receiver.repeatedOf(t, "store_down/"+a.shared.circuits.gateway); told != "+-" {
			t.Errorf("%q was told", told)
		}
	})
}

// TestALossThatOthersMayHaveEndedIsRepeated: the store of one gateway is lost
// again within the time for which its end waits, and those that have the store
// may tell that end.
func TestALossThatOthersMayHaveEndedIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAlertRoom(t)
		_, stop := r.gateway(nil, hook("one"))
		defer stop()
		time.Sleep(time.Second)
		second, stopToo := r.gateway(nil, hook("one"))
		defer stopToo()
		down := "store_down/" + second.shared.circuits.gateway
		time.Sleep(2 * alertLook)
		r.cut(true, second)
		time.Sleep(2 * afterGroup)
		r.cut(false, second)
		time.Sleep(8 * time.Second)
		r.cut(true, second)
		time.Sleep(2 * afterGroup)
		if told := strings.ReplaceAll(r.receiver.repeatedOf(t, down), "-", ""); told != "+=" {
			t.Errorf("%q was told", told)
		}
		r.cut(false, second)
		time.Sleep(time.Minute)
		if told := r.receiver.repeatedOf(t, down); !strings.HasSuffix(told, "=-") {
			t.Errorf("then %q was told", told)
		}
	})
}
