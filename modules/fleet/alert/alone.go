package alert

import "time"

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
			fresh.carried = false
			if carried && fresh.Ended.IsZero() { // it ended, and was repeated here
				fresh.Ended = now
			}
			if !fresh.Ended.IsZero() && fresh.Told.IsZero() {
				continue
			}
			s.follow(fresh, now)
		default:
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

// Try notes that a message of a lone gateway is sent: from then on nobody knows
// that its receiver has not got it.
func (s *State) Try(m Message) {
	for _, n := range m.Notices {
		if a := s.Alerts[n.Key()]; a != nil {
			a.tried = true
		}
	}
}

// Withdraw takes what is over by now out of a message of a lone gateway that
// has not arrived: another gateway may have told its end meanwhile, behind
// which it must not come. What was in no message that was tried counts as never
// told. Of [StoreDown] nothing is withdrawn: when that is over, the store has
// all in order.
func (s *State) Withdraw(m Message) (left Message, changed bool) {
	left = m
	left.Notices = nil
	for _, n := range m.Notices {
		a := s.Alerts[n.Key()]
		if n.Kind == StoreDown || n.Kind.once() || a != nil && a.Ended.IsZero() {
			left.Notices = append(left.Notices, n)
			continue
		}
		changed = true
		switch {
		case a == nil || n.Repeated:
		case a.tried:
			a.withdrawn = true
		case a.carried:
			a.Told, a.Alone = time.Time{}, false
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
