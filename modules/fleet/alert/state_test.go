package alert

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"
)

// story is a state that goes on with a clock of its own.
type story struct {
	*testing.T
	state *State
	now   time.Time
	start time.Time
	quiet map[string]bool
	route []Route
}

func tell(t *testing.T, routes ...Route) *story {
	if len(routes) == 0 {
		routes = []Route{{Repeat: 4 * time.Hour}}
	}
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	return &story{t, new(State), start, start, make(map[string]bool), routes}
}

func (s *story) event(kind, node string, data map[string]any) bool {
	return s.state.Apply(Event{Kind: kind, Node: node, Time: s.now, Data: data}, s.now, func(n string) bool { return s.quiet[n] })
}

// after lets time pass in steps of a second, through JSON as a store has it,
// and returns what was told: "+node_down/shop" for a beginning, "-" for an
// end, "=" for a repeat, and "|" between messages.
func (s *story) after(d time.Duration, expected ...string) {
	s.Helper()
	told := []string{}
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Second)
		text, err := json.Marshal(s.state)
		if err != nil {
			s.Fatal(err)
		}
		s.state = new(State)
		if err := json.Unmarshal(text, s.state); err != nil {
			s.Fatal(err)
		}
		messages, _ := s.state.Due(s.now, s.route)
		for _, m := range messages {
			if len(told) > 0 {
				told = append(told, "|")
			}
			for _, n := range m.Notices {
				mark := "+"
				switch {
				case n.Repeated:
					mark = "="
				case n.Status() == resolved:
					mark = "-"
				}
				told = append(told, mark+n.Key())
			}
		}
	}
	if !slices.Equal(told, append([]string{}, expected...)) {
		s.Fatalf("at %v %v was told, expected %v", s.now.Sub(s.start), told, expected)
	}
}

func TestChangesWithinTenSecondsAreOneMessage(t *testing.T) {
	s := tell(t)
	s.event("node_down", "a", map[string]any{"reason": "refused"})
	s.after(6 * time.Second)
	s.event("breaker_open", "b", nil)
	s.event("node_down", "c", nil)
	s.event("node_down", "a", map[string]any{"reason": "again"}) // it is down already
	s.after(3 * time.Second)
	s.after(time.Second, "+node_down/a", "+node_down/c", "+breaker_open/b") // the worst first
	s.event("node_down", "a", nil)
	s.after(time.Minute)
	s.event("node_up", "a", nil)
	s.event("node_up", "a", nil)
	s.event("node_down", "d", nil)
	s.after(10*time.Second, "+node_down/d", "-node_down/a")
	s.after(time.Minute)
	s.event("node_down", "a", nil) // a new one
	s.after(10*time.Second, "+node_down/a")
}

func TestWhatIsOverBeforeItIsToldIsNotTold(t *testing.T) {
	s := tell(t)
	s.event("node_down", "a", nil)
	s.after(9 * time.Second)
	s.event("node_up", "a", nil)
	s.after(time.Hour)
	s.event("node_up", "a", nil)
	s.after(time.Hour)
	// and an end that is taken back is none
	s.event("node_down", "a", nil)
	s.after(10*time.Second, "+node_down/a")
	s.event("node_up", "a", nil)
	s.after(5 * time.Second)
	s.event("node_down", "a", nil)
	s.after(time.Hour)
	if s.state.Firing() != 1 {
		t.Errorf("%d alerts fire", s.state.Firing())
	}
}

func TestWhatGoesOnIsRepeated(t *testing.T) {
	s := tell(t, Route{Repeat: 4 * time.Hour}, Route{Repeat: time.Hour, On: map[Kind]bool{BreakerOpen: true}}, Route{})
	s.event("breaker_open", "a", nil)
	s.after(10*time.Second, "+breaker_open/a", "|", "+breaker_open/a", "|", "+breaker_open/a")
	s.after(time.Hour - time.Second)
	s.after(time.Second, "=breaker_open/a")
	s.after(time.Hour, "=breaker_open/a")
	s.after(time.Hour, "=breaker_open/a")
	s.after(time.Hour, "=breaker_open/a", "|", "=breaker_open/a")
	// nobody was there for two days: one repeat, not twelve
	s.now = s.now.Add(48 * time.Hour)
	s.after(time.Second, "=breaker_open/a", "|", "=breaker_open/a")
	s.event("breaker_closed", "a", nil)
	s.after(10*time.Second, "-breaker_open/a", "|", "-breaker_open/a") // the second did not ask for breaker_closed
	s.after(24 * time.Hour)
}

func TestAWebhookHearsWhatItAskedFor(t *testing.T) {
	on := func(kinds ...Kind) map[Kind]bool {
		m := make(map[Kind]bool)
		for _, k := range kinds {
			m[k] = true
		}
		return m
	}
	for _, c := range []struct {
		route    Route
		down, up []string
	}{
		{Route{On: on(NodeDown)}, []string{"+node_down/a"}, nil},
		{Route{On: on(NodeUp)}, nil, []string{"-node_down/a"}},
		{Route{On: on(NodeDown, NodeUp)}, []string{"+node_down/a"}, []string{"-node_down/a"}},
		{Route{On: on(NodeDown), Ends: true}, []string{"+node_down/a"}, []string{"-node_down/a"}},
		{Route{On: on(BreakerOpen), Ends: true}, nil, nil},
	} {
		s := tell(t, c.route)
		s.event("node_down", "a", nil)
		s.after(10*time.Second, c.down...)
		s.event("node_up", "a", nil)
		s.after(10*time.Second, c.up...)
	}
}

func TestEachKindBeginsAndEnds(t *testing.T) {
	for _, c := range []struct {
		begins, ends, node, key string
		data                    map[string]any
	}{
		{"node_down", "node_up", "n", "node_down/n", nil},
		{"flapping", "node_up", "n", "flapping/n", nil},
		{"breaker_open", "breaker_closed", "n", "breaker_open/n", nil},
		{"store_down", "store_up", "", "store_down/g1", map[string]any{"gateway": "g1", "error": "gone"}},
		{"prober_unhealthy", "prober_healthy", "", "prober_unhealthy/g1", map[string]any{"gateway": "g1"}},
		{"action_stuck", "action_unstuck", "", "action_stuck/run-7", map[string]any{"action": "run-7"}},
		{"node_down", "node_unregistered", "n", "node_down/n", nil},
	} {
		s := tell(t)
		s.event(c.begins, c.node, c.data)
		s.after(10*time.Second, "+"+c.key)
		s.event(c.ends, c.node, c.data)
		s.after(10*time.Second, "-"+c.key)
		if len(s.state.Alerts) != 0 {
			t.Errorf("%s leaves %v", c.ends, s.state.Alerts)
		}
		for _, kind := range []string{c.begins, c.ends} {
			if !Relevant(kind) {
				t.Errorf("%s is not relevant", kind)
			}
		}
	}
	s := tell(t)
	if s.event("node_registered", "n", nil) || Relevant("node_registered") {
		t.Error("a registration changed the alerts")
	}
}

func TestAReplayedTokenIsToldOnceAnHour(t *testing.T) {
	s := tell(t, Route{Repeat: time.Minute})
	s.event("refresh_replayed", "n", nil)
	s.after(10*time.Second, "+refresh_replayed/n")
	for range 3 {
		s.event("refresh_replayed", "n", nil)
		s.after(15 * time.Minute)
	}
	s.event("node_unregistered", "n", nil)
	s.after(16 * time.Minute)
	s.event("refresh_replayed", "n", nil)
	s.after(10*time.Second, "+refresh_replayed/n")
}

func TestOfNodesInMaintenanceNothingIsTold(t *testing.T) {
	s := tell(t)
	s.event("node_down", "a", nil)
	s.event("node_down", "b", nil)
	s.after(10*time.Second, "+node_down/a", "+node_down/b")
	s.quiet["a"] = true
	s.event("node_admin_state", "a", map[string]any{"to": "maintenance"})
	s.event("node_admin_state", "b", map[string]any{"to": "draining"})
	s.event("breaker_open", "a", nil)
	s.event("flapping", "a", nil)
	s.after(time.Minute, "-node_down/a")
}

func TestMoreThanCanBeFollowedAreCounted(t *testing.T) {
	s := tell(t)
	for i := range MaxFollowed + 3 {
		s.event("node_down", fmt.Sprint("n", i), nil)
	}
	s.now = s.now.Add(Group)
	messages, noted := s.state.Due(s.now, []Route{{}, {Most: 300}})
	if !noted || len(messages) != 1+7 || len(messages[0].Notices) != MaxFollowed || messages[0].Unfollowed != 3 {
		t.Fatalf("%d messages", len(messages))
	}
	if n := len(messages[7].Notices); n != MaxFollowed-6*300 || messages[1].Unfollowed != 3 || messages[7].Unfollowed != 0 {
		t.Errorf("the last has %d", n)
	}
	text, err := json.Marshal(s.state)
	if err != nil || len(text) > 1<<20 {
		t.Errorf("the state has %d bytes: %v", len(text), err)
	}
}

func TestACloneSharesNothing(t *testing.T) {
	s := tell(t)
	s.event("node_down", "a", nil)
	c := s.state.Clone()
	c.Due(s.now.Add(time.Minute), nil)
	if !s.state.Alerts["node_down/a"].Told.IsZero() || c.Alerts["node_down/a"].Told.IsZero() {
		t.Error("a clone changed what it was made of")
	}
}

// TestTheEndOfWhatWasNamedIsNamed: in as many messages as that takes, and what
// was only counted is only counted.
func TestTheEndOfWhatWasNamedIsNamed(t *testing.T) {
	for _, c := range []struct {
		begin    []int // how many nodes go down, in messages of their own
		named    int
		messages int // of their ends
	}{
		{[]int{25}, 25, 1},
		{[]int{26}, 10, 1},
		{[]int{300}, 10, 1},
		{[]int{20, 20}, 40, 2},
		{[]int{20, 300}, 30, 3}, // a summary of those that were not named, and two
		{[]int{25, 25, 25, 1}, 76, 4},
	} {
		s := tell(t, Route{}, Route{Ends: true, Most: AlertmanagerMost})
		total := 0
		open := make(map[string]bool)
		deliver := func() (messages int) {
			text, _ := json.Marshal(s.state)
			s.state = new(State)
			if err := json.Unmarshal(text, s.state); err != nil {
				t.Fatal(err)
			}
			s.now = s.now.Add(Group)
			due, _ := s.state.Due(s.now, s.route)
			for _, m := range due {
				if m.Route != 0 {
					continue
				}
				messages++
				plain := m.plain(About{Federation: "f"})
				counted := 0
				for _, kinds := range plain.Counts {
					for _, n := range kinds {
						counted += n
					}
				}
				if counted != len(plain.Alerts)+plain.Omitted {
					t.Errorf("%v: %d are counted, %d listed and %d omitted", c.begin, counted, len(plain.Alerts), plain.Omitted)
				}
				for _, a := range plain.Alerts {
					if a.Status == firing {
						open[a.Key] = true
					} else {
						delete(open, a.Key)
					}
				}
			}
			return messages
		}
		for _, n := range c.begin {
			for range n {
				s.event("node_down", fmt.Sprintf("node-%03d", total), nil)
				total++
			}
			deliver()
		}
		if len(open) != c.named {
			t.Errorf("%v: %d were named", c.begin, len(open))
		}
		for i := range total {
			s.event("node_up", fmt.Sprintf("node-%03d", total-1-i), nil)
		}
		if messages := deliver(); len(open) > 0 || messages != c.messages || len(s.state.Alerts) > 0 {
			t.Errorf("%v: of %d the end was not named, in %d messages", c.begin, len(open), messages)
		}
	}
}

// TestWhoHeardOfAnAlertIsToldItsEnd: over JSON, also where nobody heard of it, and
// everybody where that is not known.
func TestWhoHeardOfAnAlertIsToldItsEnd(t *testing.T) {
	none := Route{Webhook: "none", On: map[Kind]bool{StoreDown: true}}
	s := tell(t, none)
	s.event("node_down", "a", nil)
	s.after(Group)
	s.route = []Route{{Webhook: "new"}, {Webhook: "ends", On: map[Kind]bool{NodeUp: true}}}
	s.event("node_down", "b", nil)
	s.after(Group, "+node_down/b")
	s.event("node_up", "a", nil)
	s.after(Group, "-node_down/a") // to the one that asked for ends alone
	s.state.Alerts["node_down/b"].Heard = nil
	s.event("node_up", "b", nil)
	s.after(Group, "-node_down/b", "|", "-node_down/b")
}
