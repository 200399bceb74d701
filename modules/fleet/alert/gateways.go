package alert

import "time"

// When a gateway that is not heard of is there no more.
const (
	// GoneAfter is how long it must not have been heard of.
	GoneAfter = 10 * time.Minute
	// ReplacedAfter is for one in whose place another one began, on the machine
	// of the same name.
	ReplacedAfter = 30 * time.Second
)

// Gateway is a gateway that looks after alerts.
type Gateway struct {
	// Host names its machine.
	Host   string    `json:"host,omitempty"`
	Joined time.Time `json:"joined"`
	// Missing is since when it has not been heard of; zero: it is there.
	Missing time.Time `json:"missing,omitzero"`
	// Outage is the last one of which it handed over what it told alone.
	Outage string `json:"outage,omitempty"`
}

// Present is which gateways are there.
type Present struct {
	// Hosts are the names of their machines, by id.
	Hosts map[string]string
	// Shared is whether other gateways can use the same store.
	Shared bool
	// Sure is whether the store said so just now.
	Sure bool
}

// Muster notes which gateways are there, and tells whether that changed
// anything. One that left without a word may have done so while it had no
// store, and have told so: that is over once it is there no more.
func (s *State) Muster(present Present, now time.Time) (changed bool) {
	for id, host := range present.Hosts {
		g := s.Gateways[id]
		switch {
		case g == nil:
			if s.Gateways == nil {
				s.Gateways = make(map[string]*Gateway)
			}
			s.Gateways[id] = &Gateway{Host: host, Joined: now}
		case g.Missing.IsZero():
			continue
		default:
			g.Missing = time.Time{}
		}
		changed = true
	}
	for id, g := range s.Gateways {
		if _, there := present.Hosts[id]; there {
			continue
		}
		if g.Missing.IsZero() {
			g.Missing, changed = now, true
		}
		if present.Sure && s.gone(g, present, now) {
			s.bury(id, g, present.Shared, now)
			changed = true
		}
	}
	return changed
}

func (s *State) gone(g *Gateway, present Present, now time.Time) bool {
	missing := now.Sub(g.Missing)
	if !present.Shared || missing >= GoneAfter {
		return true
	}
	for id := range present.Hosts {
		other := s.Gateways[id]
		if missing >= ReplacedAfter && other.Host == g.Host && !other.Joined.Before(g.Missing) {
			return true
		}
	}
	return false
}

// bury ends what a gateway may have told of itself.
func (s *State) bury(id string, g *Gateway, shared bool, now time.Time) {
	delete(s.Gateways, id)
	for _, kind := range []Kind{StoreDown, ProberUnhealthy} {
		a := &Alert{Kind: kind, Gateway: id, Host: g.Host, Shared: shared, Began: g.Missing, Told: g.Missing, Alone: true, Named: true}
		if stands := s.Alerts[a.Key()]; stands == nil {
			s.follow(*a, now)
		}
		if stands := s.Alerts[a.Key()]; stands != nil {
			stands.Gone = true
			s.End(a.Key(), now, now)
		}
	}
}
