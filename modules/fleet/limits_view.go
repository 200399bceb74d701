package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
)

// RateLimits are the rate limits of one federation as this gateway sees them:
// those of callers, and what it spent of the budgets of nodes.
type RateLimits struct {
	// Federation is "default" in a config that has none.
	Federation string `json:"federation"`
	// Policies names the policies of the running config, sorted.
	Policies []string `json:"policies"`
	// StoreLost is whether there is a store that gateways share and that
	// cannot be used now.
	StoreLost bool `json:"store_lost"`
	// Remembered is how many keys the gateway remembers in all.
	Remembered int `json:"remembered"`
	// Keys are those about which this gateway decided most, the busiest first.
	Keys  []RateLimitKey `json:"keys"`
	Count int            `json:"count"`
}

// RateLimitKey is one key of one policy. Its counts are this gateway's, since
// it remembers the key; what remains is what it knows of all gateways.
type RateLimitKey struct {
	// Policy is the name of a policy, or budget/<slug> for a node's budget.
	Policy string `json:"policy"`
	// Key is the whole key, which begins with the policy. It is text of callers.
	Key      string `json:"key"`
	Limit    int    `json:"limit"`
	WindowMS int64  `json:"window_ms"`
	Burst    int    `json:"burst"`
	// Remaining is how many events fit now.
	Remaining int `json:"remaining"`
	// ResetMS is when the key is as if never used, RetryAfterMS when the next
	// event fits; 0 when one fits now.
	ResetMS      int64  `json:"reset_ms"`
	RetryAfterMS int64  `json:"retry_after_ms"`
	Allowed      uint64 `json:"allowed"`
	Refused      uint64 `json:"refused"`
}

// RateLimitsOf shows the n busiest keys of a federation, of one policy when
// one is named, and nil when nothing of that name limits anybody here.
func RateLimitsOf(federation string, n int, policy string) *RateLimits {
	s := findShared(federation)
	if s == nil {
		return nil
	}
	var wanted func(string) bool
	if policy != "" {
		wanted = func(name string) bool { return name == policy }
	}
	view := &RateLimits{
		Federation: federation, Policies: s.policies.sorted(), StoreLost: s.limiter.Lost(),
		Remembered: s.limiter.Keys(), Keys: []RateLimitKey{},
	}
	for _, u := range s.limiter.Top(n, wanted) {
		view.Keys = append(view.Keys, RateLimitKey{
			Policy: u.Policy, Key: u.Key, Limit: u.Limit, WindowMS: u.Window.Milliseconds(), Burst: u.Burst,
			Remaining: u.State.Remaining, ResetMS: ceilMilliseconds(u.State.Reset), RetryAfterMS: ceilMilliseconds(u.State.RetryAfter),
			Allowed: u.Allowed, Refused: u.Refused,
		})
	}
	view.Count = len(view.Keys)
	return view
}

// ceilMilliseconds rounds up: what takes any time is not 0.
func ceilMilliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// What [ResetRateLimit] fails with, besides what the store says.
var (
	// ErrNoLimits: nothing of that name limits anybody here.
	ErrNoLimits = errors.New("no rate limits")
	// ErrNoPolicy: no policy of the running config has the name.
	ErrNoPolicy = errors.New("no such policy")
	// ErrNoKey: no gateway remembers the key, so it is full.
	ErrNoKey = errors.New("no such key")
)

// ResetRateLimit forgets what a key of a federation has used, here and in the
// store that gateways share: it begins with its whole burst. Other gateways
// see it within a second. The key is one of [RateLimitKey], or the policy, a
// colon and any text that the policy's key turned out as, however long.
func ResetRateLimit(ctx context.Context, federation, key string) error {
	s := findShared(federation)
	if s == nil {
		return ErrNoLimits
	}
	policy, _, whole := strings.Cut(key, ":")
	if !whole || len(policy) > limiter.MaxKey/2 {
		return ErrNoPolicy
	}
	known, err := s.limiter.Reset(ctx, string(limiter.ShortenKey([]byte(key), len(policy)+1)))
	switch {
	case err != nil:
		return err
	case known:
		return nil
	case !strings.HasPrefix(policy, budgetPrefix) && !s.policies.has(policy):
		return fmt.Errorf("%w: those that are: %s", ErrNoPolicy, strings.Join(s.policies.sorted(), ", "))
	default:
		return ErrNoKey
	}
}

// findShared finds a federation without taking it.
func findShared(name string) (found *shared) {
	pool.Range(func(key, value any) bool {
		if key == name {
			found = value.(*shared)
		}
		return found == nil
	})
	return found
}

// policyNames are the names of policies, each as often as it was declared:
// two configs overlap in a reload.
type policyNames struct {
	mu    sync.Mutex
	names map[string]int
}

func (p *policyNames) add(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names == nil {
		p.names = make(map[string]int)
	}
	p.names[name]++
}

func (p *policyNames) remove(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		if p.names[name]--; p.names[name] <= 0 {
			delete(p.names, name)
		}
	}
}

func (p *policyNames) has(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names[name] > 0
}

func (p *policyNames) sorted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := slices.AppendSeq([]string{}, maps.Keys(p.names))
	slices.Sort(names)
	return names
}
