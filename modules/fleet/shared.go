package fleet

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
)

// pool holds what is observed of each federation over config reloads, by the
// federation's name.
var pool = caddy.NewUsagePool()

// shared is the part of a federation that no config owns.
type shared struct {
	log    requestLog
	events *eventQueue
	grants atomic.Pointer[grants] // as last read by any config
	remote sync.Map               // keys of others: by JWKSConfig, as []*token.Key

	circuits *circuits
	gateways gateways
	held     heldNames
	store    storeHealth
	limiter  *limiter.Limiter
	policies policyNames
	alerting *alerting

	membership membership
	scraped    scraped

	mu      sync.Mutex
	members map[memberKey]*member
	// used are the members that each config has nodes for.
	used map[*App]map[*member]bool
}

// memberKey tells one node from another: at a new address it is another node,
// of which nothing has been observed yet.
type memberKey struct {
	slug, url string
}

// member is what is observed of one node.
type member struct {
	load    loadMeter
	history history
	facts   atomic.Pointer[Report]
	circuit *circuit
	paused  atomic.Pointer[time.Time] // until when the node asked not to be called
	spent   atomic.Uint64             // calls that the node's budget had no room for
	health  health
}

func newMember(home *circuits, slug, url string) *member {
	return &member{circuit: newCircuit(home, slug, url)}
}

func loadShared(name string) (*shared, error) {
	value, _, err := pool.LoadOrNew(name, func() (caddy.Destructor, error) {
		return &shared{
			events: newEventQueue(), circuits: newCircuits(true), gateways: newGateways(), limiter: limiter.New(limiter.MaxKeys),
			alerting: newAlerting(),
			members:  make(map[memberKey]*member), used: make(map[*App]map[*member]bool),
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*shared), nil
}

// Destruct is called when the last config that used the federation is gone.
// Requests that still run keep what they have; it is plain memory.
func (s *shared) Destruct() error {
	s.limiter.Close()
	return nil
}

func (s *shared) member(slug, url string) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := memberKey{slug, url}
	m := s.members[key]
	if m == nil {
		m = newMember(s.circuits, slug, url)
		s.members[key] = m
	}
	return m
}

// keep says which nodes a config has now, and forgets the members that no
// config has a node for: of two that overlap in a reload, the new one may fail.
func (s *shared) keep(app *App, nodes []*Node) {
	mine := make(map[*member]bool, len(nodes))
	for _, n := range nodes {
		mine[n.gate.member] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[app] = mine
	s.forget()
}

// leave is the end of a config.
func (s *shared) leave(app *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, app)
	s.forget()
}

func (s *shared) forget() {
	for key, m := range s.members {
		used := m.load.inFlight.Load() != 0
		for _, members := range s.used {
			used = used || members[m]
		}
		if !used {
			delete(s.members, key)
		}
	}
}
