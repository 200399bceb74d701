package alert

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// How alerts become messages.
const (
	// Group is how long the first of some changes waits for others to be told
	// in the same message, unless the state says otherwise.
	Group = 10 * time.Second
	// MaxFollowed is how many alerts are followed at once. Those that begin
	// while as many are firing are counted and not followed.
	MaxFollowed = 2000
)

// Event is something that happened to the federation.
type Event struct {
	Kind string
	Node string
	Time time.Time
	// Data says more: reason, error, gateway, host, shared, action, to, outage.
	Data map[string]any
}

func (e Event) text(name string) string {
	text, _ := e.Data[name].(string)
	return Clean(text, maxReason)
}

// Outage names the loss of the store during which a gateway raised the event,
// and so tells of it by itself. Empty: the gateway had its store.
func (e Event) Outage() string { return e.text("outage") }

// Alert is something that is wrong, until it is over.
type Alert struct {
	Kind Kind   `json:"kind"`
	Node string `json:"node,omitempty"`
	// Gateway and Host are of alerts about a gateway: its id, and the name of
	// its machine.
	Gateway string `json:"gateway,omitempty"`
	Host    string `json:"host,omitempty"`
	// Shared is of alerts about a store: whether other gateways can use it too.
	Shared bool `json:"shared,omitempty"`
	// Action is of alerts about an action: its id.
	Action string `json:"action,omitempty"`
	// Reason says why in words. It may come from a node and be hostile.
	Reason string    `json:"reason,omitempty"`
	Began  time.Time `json:"began"`
	// Ended is when it was over; zero while it is firing.
	Ended time.Time `json:"ended,omitzero"`
	// Told is when its beginning went into a message; zero: not yet.
	Told time.Time `json:"told,omitzero"`
	// Alone is set when a gateway that had no store told of it: see [Lone].
	Alone bool `json:"alone,omitempty"`
	// Named is set when a message named it while it was firing, and did not only
	// count it: its end is named too.
	Named bool `json:"named,omitempty"`
	// Heard are the webhooks that were told of it while it was firing; nil: that
	// is not known. At most as many as are configured.
	Heard []string `json:"heard,omitzero"`
	// Gone is set when it is over because its gateway is there no more.
	Gone bool `json:"gone,omitempty"`

	// Of a lone gateway, see [Lone]: all gateways know of it, and it is told as
	// repeated when it goes on.
	carried, again bool
	// Also of a lone gateway: the webhooks to which a message with it was tried,
	// and those of whose message it was taken back, see [State.Withdraw].
	tried, withdrawn []string
}

// Key is the same for all that is told of one thing that is wrong.
func (a Alert) Key() string {
	subject := a.Node
	switch a.Kind {
	case StoreDown, ProberUnhealthy, Test:
		subject = a.Gateway
	case ActionStuck:
		subject = a.Action
	}
	return string(a.Kind) + "/" + subject
}

// DedupKey is the same for all that is told of one incident, whichever
// gateways tell of it: of the loss of a store that they share each does.
func (a Alert) DedupKey(federation string) string {
	if a.Kind == StoreDown && a.Shared {
		return federation + "/" + string(a.Kind)
	}
	return federation + "/" + a.Key()
}

// State is all alerts. It is stored as JSON.
type State struct {
	// Group is how long changes wait for others; 0: [Group]. It is the config's.
	Group time.Duration `json:"-"`
	// Cursor is the number of the last event that was taken in.
	Cursor uint64 `json:"cursor"`
	// Window is when the changes that wait are told; zero: none waits.
	Window time.Time `json:"window,omitzero"`
	// Ticked is up to when repeats have been told.
	Ticked time.Time `json:"ticked,omitzero"`
	// Unfollowed counts alerts that were one too many, since the last message.
	Unfollowed int               `json:"unfollowed,omitempty"`
	Alerts     map[string]*Alert `json:"alerts,omitempty"`
	// Gateways are those that look after alerts, by their ids.
	Gateways map[string]*Gateway `json:"gateways,omitempty"`
	// Pauses are until when webhooks, by their ids, are not to be called, as
	// they asked of any gateway, or as gateways that had no store wait for them
	// since they fail. Some may be over.
	Pauses map[string]time.Time `json:"pauses,omitempty"`
	// Outage names the loss of the store in which a gateway tells alone; empty
	// for what all gateways know. See [Lone].
	Outage string `json:"-"`
}

// Clone returns a copy that shares nothing.
func (s *State) Clone() *State {
	c := *s
	c.Alerts = make(map[string]*Alert, len(s.Alerts))
	for key, a := range s.Alerts {
		copied := *a
		copied.Heard = slices.Clone(a.Heard)
		c.Alerts[key] = &copied
	}
	c.Gateways = make(map[string]*Gateway, len(s.Gateways))
	for id, g := range s.Gateways {
		copied := *g
		c.Gateways[id] = &copied
	}
	c.Pauses = maps.Clone(s.Pauses)
	return &c
}

// Pause notes that webhooks are not to be called until then, forgets the pauses
// that are over, and tells whether any is longer by that.
func (s *State) Pause(until map[string]time.Time, now time.Time) (longer bool) {
	for id, at := range until {
		if s.Pauses == nil {
			s.Pauses = make(map[string]time.Time)
		}
		if at.After(s.Pauses[id]) {
			s.Pauses[id] = at
			longer = longer || at.After(now)
		}
	}
	maps.DeleteFunc(s.Pauses, func(_ string, at time.Time) bool { return !at.After(now) })
	return longer
}

// Firing counts the alerts that are not over.
func (s *State) Firing() (n int) {
	for _, a := range s.Alerts {
		if a.Ended.IsZero() {
			n++
		}
	}
	return n
}

// Apply takes an event in, and tells whether that changed anything. Of nodes
// that are quiet no alert begins: the operator knows.
func (s *State) Apply(e Event, now time.Time, quiet func(node string) bool) bool {
	a := Alert{Kind: Kind(e.Kind), Node: e.Node, Reason: e.text("reason"), Began: e.Time}
	switch e.Kind {
	case string(NodeDown), string(Flapping):
		return !quiet(e.Node) && s.begin(a, now)
	case string(BreakerOpen):
		if actor := e.text("actor"); actor != "" {
			a.Reason = strings.TrimSpace(a.Reason + " (forced by " + actor + ")")
		}
		return !quiet(e.Node) && s.begin(a, now)
	case string(RefreshReplayed):
		return s.begin(a, now)
	case string(NodeUp):
		down := s.End(Alert{Kind: NodeDown, Node: e.Node}.Key(), e.Time, now)
		return s.End(Alert{Kind: Flapping, Node: e.Node}.Key(), e.Time, now) || down
	case string(BreakerClosed):
		return s.End(Alert{Kind: BreakerOpen, Node: e.Node}.Key(), e.Time, now)
	case string(StoreDown), eventStoreUp:
		a.Kind, a.Gateway, a.Host, a.Reason = StoreDown, e.text("gateway"), e.text("host"), e.text("error")
		a.Shared, _ = e.Data["shared"].(bool)
		return s.either(e.Kind == string(StoreDown), a, e, now)
	case string(ProberUnhealthy), eventProberHealthy:
		a.Kind, a.Gateway, a.Host = ProberUnhealthy, e.text("gateway"), e.text("host")
		return s.either(e.Kind == string(ProberUnhealthy), a, e, now)
	case string(ActionStuck), eventActionUnstuck:
		a.Kind, a.Action = ActionStuck, e.text("action")
		return s.either(e.Kind == string(ActionStuck), a, e, now)
	case eventUnregistered:
		return s.endNode(e, now)
	case eventAdminState:
		return !watched[e.text("to")] && s.endNode(e, now)
	default:
		return false
	}
}

// watched are the operator states of nodes that alerts are told of.
var watched = map[string]bool{"enabled": true, "draining": true}

func (s *State) either(begins bool, a Alert, e Event, now time.Time) bool {
	if begins {
		return s.begin(a, now)
	}
	return s.End(a.Key(), e.Time, now)
}

// endNode ends what is wrong with a node.
func (s *State) endNode(e Event, now time.Time) (changed bool) {
	for key, a := range s.Alerts {
		if a.Node == e.Node && !a.Kind.once() {
			changed = s.End(key, e.Time, now) || changed
		}
	}
	return changed
}

func (s *State) begin(a Alert, now time.Time) bool {
	key := a.Key()
	if stands := s.Alerts[key]; stands != nil {
		if stands.Ended.IsZero() {
			return false
		}
		// its end was not told yet: it goes on
		stands.Ended, stands.Reason, stands.Gone = time.Time{}, a.Reason, false
		if len(stands.withdrawn) > 0 {
			stands.Told = time.Time{}
		}
		if stands.Told.IsZero() || stands.again {
			s.wait(now)
		}
		return true
	}
	s.follow(a, now)
	return true
}

// follow adds an alert, if there is room for it.
func (s *State) follow(a Alert, now time.Time) {
	if len(s.Alerts) >= MaxFollowed {
		s.Unfollowed++
		return
	}
	if s.Alerts == nil {
		s.Alerts = make(map[string]*Alert)
	}
	s.Alerts[a.Key()] = &a
	if a.Told.IsZero() || !a.Ended.IsZero() {
		s.wait(now)
	}
}

// End ends an alert, and tells whether that changed anything. What nobody was
// told of is forgotten.
func (s *State) End(key string, at, now time.Time) bool {
	a := s.Alerts[key]
	switch {
	case a == nil, !a.Ended.IsZero():
		return false
	case a.untold() && !a.carried:
		delete(s.Alerts, key)
	default:
		a.Ended = at
		if at.Before(a.Began) {
			a.Ended = a.Began
		}
		s.wait(now)
	}
	return true
}

func (s *State) wait(now time.Time) {
	if s.Window.IsZero() {
		s.Window = now.Add(cmp.Or(s.Group, Group))
	}
}

// Route is what one webhook wants to hear.
type Route struct {
	// Webhook tells it from others, over reloads of the config, for [Alert.Heard].
	Webhook string
	// On are the kinds; nil: all.
	On map[Kind]bool
	// Repeat is after how long an alert that is still firing is told again; 0:
	// never.
	Repeat time.Duration
	// Ends tells the end of each alert whose beginning is told, whether On
	// names the ending or not.
	Ends bool
	// Most is how many alerts fit into a message; 0: any number.
	Most int
}

func (r Route) wants(a *Alert) bool {
	if r.On == nil {
		return true
	}
	if a.Ended.IsZero() {
		return r.On[a.Kind]
	}
	return r.On[a.Kind.ending()] || r.Ends && r.On[a.Kind]
}

// Due returns the messages that are due, notes that they are told, and tells
// whether that is something to remember.
func (s *State) Due(now time.Time, routes []Route) (messages []Message, noted bool) {
	var changed []Notice
	for key, a := range s.Alerts {
		if a.Kind.once() && !a.Told.IsZero() && now.Sub(a.Told) >= OnceFor {
			delete(s.Alerts, key)
		}
	}
	unfollowed := 0
	if !s.Window.IsZero() && !now.Before(s.Window) {
		s.Window, noted = time.Time{}, true
		for key, a := range s.Alerts {
			repeated := false
			switch {
			case !a.Ended.IsZero() && s.holds(a):
				if s.Outage == "" {
					s.wait(now)
				}
				continue
			case !a.Ended.IsZero():
				delete(s.Alerts, key)
			case a.again:
				repeated, a.again, a.Alone = true, false, true
			case !a.Told.IsZero():
				continue
			default:
				a.Told, a.Alone = now, s.Outage != ""
			}
			changed = append(changed, Notice{*a, repeated})
			if a.withdrawn = nil; a.Heard == nil && !repeated {
				a.Heard = []string{} // by now it is known
			}
		}
		unfollowed, s.Unfollowed = s.Unfollowed, 0
	}
	for i, route := range routes {
		var notices []Notice
		for _, a := range changed {
			if route.hears(&a.Alert) || a.Repeated && route.wants(&a.Alert) {
				notices = append(notices, a)
			}
		}
		for _, a := range s.Alerts {
			if route.wants(a) && route.repeats(a, s.Ticked, now) {
				a.Alone = a.Alone || s.Outage != ""
				notices = append(notices, Notice{Alert: *a, Repeated: true})
			}
		}
		s.hear(route.Webhook, notices)
		messages = append(messages, s.split(i, route.Most, now, notices, unfollowed)...)
	}
	s.Ticked = now
	return messages, noted || len(messages) > 0
}

// repeats tells whether a multiple of the time to repeat fell between two moments.
func (r Route) repeats(a *Alert, before, now time.Time) bool {
	if r.Repeat <= 0 || a.Told.IsZero() || !a.Ended.IsZero() || a.Kind.once() {
		return false
	}
	if before.Before(a.Told) {
		before = a.Told
	}
	return now.Sub(a.Told)/r.Repeat > before.Sub(a.Told)/r.Repeat
}
