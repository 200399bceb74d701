package alert

import (
	"slices"
	"time"
)

// Lone is the state of a gateway that has lost its store, named by outage, and
// tells alone of what it sees. It goes on with what all gateways knew when they
// were last heard of (nil: nothing), as far as it is this gateway's: what waited
// to be told waits anew, unless it is over, and what was told is repeated.
//
// The loss of the store that this gateway told before and whose end was not
// told goes on: nothing new is told of it when the end was held back, see
// [State.Due]. Where other gateways may tell the end just now, it is told once
// more as repeated.
//
// A lone gateway tells no end. It cannot know whether others still see what it
// sees no more, nor what waits for a webhook in the store: an end could arrive
// before its beginning. Ends are told when the store is back, see [State.Adopt].
func Lone(known *State, outage string, group time.Duration, mine func(*Alert) (mine, over bool), now time.Time) *State {
	s := &State{Outage: outage, Group: group, Ticked: now, Alerts: make(map[string]*Alert)}
	if known == nil {
		return s
	}
	s.Ticked = known.Ticked
	for key, a := range known.Alerts {
		mine, over := mine(a)
		if !mine || a.Kind == StoreDown && a.Told.IsZero() {
			continue
		}
		copied := *a
		copied.Alone, copied.carried = false, true
		copied.again = a.Kind == StoreDown && !a.Ended.IsZero() && !known.holds(a) && !known.sole(a.Gateway)
		s.Alerts[key] = &copied
		switch {
		case !a.Told.IsZero():
		case over:
			copied.Ended = now
		default:
			s.wait(now)
		}
	}
	return s
}

// Adopt takes in what a gateway told alone, when its store is back: what is
// still firing is not told again, and what is over is told to be, unless
// another gateway may still see it. known is whether the gateway was one of
// [State.Gateways] when it lost its store, so that what it carried and is not
// there any more has been told to be over.
func (s *State) Adopt(lone *State, gateway string, known bool, now time.Time) {
	sole := s.sole(gateway)
	s.Unfollowed += lone.Unfollowed
	if lone.Ticked.After(s.Ticked) {
		s.Ticked = lone.Ticked
	}
	for key, a := range lone.Alerts {
		stands, carried := s.Alerts[key], a.carried && known
		switch {
		case stands == nil && carried && !a.Alone: // nothing was told of it since it ended
		case stands == nil:
			fresh := *a
			fresh.carried, fresh.tried, fresh.withdrawn, fresh.again = false, nil, nil, false
			if fresh.Told.IsZero() { // to be told to these anew
				fresh.Heard = without(a.Heard, a.withdrawn...)
			}
			if carried && fresh.Ended.IsZero() { // it ended, and was repeated here
				fresh.Ended = now
			}
			if !fresh.Ended.IsZero() && a.untold() {
				continue
			}
			s.follow(fresh, now)
		default:
			stands.joinHeard(a)
			if stands.Told.IsZero() {
				stands.Told = a.Told
			}
			stands.Alone = stands.Alone || a.Alone
			stands.Named = stands.Named || a.Named
			switch {
			case a.Ended.IsZero() && !carried:
				stands.Ended = time.Time{} // another gateway saw it end, and it goes on here
			case !a.Ended.IsZero() && (sole || !a.Kind.ofNode()):
				if !s.End(key, a.Ended, now) && a.Ended.After(stands.Ended) { // it went on before its end was told
					stands.Ended, s.Window = a.Ended, time.Time{}
					s.wait(now)
				}
			}
		}
	}
}

// sole tells whether no other gateway looks after alerts.
func (s *State) sole(gateway string) bool {
	for id := range s.Gateways {
		if id != gateway {
			return false
		}
	}
	return true
}

// Try notes that a message of a lone gateway is sent to a webhook: from then on
// nobody knows that it has not arrived.
func (s *State) Try(m Message, webhook string) {
	for _, n := range m.Notices {
		if a := s.Alerts[n.Key()]; a != nil {
			a.tried = with(a.tried, webhook)
		}
	}
}

// Withdraw takes what is over by now out of a message of a lone gateway to a
// webhook that has not arrived: another gateway may have told its end meanwhile,
// behind which it must not come. Where no message with it was tried, the webhook
// counts as never told. Of [StoreDown] nothing is withdrawn: when that is over,
// the store has all in order.
func (s *State) Withdraw(m Message, webhook string) (left Message, changed bool) {
	left = m
	left.Notices = nil
	for _, n := range m.Notices {
		a := s.Alerts[n.Key()]
		if n.Kind == StoreDown || n.Kind.once() || a != nil && a.Ended.IsZero() {
			left.Notices = append(left.Notices, n)
			continue
		}
		changed = true
		if a == nil || n.Repeated {
			continue
		}
		a.withdrawn = with(a.withdrawn, webhook)
		if slices.Contains(a.tried, webhook) {
			continue
		}
		switch a.Heard = without(a.Heard, webhook); {
		case len(a.Heard) > 0:
		case a.carried:
			a.Told, a.Alone, a.Heard, a.withdrawn = time.Time{}, false, nil, nil
		default:
			delete(s.Alerts, n.Key())
		}
	}
	s.name(left)
	return left, changed
}

// Again returns once more what a lone gateway told of what is still firing, for
// some routes (by index): older messages to them waited in the store, and what
// these say must not be the last word.
func (s *State) Again(now time.Time, routes []Route, which map[int]bool) (messages []Message) {
	for i, route := range routes {
		if !which[i] {
			continue
		}
		var notices []Notice
		for _, a := range s.Alerts {
			if a.Alone && a.Ended.IsZero() && !a.Kind.once() && route.wants(a) {
				notices = append(notices, Notice{Alert: *a, Repeated: true})
			}
		}
		s.hear(route.Webhook, notices)
		messages = append(messages, s.split(i, route.Most, now, notices, 0)...)
	}
	return messages
}

// holds tells whether the end of an alert is not to be told yet: what a lone
// gateway told may be seen by another one that has not been heard of since.
func (s *State) holds(a *Alert) bool {
	if s.Outage != "" {
		return true
	}
	if a.Alone {
		for _, g := range s.Gateways {
			if !g.Missing.IsZero() {
				return true
			}
		}
	}
	return false
}
