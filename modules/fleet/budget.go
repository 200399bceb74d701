package fleet

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
	"github.com/caddy-federation/caddy-federation/store"
)

// BudgetConfig is how many calls a node lets one identity make.
type BudgetConfig struct {
	// Limit is how many calls the window allows, all gateways together.
	// Default: 0, no budget.
	Limit int `json:"limit,omitempty"`
	// Window is what Limit is counted over. Required with a limit.
	Window caddy.Duration `json:"window,omitempty"`
	// PerPath counts each path of the node by itself. Default: false.
	PerPath bool `json:"per_path,omitempty"`
}

// Budget is what a node lets us do. It is never changed.
type Budget struct {
	policy  *limiter.Policy
	perPath bool
}

// NewBudget makes the budget of a dialect, see [Budgeted].
func NewBudget(limit int, window time.Duration, perPath bool) (*Budget, error) {
	policy, err := limiter.NewPolicy("budget", limit, window, 0)
	if err != nil {
		return nil, err
	}
	return &Budget{policy, perPath}, nil
}

// Budgeted is a [Dialect] whose nodes are known to refuse what is above a
// budget. The operator's word goes before it.
type Budgeted interface {
	// Budget may be nil. It is asked for every call.
	Budget() *Budget
}

// Why nothing is sent to a node for now.
const (
	// ReasonBudget: what the node lets us do is used up.
	ReasonBudget = "budget"
	// ReasonPaused: the node asked for a pause by Retry-After.
	ReasonPaused = "paused"
)

// load makes the budget, nil for none.
func (c *BudgetConfig) load() (*Budget, error) {
	if c == nil || c.Limit == 0 {
		return nil, nil
	}
	budget, err := NewBudget(c.Limit, time.Duration(c.Window), c.PerPath)
	if err != nil {
		return nil, fmt.Errorf("budget: %w", err)
	}
	return budget, nil
}

// allowance is how the calls to one node are counted.
type allowance struct {
	limiter *limiter.Limiter
	budget  *Budget  // the operator's
	dialect Budgeted // when the operator says nothing
	used    *usedUp  // nil: nobody asks
}

func (a *allowance) current() *Budget {
	if a.budget == nil && a.dialect != nil {
		return a.dialect.Budget()
	}
	return a.budget
}

// budgetPrefix begins the keys of budgets; no policy of callers has a slash.
const budgetPrefix = "budget/"

// Spend takes one call to a path of the node from its budget, or returns a
// [*RefusalError] that says when the next one fits. All gateways of a store
// spend one budget; while the store is lost each has its share. The path is
// what stands behind the node's URL, without what is behind a question mark. It
// asks the store when what this gateway has leased does not do, until ctx ends.
func (n *Node) Spend(ctx context.Context, path string) error {
	budget := n.allowance.current()
	if budget == nil {
		return nil
	}
	path = budget.of(path)
	var buffer [limiter.MaxKey]byte
	key := append(buffer[:0], budgetPrefix...)
	key = append(key, n.Slug...)
	key = append(key, ':')
	begin := len(key)
	if n.Subject != "" {
		key = append(key, n.Subject...)
	} else {
		key = strconv.AppendInt(key, n.ID, 10)
	}
	if budget.perPath {
		key = append(append(key, ' '), path...)
	}
	charges := [1]limiter.Charge{{Policy: budget.policy, Key: limiter.ShortenKey(key, begin), Cost: 1}}
	var states [1]store.LimitState
	switch n.allowance.limiter.Take(ctx, charges[:], states[:], limiter.Local) {
	case limiter.Refused:
		n.gate.member.spent.Add(1)
		after := max(states[0].RetryAfter, time.Millisecond)
		n.allowance.used.note(path, time.Now().Add(after))
		return &RefusalError{Reason: ReasonBudget, RetryAfter: after}
	case limiter.Left:
		return ctx.Err()
	default:
		return nil
	}
}

// of is what of a path the budget counts by: nothing when all paths share it.
func (b *Budget) of(path string) string {
	if !b.perPath {
		return ""
	}
	path, _, _ = strings.Cut(path, "?")
	return path
}

// UsedUp is for how long yet the node's budget has no call to the path, as far
// as this gateway was told when it last asked. 0: there may be one.
func (n *Node) UsedUp(path string) time.Duration {
	if !n.allowance.used.any() {
		return 0
	}
	budget := n.allowance.current()
	if budget == nil {
		return 0
	}
	return n.allowance.used.left(budget.of(path))
}

// obey pauses the member for as long as a throttling answer asks for.
func (m *member) obey(r *Result) {
	if r.Outcome == OutcomeThrottled && r.RetryAfter > 0 {
		m.pause(time.Now().Add(min(r.RetryAfter, MaxRetryAfter)))
	}
}

// pause keeps calls from the member until then. An earlier end than the one
// it has changes nothing.
func (m *member) pause(until time.Time) {
	for {
		was := m.paused.Load()
		if was != nil && !until.After(*was) || m.paused.CompareAndSwap(was, &until) {
			return
		}
	}
}

// pausedFor is how much longer the node wants no call.
func (m *member) pausedFor(now time.Time) time.Duration {
	if until := m.paused.Load(); until != nil {
		return max(until.Sub(now), 0)
	}
	return 0
}

// unmarshalBudget reads `budget <calls> <window> [per_path] | off`.
func unmarshalBudget(d *caddyfile.Dispenser, block *subdirective.Block) (*BudgetConfig, error) {
	values, err := block.Values(d)
	if err != nil {
		return nil, err
	}
	if len(values) > 0 && values[0] == "off" {
		if len(values) > 1 {
			return nil, d.Errf("budget off takes nothing more, got %s; expected <calls> <window> [per_path], or off", strings.Join(values[1:], " "))
		}
		return new(BudgetConfig), nil
	}
	if len(values) < 2 || len(values) > 3 || len(values) == 3 && values[2] != "per_path" {
		return nil, d.Errf("budget takes <calls> <window> [per_path], or off")
	}
	c := &BudgetConfig{PerPath: len(values) == 3}
	if c.Limit, err = strconv.Atoi(values[0]); err != nil || c.Limit < 1 {
		return nil, d.Errf("budget: %s is not a whole number above 0", values[0])
	}
	window, err := caddy.ParseDuration(values[1])
	if err != nil || window <= 0 {
		return nil, d.Errf("budget: %s is not a duration above 0, as in 1m", values[1])
	}
	c.Window = caddy.Duration(window)
	return c, nil
}
