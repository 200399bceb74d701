package alert

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func all(*Alert) (mine, over bool) { return true, false }

// lone is a story of a gateway that loses its store, which had come to known.
func lone(t *testing.T, known *story, mine func(*Alert) (mine, over bool)) *story {
	s := tell(t, known.route...)
	s.now, s.start = known.now, known.start
	s.state = Lone(known.state, "g/1", Group, mine, s.now)
	return s
}

// passes lets time pass without JSON, which does not know of a lone gateway.
func (s *story) passes(d time.Duration, expected ...string) {
	s.Helper()
	told := []string{}
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Second)
		messages, _ := s.state.Due(s.now, s.route)
		told = append(told, marked(messages)...)
	}
	if !slices.Equal(told, append([]string{}, expected...)) {
		s.Fatalf("at %v %v was told, expected %v", s.now.Sub(s.start), told, expected)
	}
}

func marked(messages []Message) (told []string) {
	for _, m := range messages {
		for _, n := range m.Notices {
			mark := map[string]string{firing: "+", resolved: "-"}[n.Status()]
			if n.Repeated {
				mark = "="
			}
			told = append(told, mark+n.Key())
		}
	}
	return told
}

// TestALoneGatewayTellsWhatItSeesAndNoEnd: what waited, what begins and what
// goes on.
func TestALoneGatewayTellsWhatItSeesAndNoEnd(t *testing.T) {
	known := tell(t, Route{Repeat: time.Hour})
	for _, node := range []string{"told", "over", "elsewhere"} {
		known.event("node_down", node, nil)
	}
	known.after(10*time.Second, "+node_down/elsewhere", "+node_down/over", "+node_down/told")
	known.event("node_down", "waits", nil)
	known.event("node_down", "unseen", nil)
	known.event("node_down", "short", nil)
	known.event("node_up", "over", nil) // which waits, too
	known.after(3 * time.Second)

	s := lone(t, known, func(a *Alert) (mine, over bool) { return a.Node != "elsewhere", a.Node == "unseen" || a.Node == "told" })
	s.event("node_down", "new", nil)
	s.event("node_down", "short", nil)
	s.event("node_up", "short", nil)
	s.event("store_down", "", map[string]any{"gateway": "g"})
	s.passes(9 * time.Second)
	s.passes(time.Second, "+node_down/waits", "+node_down/new", "+store_down/g")
	s.event("node_down", "over", nil) // its end was not told
	s.event("node_up", "new", nil)
	s.event("node_up", "told", nil)
	s.event("node_down", "told", nil)
	s.passes(2*time.Hour-10*time.Second,
		"=node_down/over", "=node_down/told", "=node_down/waits", "=store_down/g", // an hour after each was first told
		"=node_down/over", "=node_down/told")
	if known.state.Alerts["node_down/waits"].Told != (time.Time{}) {
		t.Error("what all gateways know was changed")
	}
}

// TestALoneGatewayMayKnowNothing: it began without its store.
func TestALoneGatewayMayKnowNothing(t *testing.T) {
	s := tell(t)
	s.state = Lone(nil, "g/1", Group, all, s.now)
	s.event("node_down", "a", nil)
	s.passes(10*time.Second, "+node_down/a")
}

// TestWhatWasToldAloneIsAdopted: what is firing is not told again, and what is
// over is told to be, once nobody is left who may see it.
func TestWhatWasToldAloneIsAdopted(t *testing.T) {
	type step struct{ kind, node string }
	down, up, pause := "node_down", "node_up", ""
	for name, c := range map[string]struct {
		before  []step // that all gateways know of
		alone   []step // that g sees alone; "" lets a minute pass
		others  []step // that the others see meanwhile
		sole    bool
		unknown bool // the state is another one than it was
		then    string
		firing  int
	}{
		"began and goes on":                      {alone: []step{{down, "a"}, {pause, ""}}, firing: 1},
		"began and ended":                        {alone: []step{{down, "a"}, {pause, ""}, {up, "a"}}, then: "-node_down/a"},
		"ended before it was told":               {alone: []step{{down, "a"}, {up, "a"}}},
		"began a moment ago":                     {alone: []step{{down, "a"}}, then: "+node_down/a", firing: 1},
		"told before, and goes on":               {before: []step{{down, "a"}, {pause, ""}}, alone: []step{{pause, ""}}, firing: 1},
		"told before, and ended":                 {before: []step{{down, "a"}, {pause, ""}}, alone: []step{{up, "a"}}, sole: true, then: "-node_down/a"},
		"told before, and ended for g":           {before: []step{{down, "a"}, {pause, ""}}, alone: []step{{up, "a"}}, firing: 1},
		"waited, and was told":                   {before: []step{{down, "a"}}, alone: []step{{pause, ""}}, firing: 1},
		"waited, and ended untold":               {before: []step{{down, "a"}}, alone: []step{{up, "a"}}, sole: true},
		"waited, was told and ended":             {before: []step{{down, "a"}}, alone: []step{{pause, ""}, {up, "a"}}, sole: true, then: "-node_down/a"},
		"ended for the others":                   {before: []step{{down, "a"}, {pause, ""}}, others: []step{{up, "a"}, {pause, ""}}},
		"another's is no gateway's to end":       {alone: []step{{down, "a"}, {pause, ""}, {up, "a"}}, others: []step{{down, "a"}, {pause, ""}}, firing: 1},
		"an action's end is everybody's":         {before: []step{{"action_stuck", "a"}, {pause, ""}}, alone: []step{{"action_unstuck", "a"}}, then: "-action_stuck/a"},
		"an action ended for the others":         {before: []step{{"action_stuck", "a"}, {pause, ""}}, others: []step{{"action_unstuck", "a"}}, then: "-action_stuck/a"},
		"goes on, in a store that was emptied":   {before: []step{{down, "a"}, {pause, ""}}, unknown: true, firing: 1},
		"ended, in a store that was emptied":     {before: []step{{down, "a"}, {pause, ""}}, alone: []step{{up, "a"}}, unknown: true, then: "-node_down/a"},
		"the others saw the end, and g does not": {alone: []step{{down, "a"}, {pause, ""}}, others: []step{{down, "a"}, {pause, ""}, {up, "a"}}, firing: 1},
	} {
		t.Run(name, func(t *testing.T) {
			play := func(s *story, steps []step) {
				for _, step := range steps {
					if step.kind != pause {
						s.event(step.kind, step.node, map[string]any{"action": step.node})
						continue
					}
					for range 60 {
						s.now = s.now.Add(time.Second)
						s.state.Due(s.now, s.route)
					}
				}
			}
			s := tell(t, Route{})
			s.state.Muster(Present{Hosts: map[string]string{"g": "x"}, Shared: true, Sure: true}, s.now)
			if !c.sole {
				s.state.Muster(Present{Hosts: map[string]string{"g": "x", "h": "y"}, Shared: true, Sure: true}, s.now)
			}
			play(s, c.before)
			alone := lone(t, s, all)
			play(alone, c.alone)
			if c.unknown {
				s.state = new(State)
			}
			play(s, c.others)
			s.state.Adopt(alone.state, "g", !c.unknown, s.now)
			told := ""
			for range 60 {
				s.now = s.now.Add(time.Second)
				messages, _ := s.state.Due(s.now, s.route)
				told += strings.Join(marked(messages), " ")
			}
			if told != c.then || s.state.Firing() != c.firing || len(s.state.Alerts) != c.firing {
				t.Errorf("%q was told, expected %q; %d fire, expected %d", told, c.then, s.state.Firing(), c.firing)
			}
		})
	}
}

// TestARepeatIsToldOnceWhoeverTellsIt: by a lone gateway or by all.
func TestARepeatIsToldOnceWhoeverTellsIt(t *testing.T) {
	s := tell(t, Route{Repeat: time.Hour})
	s.event("node_down", "a", nil)
	s.after(10*time.Second, "+node_down/a")
	alone := lone(t, s, all)
	alone.passes(time.Hour, "=node_down/a")
	s.now = alone.now
	s.state.Adopt(alone.state, "g", true, s.now)
	s.after(time.Hour - 2*time.Second)
	s.after(2*time.Second, "=node_down/a")
	// what was repeated alone after all others heard that it is over
	alone = lone(t, s, all)
	s.event("node_up", "a", nil)
	s.after(time.Minute, "-node_down/a")
	alone.passes(time.Hour, "=node_down/a")
	s.now = alone.now
	s.state.Adopt(alone.state, "g", true, s.now)
	s.after(time.Minute, "-node_down/a")
}

// TestWhatWasToldAloneIsSaidAgain: to the routes that older messages wait for.
func TestWhatWasToldAloneIsSaidAgain(t *testing.T) {
	known := tell(t, Route{}, Route{On: map[Kind]bool{BreakerOpen: true}}, Route{})
	known.event("node_down", "known", nil)
	known.after(10*time.Second, "+node_down/known", "|", "+node_down/known")
	s := lone(t, known, all)
	s.event("node_down", "a", nil)
	s.event("node_down", "over", nil)
	s.event("refresh_replayed", "a", nil)
	s.now = s.now.Add(Group)
	s.state.Due(s.now, s.route)
	s.event("node_up", "over", nil)
	messages := s.state.Again(s.now, s.route, map[int]bool{0: true, 1: true})
	if len(messages) != 1 || messages[0].Route != 0 || strings.Join(marked(messages), " ") != "=node_down/a" {
		t.Errorf("messages are %+v", messages)
	}
}

// TestTheEndOfWhatWasToldAloneWaitsForGateways that may still see it, until they
// are there no more.
func TestTheEndOfWhatWasToldAloneWaitsForGateways(t *testing.T) {
	both := Present{Hosts: map[string]string{"g": "x", "h": "y"}, Shared: true, Sure: true}
	only := Present{Hosts: map[string]string{"g": "x"}, Shared: true, Sure: true}
	begin := func(t *testing.T) *story {
		s := tell(t, Route{})
		s.state.Muster(both, s.now)
		alone := lone(t, s, all)
		alone.event("node_down", "a", nil)
		alone.passes(10*time.Second, "+node_down/a")
		alone.event("node_up", "a", nil)
		s.now = alone.now
		s.state.Muster(only, s.now)
		s.state.Adopt(alone.state, "g", true, s.now)
		s.event("node_down", "b", nil)
		s.after(10*time.Second, "+node_down/b")
		s.event("node_up", "b", nil) // nobody told of it alone
		s.after(time.Minute, "-node_down/b")
		return s
	}
	s := begin(t)
	s.state.Muster(both, s.now) // and sees it no more
	s.after(time.Minute, "-node_down/a")

	s = begin(t)
	alone := lone(t, tell(t), all)
	alone.event("node_down", "a", nil)
	alone.passes(10*time.Second, "+node_down/a")
	s.state.Muster(both, s.now)
	s.state.Adopt(alone.state, "h", true, s.now) // and sees it
	s.after(time.Minute)
	s.event("node_up", "a", nil)
	s.after(time.Minute, "-node_down/a")

	s = begin(t)
	s.now = s.now.Add(GoneAfter - 2*time.Minute)
	s.state.Muster(only, s.now)
	s.after(time.Minute)
	s.now = s.now.Add(time.Minute)
	s.state.Muster(only, s.now)
	s.after(time.Minute, "-node_down/a", "-store_down/h", "-prober_unhealthy/h")
}

// TestAGatewayThatLeftWithoutAWordIsBuried: and what it may have told of itself.
func TestAGatewayThatLeftWithoutAWordIsBuried(t *testing.T) {
	present := func(shared, sure bool, hosts ...string) Present {
		p := Present{Hosts: make(map[string]string), Shared: shared, Sure: sure}
		for _, h := range hosts {
			id, host, _ := strings.Cut(h, "@")
			p.Hosts[id] = host
		}
		return p
	}
	for name, c := range map[string]struct {
		before, after Present
		buried        time.Duration // after how long; 0: not within an hour
	}{
		"there":                     {present(true, true, "old@x", "new@x"), present(true, true, "old@x", "new@x"), 0},
		"gone":                      {present(true, true, "old@x", "new@y"), present(true, true, "new@y"), GoneAfter},
		"replaced":                  {present(true, true, "old@x", "other@y"), present(true, true, "new@x", "other@y"), ReplacedAfter},
		"beside another":            {present(true, true, "old@x", "new@x"), present(true, true, "new@x"), GoneAfter},
		"alone with its store":      {present(false, true, "old@x"), present(false, true, "new@y"), time.Second},
		"nobody knows who is there": {present(true, true, "old@x", "new@x"), present(true, false, "new@x"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, Route{})
			s.state.Muster(c.before, s.now)
			start := s.now.Add(time.Second)
			for s.now.Sub(s.start) < time.Hour {
				s.now = s.now.Add(time.Second)
				s.state.Muster(c.after, s.now)
				if _, stands := s.state.Gateways["old"]; !stands {
					break
				}
			}
			_, stands := s.state.Gateways["old"]
			if stands != (c.buried == 0) {
				t.Fatalf("gateways are %v", s.state.Gateways)
			}
			if c.buried == 0 {
				s.after(time.Minute)
				return
			}
			if took := s.now.Sub(start); took > c.buried || took < c.buried-time.Second {
				t.Errorf("it took %v", took)
			}
			s.after(time.Minute, "-store_down/old", "-prober_unhealthy/old")
		})
	}
}

func TestMusterTellsWhatIsNew(t *testing.T) {
	s := new(State)
	now := time.Now()
	two := Present{Hosts: map[string]string{"g": "x", "h": "y"}, Shared: true, Sure: true}
	one := Present{Hosts: map[string]string{"g": "x"}, Shared: true, Sure: true}
	for i, c := range []struct {
		Present
		changed bool
	}{{two, true}, {two, false}, {one, true}, {one, false}, {two, true}, {two, false}} {
		if changed := s.Clone().Muster(c.Present, now); changed != c.changed {
			t.Errorf("step %d: changed is %v", i, changed)
		}
		s.Muster(c.Present, now)
	}
}

// TestWhatIsOverIsWithdrawn: from messages of a lone gateway that have not arrived.
func TestWhatIsOverIsWithdrawn(t *testing.T) {
	known := tell(t, Route{Repeat: time.Hour})
	known.event("node_down", "old", nil)
	known.after(Group, "+node_down/old")
	s := lone(t, known, all)
	for _, node := range []string{"a", "b"} {
		s.event("node_down", node, nil)
	}
	s.event("refresh_replayed", "a", nil)
	s.now = s.now.Add(Group)
	first, _ := s.state.Due(s.now, s.route)
	s.now = s.now.Add(time.Hour)
	repeats, _ := s.state.Due(s.now, s.route)
	withdraw := func(m Message, expected string) Message {
		t.Helper()
		left, changed := s.state.Withdraw(m, "")
		if got := strings.Join(marked([]Message{left}), " "); got != expected || changed != (len(left.Notices) != len(m.Notices)) {
			t.Fatalf("left is %s, expected %s; changed: %v", got, expected, changed)
		}
		return left
	}
	withdraw(first[0], "+node_down/a +node_down/b +refresh_replayed/a")
	s.event("node_up", "a", nil)
	s.event("node_up", "old", nil)
	left := withdraw(first[0], "+node_down/b +refresh_replayed/a")
	withdraw(repeats[0], "=node_down/b")
	if s.state.Alerts["node_down/a"] != nil || s.state.Alerts["node_down/old"] == nil {
		t.Errorf("alerts are %v", s.state.Alerts)
	}
	// of what was tried nobody knows whether it arrived: it is told to be over,
	// and once more that it begins
	s.state.Try(left, "")
	s.event("node_up", "b", nil)
	withdraw(left, "+refresh_replayed/a")
	if b := s.state.Alerts["node_down/b"]; b == nil || b.Ended.IsZero() || b.Told.IsZero() {
		t.Errorf("b is %+v", b)
	}
	s.event("node_down", "b", nil)
	s.passes(Group, "+node_down/b")
}
