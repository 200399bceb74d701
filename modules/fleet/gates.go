package fleet

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// gatesPool holds what is observed of upstreams over config reloads.
var gatesPool = caddy.NewUsagePool()

// maxUpstreams bounds how many upstreams one group remembers. Upstreams that
// come and go with DNS must not fill the memory.
const maxUpstreams = 1024

// Gates are the gates of upstreams that are in no federation, such as the
// static ones of a reverse_proxy. The upstreams of one group stand for each
// other in the guards of their breakers (max_ejected, panic, never the last
// one), so a group should be the upstreams of one handler. The breakers are
// this process's own: no store is involved.
type Gates struct {
	key     string
	rules   *breaker.Rules
	max     int64
	shared  *sharedGates
	fellows *fellows
	release func() error

	mu      sync.Mutex // of those who add
	version atomic.Uint64
	gates   atomic.Pointer[map[string]*Gate]
}

// sharedGates is the part of a group that no config owns.
type sharedGates struct {
	home    *circuits
	mu      sync.Mutex
	members map[string]*member
}

func (*sharedGates) Destruct() error { return nil }

// LoadGates returns the group with the key, which keeps what it has observed
// as long as any config holds it: call it when a module is provisioned, and
// [Gates.Close] when it is cleaned up. A nil config has the defaults.
// maxRequests bounds how many calls may run at once to one upstream, 0: no bound.
func LoadGates(key string, config *BreakerConfig, maxRequests int) (*Gates, error) {
	if config != nil {
		if err := config.Validate(); err != nil {
			return nil, fmt.Errorf("breaker: %w", err)
		}
	}
	value, _, err := gatesPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return &sharedGates{home: newCircuits(false), members: make(map[string]*member)}, nil
	})
	if err != nil {
		return nil, err
	}
	g := &Gates{key: key, rules: config.rules(), max: int64(maxRequests), shared: value.(*sharedGates)}
	g.gates.Store(&map[string]*Gate{})
	g.fellows = &fellows{home: g.shared.home, version: g.version.Load, each: func(yield func(*Gate)) {
		for _, gate := range *g.gates.Load() {
			yield(gate)
		}
	}}
	g.release = sync.OnceValue(func() error {
		_, err := gatesPool.Delete(key)
		return err
	})
	return g, nil
}

// Gate returns the gate of an upstream, by its address. It is made at the
// first call; later calls neither lock nor allocate.
func (g *Gates) Gate(upstream string) *Gate {
	if gate := (*g.gates.Load())[upstream]; gate != nil {
		return gate
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := *g.gates.Load()
	if gate := now[upstream]; gate != nil {
		return gate
	}
	next := maps.Clone(now)
	if len(next) >= maxUpstreams {
		for address, gate := range next {
			if gate.idle() {
				delete(next, address)
				g.shared.forget(address)
			}
		}
	}
	gate := &Gate{member: g.shared.member(upstream), rules: g.rules, fellows: g.fellows, maxRequests: g.max}
	next[upstream] = gate
	g.version.Add(1)
	g.gates.Store(&next)
	return gate
}

// idle tells whether nothing would be lost with the gate.
func (g *Gate) idle() bool {
	return g.member.load.inFlight.Load() == 0 && g.member.circuit.era.Load().free()
}

// Close gives the group back. Calls that still run may finish. Closing twice
// is harmless.
func (g *Gates) Close() error { return g.release() }

func (s *sharedGates) member(upstream string) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[upstream]
	if m == nil {
		m = newMember(s.home, upstream, upstream)
		s.members[upstream] = m
	}
	return m
}

func (s *sharedGates) forget(upstream string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members, upstream)
}
