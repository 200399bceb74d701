package limiter

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// Usage is how much one key has used, as this gateway knows it.
type Usage struct {
	// Key is the whole key, and Policy what stands in it before a colon, else
	// the policy's name.
	Policy, Key string
	// Limit, Window and Burst are the policy's.
	Limit  int
	Window time.Duration
	Burst  int
	// Allowed and Refused count the decisions of this gateway since it began
	// to remember the key.
	Allowed, Refused uint64
	// State is the key's state now. RetryAfter is 0 unless a cost of 1 is refused.
	State store.LimitState
}

// top returns the keys with the most decisions, of those that are wanted.
func (t *table) top(n int, wanted func(policy string) bool) []Usage {
	busier := func(a, b Usage) int {
		return cmp.Or(cmp.Compare(b.Allowed+b.Refused, a.Allowed+a.Refused), cmp.Compare(a.Key, b.Key))
	}
	var found []Usage
	now := t.now()
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, e := range s.keys {
			if wanted == nil || wanted(e.policyName()) {
				found = append(found, e.usage(now))
			}
		}
		s.mu.Unlock()
		if len(found) > n { // keeps no more than a shard beside the best
			slices.SortFunc(found, busier)
			found = slices.Clip(found[:n])
		}
	}
	slices.SortFunc(found, busier)
	return found[:min(n, len(found))]
}

func (e *entry) policyName() string {
	if name, _, found := strings.Cut(e.key, ":"); found {
		return name
	}
	return e.policy.Name
}

func (e *entry) usage(now int64) Usage {
	leased := int(e.leased)
	if e.expires <= now {
		leased = 0
	}
	need := 0
	if leased == 0 && e.policy.have(e.arrival, now) == 0 {
		need = 1
	}
	return Usage{
		Policy: e.policyName(), Key: e.key, Limit: e.policy.Limit, Window: e.policy.Window, Burst: e.policy.Burst,
		Allowed: e.allowed, Refused: e.refused, State: e.policy.state(e.arrival, now, leased, need),
	}
}
