// Package balancer is the guests of Caddy's reverse_proxy: `transport
// federation` (circuit breaking, load and latency per upstream), `lb_policy
// federation` (which upstream is next) and `dynamic federation` (the
// federation's nodes as upstreams). Each works alone; together they know of
// each other and save work.
package balancer

import (
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/balancer/policy"
)

// learnt holds what was learnt of upstreams over config reloads, by where the
// upstreams come from.
var learnt = caddy.NewUsagePool()

// The origins: the addresses of a reverse_proxy, and the nodes of a federation.
const (
	originUpstreams = "upstreams"
	originNodes     = "nodes of "
)

// epoch is the moment that the times of meters are counted from.
var epoch = time.Now()

func sinceEpoch(t time.Time) time.Duration { return t.Sub(epoch) }

// memory is what was learnt of the upstreams of one origin.
type memory struct {
	mu     sync.Mutex
	meters map[string]*policy.Meter
}

// maxMeters bounds a memory: addresses that come and go with DNS or
// placeholders must not fill it.
const maxMeters = 4096

// holdMemory returns the memory of an origin, which lives until everybody who
// holds it has released it.
func holdMemory(origin string) (*memory, func() error, error) {
	value, _, err := learnt.LoadOrNew(origin, func() (caddy.Destructor, error) {
		return &memory{meters: make(map[string]*policy.Meter)}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	release := sync.OnceValue(func() error {
		_, err := learnt.Delete(origin)
		return err
	})
	return value.(*memory), release, nil
}

// Destruct implements [caddy.Destructor]. Requests that still run keep their
// meters; it is plain memory.
func (*memory) Destruct() error { return nil }

// meter returns what was learnt of an upstream.
func (m *memory) meter(name string) *policy.Meter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if meter := m.meters[name]; meter != nil {
		return meter
	}
	if len(m.meters) >= maxMeters {
		for other := range m.meters { // any: it is learnt again when it is used
			delete(m.meters, other)
			if len(m.meters) <= maxMeters*3/4 {
				break
			}
		}
	}
	meter := new(policy.Meter)
	m.meters[name] = meter
	return meter
}
