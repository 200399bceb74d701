package fleet

import (
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

// pool holds what is observed of each federation over config reloads, by the
// federation's name.
var pool = caddy.NewUsagePool()

// shared is the part of a federation that no config owns.
type shared struct {
	log    requestLog
	events *eventQueue

	mu      sync.Mutex
	members map[memberKey]*member
}

// memberKey tells one node from another: at a new address it is another node,
// of which nothing has been observed yet.
type memberKey struct {
	slug, url string
}

// member is what is observed of one node.
type member struct {
	load  loadMeter
	facts atomic.Pointer[Report]
}

func loadShared(name string) (*shared, error) {
	value, _, err := pool.LoadOrNew(name, func() (caddy.Destructor, error) {
		return &shared{events: newEventQueue(), members: make(map[memberKey]*member)}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*shared), nil
}

// Destruct is called when the last config that used the federation is gone.
// Requests that still run keep what they have; it is plain memory.
func (s *shared) Destruct() error { return nil }

func (s *shared) member(slug, url string) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := memberKey{slug, url}
	m := s.members[key]
	if m == nil {
		m = new(member)
		s.members[key] = m
	}
	return m
}

// keep forgets the members that are no longer in use.
func (s *shared) keep(nodes []*Node) {
	used := make(map[*member]bool, len(nodes))
	for _, n := range nodes {
		used[n.member] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, m := range s.members {
		if !used[m] && m.load.inFlight.Load() == 0 {
			delete(s.members, key)
		}
	}
}
