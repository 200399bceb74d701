package monitor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// each letter is a check: g good, w weak, b bad. Expected is the first letter
// of the state after it.
func TestTrack(t *testing.T) {
	for samples, states := range map[string]string{
		"g":            "h",
		"w":            "d",
		"bbbb":         "kkuu",
		"bbgb":         "kkhh",
		"gbbgbbgbbb":   "hhhhhhhhhu",
		"gbbbgbggg":    "hhhuuuuhh",
		"gbbbwgg":      "hhhuuhh",
		"gbbbgw":       "hhhuud",
		"gwgww":        "hhhhd",
		"wwgg":         "dddh",
		"gwbwbwb":      "hhhhhhh",
		"gbbbggbbbgg":  "hhhuuhhhuuu", // the fourth change: held
		"wbbbwwbbbbww": "ddduuddduuuu",
	} {
		var track Track
		var got strings.Builder
		for i, s := range samples {
			track.Observe(&Default, t0.Add(time.Duration(i)*time.Second), map[rune]Sample{'g': Good, 'w': Weak, 'b': Bad}[s], false)
			switch track.State {
			case Unhealthy:
				got.WriteByte('u')
			case Unknown:
				got.WriteByte('k')
			default:
				got.WriteByte(track.State[0])
			}
		}
		if got.String() != states {
			t.Errorf("%s: %s, expected %s", samples, got.String(), states)
		}
	}
}

func TestFlappingIsHeldUntilTheNodeStands(t *testing.T) {
	var track Track
	now := t0
	step := func(s Sample, n int) {
		for range n {
			now = now.Add(time.Second)
			track.Observe(&Default, now, s, false)
		}
	}
	step(Good, 1)
	for range 2 {
		step(Bad, 3)
		step(Good, 2)
	}
	if !track.Flapping || track.State != Unhealthy {
		t.Fatalf("after four changes: %+v", track)
	}
	step(Good, 30)
	step(Bad, 3) // and the hold begins anew
	step(Good, 2)
	step(Good, 59)
	if !track.Flapping {
		t.Fatal("the hold ended early")
	}
	step(Good, 1)
	if track.Flapping || track.State != Healthy {
		t.Fatalf("after it stood: %+v", track)
	}
	// slow changes are none
	for range 10 {
		now = now.Add(3 * time.Minute)
		step(Bad, 3)
		now = now.Add(3 * time.Minute)
		step(Good, 2)
	}
	if track.Flapping {
		t.Error("twenty changes in an hour are flapping")
	}
}

func TestNothingGoesDownWhileFrozen(t *testing.T) {
	var track Track
	track.Observe(&Default, t0, Good, false)
	for range 10 {
		track.Observe(&Default, t0, Bad, true)
	}
	if track.State != Healthy {
		t.Fatalf("state is %s", track.State)
	}
	if !track.Observe(&Default, t0, Bad, false) || track.State != Unhealthy {
		t.Error("after the freeze it is not believed")
	}
	track.Observe(&Default, t0, Good, true)
	if track.Observe(&Default, t0, Good, true); track.State != Healthy {
		t.Error("a node cannot come back while frozen")
	}
}

func TestNext(t *testing.T) {
	var track Track
	for i, c := range []struct {
		s     Sample
		pause time.Duration
	}{{Good, 5}, {Bad, 1}, {Bad, 1}, {Bad, 10}, {Bad, 10}, {Good, 1}, {Good, 5}, {Weak, 1}, {Weak, 5}} {
		track.Observe(&Default, t0, c.s, false)
		if got := track.Next(&Default, 0.5); got != c.pause*time.Second {
			t.Errorf("check %d: next in %v, expected %ds", i, got, c.pause)
		}
	}
	if low, high := track.Next(&Default, 0), track.Next(&Default, 1); low != 4*time.Second || high != 6*time.Second {
		t.Errorf("from %v to %v", low, high)
	}
}

func TestCombine(t *testing.T) {
	for _, c := range []struct {
		own     State
		others  map[State]int
		traffic bool
		want    State
	}{
		{Unknown, nil, false, Unknown},
		{Healthy, nil, true, Healthy},
		{Unhealthy, nil, false, Unhealthy},
		{Unhealthy, map[State]int{Healthy: 1}, false, Healthy},
		{Unhealthy, map[State]int{Healthy: 1}, true, Unhealthy},
		{Healthy, map[State]int{Unhealthy: 1}, true, Unhealthy},
		{"", map[State]int{Unhealthy: 2}, false, Unhealthy},
		{"", map[State]int{Unhealthy: 1, Degraded: 1}, false, Degraded},
		{Healthy, map[State]int{Degraded: 1}, false, Degraded},
		{Unknown, map[State]int{Healthy: 1}, false, Healthy},
	} {
		if got := Combine(c.own, c.others, c.traffic); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestVantages(t *testing.T) {
	gateways := []string{"a", "b", "c", "d", "e"}
	count := make(map[string]int)
	moved := 0
	for i := range 1000 {
		node := fmt.Sprint("node-", i)
		chosen := Vantages(gateways, node, 2)
		if len(chosen) != 2 || chosen[0] == chosen[1] {
			t.Fatalf("chosen are %v", chosen)
		}
		for _, g := range chosen {
			count[g]++
		}
		if after := Vantages(gateways[:4], node, 2); after[0] != chosen[0] && !slices.Contains(chosen, "e") {
			moved++
		}
	}
	for g, n := range count {
		if n < 300 || n > 500 {
			t.Errorf("gateway %s checks %d of 1000 nodes", g, n)
		}
	}
	if moved > 0 {
		t.Errorf("%d nodes moved that need not", moved)
	}
	if got := Vantages(gateways[:1], "x", 2); len(got) != 1 || Vantages(nil, "x", 2) != nil {
		t.Errorf("one gateway: %v", got)
	}
}

func TestSelfCheck(t *testing.T) {
	var c SelfCheck
	now := t0
	sample := func(node int, bad bool) bool { return c.Sample(&Default, fmt.Sprint(node), now, bad) }
	for i := range 20 {
		sample(i, false)
	}
	// five of twenty at once are a rack, and the first of them asks others
	for i := range 5 {
		if ask := sample(i, true); ask != (i == 0) {
			t.Errorf("node %d asks: %v", i, ask)
		}
		sample(i, true)
	}
	if why := c.Frozen(&Default, now, 20); why != "" {
		t.Errorf("frozen before anybody else was asked: %s", why)
	}
	for i := 5; i < 12; i++ {
		sample(i, false)
	}
	if why := c.Frozen(&Default, now, 20); why != "" {
		t.Errorf("frozen by five: %s", why)
	}
	// much later most turn bad, and a few witnesses are enough
	now = now.Add(time.Hour)
	c.Frozen(&Default, now, 20)
	for i := 5; i < 12; i++ {
		sample(i, true)
	}
	if why := c.Frozen(&Default, now, 20); why != "" {
		t.Errorf("frozen by seven witnesses: %s", why)
	}
	sample(12, false)
	if c.Frozen(&Default, now, 20) == "" {
		t.Error("seven of eight at once are nothing")
	}
	now = now.Add(time.Hour)
	sample(5, true)
	if c.Frozen(&Default, now, 20) == "" {
		t.Error("the freeze ends while they are bad")
	}
	for i := 5; i < 9; i++ {
		sample(i, false)
	}
	if why := c.Frozen(&Default, now, 20); why != "" {
		t.Errorf("still frozen: %s", why)
	}
	// one after the other is no crowd
	c = SelfCheck{}
	for i := range 10 {
		now = now.Add(6 * time.Second)
		sample(i, true)
		if why := c.Frozen(&Default, now, 10); why != "" {
			t.Fatalf("frozen after %d: %s", i, why)
		}
	}
	// two of two may well be down, three of three are suspect
	c = SelfCheck{}
	sample(0, true)
	sample(1, true)
	if why := c.Frozen(&Default, now, 2); why != "" {
		t.Errorf("frozen: %s", why)
	}
	sample(2, true)
	if c.Frozen(&Default, now, 3) == "" {
		t.Error("three of three are nothing")
	}
	c.Forget("2")
	if why := c.Frozen(&Default, now, 2); why != "" {
		t.Errorf("frozen: %s", why)
	}
	c.Lag(&Default, now, 9*time.Second)
	if why := c.Frozen(&Default, now, 2); why != "" {
		t.Errorf("frozen: %s", why)
	}
	c.Lag(&Default, now, 11*time.Second)
	if c.Frozen(&Default, now.Add(9*time.Second), 2) == "" || c.Frozen(&Default, now.Add(10*time.Second), 2) != "" {
		t.Error("a stall does not freeze for two intervals")
	}
}
