package balancer

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/balancer/policy"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// target is one upstream that a request may go to. It is never changed.
type target struct {
	// dial is the upstream's address as Caddy dials it.
	dial string
	// node is set when the upstream is a node of the federation.
	node   *fleet.Node
	gate   *fleet.Gate // nil: nobody keeps one
	meter  *policy.Meter
	weight float64
}

// refusal says why no request may be sent now, or is empty.
func (t *target) refusal() string {
	switch {
	case t.node != nil:
		return t.node.Refusal()
	case t.gate != nil:
		return t.gate.Refusal()
	default:
		return ""
	}
}

// usedUp is for how long yet the node's budget has nothing for a request, nil
// for one that spends none.
func (t *target) usedUp(spending *http.Request) time.Duration {
	if spending == nil || t.node == nil {
		return 0
	}
	return t.node.UsedUp(spending.URL.Path)
}

// How a request was chosen to go to a target.
type admission uint8

const (
	admitAny        admission = iota // by a policy that knows nothing of breakers
	admitChosen                      // by ours, which applies a breaker's ramp
	admitLastResort                  // by ours, when no breaker was closed
)

// admit lets a request through, or returns why not.
func (t *target) admit(ctx context.Context, start time.Time, how admission) (fleet.Ticket, error) {
	switch {
	case how == admitLastResort:
		return t.gate.AdmitLastResort(start)
	case t.node != nil && how == admitChosen:
		return t.node.AdmitChosen(ctx, start)
	case t.node != nil:
		return t.node.Admit(ctx, start)
	case how == admitChosen:
		return t.gate.AdmitChosen(ctx, start)
	default:
		return t.gate.Admit(ctx, start)
	}
}

// upstreams are the targets that Caddy names by their address alone. They are
// made when they are first seen; looking one up takes no lock.
type upstreams struct {
	memory *memory
	gates  *fleet.Gates // nil: no transport of ours

	mu    sync.Mutex
	known atomic.Pointer[map[string]*target]
}

func newUpstreams(m *memory, gates *fleet.Gates) *upstreams {
	u := &upstreams{memory: m, gates: gates}
	u.known.Store(&map[string]*target{})
	return u
}

// target returns the upstream with the address, as the config has it.
func (u *upstreams) target(dial string) *target {
	if t := (*u.known.Load())[dial]; t != nil {
		return t
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	known := *u.known.Load()
	if t := known[dial]; t != nil {
		return t
	}
	next := make(map[string]*target, len(known)+1)
	if len(known) < maxMeters { // else start again: what was learnt is kept elsewhere
		maps.Copy(next, known)
	}
	t := &target{dial: dial, meter: u.memory.meter(dial), weight: 1}
	if u.gates != nil && !placeholder(dial) {
		t.gate = u.gates.Gate(dial)
	}
	next[dial] = t
	u.known.Store(&next)
	return t
}

// placeholder tells whether an address stands for many, each request's own.
func placeholder(dial string) bool { return strings.Contains(dial, "{") }
