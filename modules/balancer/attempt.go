package balancer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-federation/caddy-federation/modules/balancer/policy"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// attempts is what our three guests tell each other of one request while it is
// proxied. It lives in the request's variables, which Caddy's handler reads and
// writes on one goroutine.
type attempts struct {
	// of tells the handlers apart that a request may pass: each clones the URL
	// once, and all attempts of a handler share the clone.
	of *url.URL
	// tried are the upstreams that failed. A retry goes to another one.
	tried []*policy.Meter

	// upstreams are those that `dynamic federation` returned last, and targets
	// the nodes that they stand for.
	upstreams []*reverseproxy.Upstream
	targets   []*target
	// decided is set when they are the one that the policy has chosen already.
	decided bool
	single  reverseproxy.Upstream
	one     [1]*reverseproxy.Upstream
	node    [1]*target

	// first is the first attempt's flight, which most requests have only one of.
	first  flight
	flying bool

	trial *trial
	// last is the target that the request goes to although its breaker is open.
	last *policy.Meter

	// paid is the node whose budget the request was taken from when it was chosen.
	paid *policy.Meter

	// writer is where the answer is written, and waits whether it has a
	// Retry-After of ours.
	writer http.ResponseWriter
	waits  bool
	// refusing are the nodes of `dynamic federation` when none of them can be asked.
	refusing []*target
}

const attemptsVar = "federation.balancer"

// attemptsOf returns what is known of the attempts of a request, or nil.
func attemptsOf(ctx context.Context, of *url.URL) *attempts {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	if a, _ := vars[attemptsVar].(*attempts); a != nil && a.of == of {
		return a
	}
	return nil
}

// beginAttempts is attemptsOf, which makes them when there are none.
func beginAttempts(r *http.Request) *attempts {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if a, _ := vars[attemptsVar].(*attempts); a != nil && a.of == r.URL {
		return a
	}
	a := &attempts{of: r.URL}
	if vars != nil {
		vars[attemptsVar] = a
	}
	return a
}

// flight returns what the next attempt is to be accounted for with.
func (a *attempts) flight() *flight {
	if a == nil || a.flying { // what is left of an earlier one may still be read
		return new(flight)
	}
	a.flying = true
	return &a.first
}

// avoid keeps the request's next attempt from an upstream that failed.
func (a *attempts) avoid(m *policy.Meter) {
	if !slices.Contains(a.tried, m) {
		a.tried = append(a.tried, m)
	}
}

func (a *attempts) hasTried(m *policy.Meter) bool { return a != nil && slices.Contains(a.tried, m) }

// targetOf returns the node that an upstream of ours stands for, or nil.
func (a *attempts) targetOf(u *reverseproxy.Upstream) *target {
	if a == nil {
		return nil
	}
	for i, upstream := range a.upstreams {
		if upstream == u {
			return a.targets[i]
		}
	}
	return nil
}

// decide makes the one chosen node the upstream that Caddy gets.
func (a *attempts) decide(t *target) []*reverseproxy.Upstream {
	a.decided = true
	upstream := &a.single
	if a.upstreams != nil { // a retry: Caddy still knows the first one
		upstream = new(reverseproxy.Upstream)
	}
	upstream.Dial = t.dial
	a.one[0], a.node[0] = upstream, t
	a.upstreams, a.targets = a.one[:], a.node[:]
	return a.upstreams
}

// spend takes the request from the budget of the node that was chosen for it.
// It tells whether the choice holds: false when nothing was left.
func (a *attempts) spend(t *target, r *http.Request) bool {
	if t.node == nil {
		return true
	}
	err := t.node.Spend(r.Context(), r.URL.Path)
	if err == nil {
		a.paid = t.meter
		return true
	}
	if refusal := (*fleet.RefusalError)(nil); !errors.As(err, &refusal) {
		return true // the caller left: whoever sends the request finds out too
	}
	if a.trial != nil && a.trial.target == t {
		a.trial.giveBack()
	}
	if a.last == t.meter {
		a.last = nil
	}
	return false
}

// hasPaid tells whether the request was taken from the node's budget already,
// once.
func (a *attempts) hasPaid(t *target) bool {
	if a == nil || a.paid != t.meter {
		return false
	}
	a.paid = nil
	return true
}

// trial is a place in a half-open breaker that was taken when the node was
// chosen, because only one gateway in the federation gets it.
type trial struct {
	target *target
	mu     sync.Mutex
	ticket fleet.Ticket
	taken  bool
}

// take returns the ticket, once.
func (t *trial) take() (fleet.Ticket, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken {
		return fleet.Ticket{}, false
	}
	t.taken = true
	return t.ticket, true
}

// giveBack returns the place when no request came of it.
func (t *trial) giveBack() {
	if ticket, ok := t.take(); ok {
		ticket.Cancel()
	}
}

// holdTrial keeps a place until the transport takes it, and gives it back when
// the request ends without that.
func (a *attempts) holdTrial(ctx context.Context, t *target, ticket fleet.Ticket) {
	a.trial = &trial{target: t, ticket: ticket}
	context.AfterFunc(ctx, a.trial.giveBack)
}

// trialOf returns the ticket that was taken for the target, if there is one.
func (a *attempts) trialOf(t *target) (fleet.Ticket, bool) {
	if a == nil || a.trial == nil || a.trial.target.meter != t.meter {
		return fleet.Ticket{}, false
	}
	return a.trial.take()
}
