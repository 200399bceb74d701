package balancer

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// availableAfter is when the first of the targets, none of which can be asked
// now, can be, as far as they know. 0: nobody does. spending is the request
// when it is taken from the budgets of nodes, else nil.
func availableAfter(targets []*target, spending *http.Request) (first time.Duration) {
	for _, t := range targets {
		if after := t.availableAfter(spending); after > 0 && (first == 0 || after < first) {
			first = after
		}
	}
	return first
}

func (t *target) availableAfter(spending *http.Request) time.Duration {
	after := t.usedUp(spending)
	if t.node != nil && t.refusal() == fleet.ReasonPaused {
		return max(after, t.node.PausedFor())
	}
	if t.gate == nil || t.refusal() != "open" {
		return after
	}
	if status := t.gate.Breaker(); status.State == breaker.Open {
		return max(after, t.gate.Until(status.Until))
	}
	return 0 // an operator holds it open, or a trial call runs
}

// wait tells the caller when to come again, should nobody answer this request.
// Caddy writes 503 without asking anybody else for its header.
func (a *attempts) wait(after time.Duration) {
	if after <= 0 || a.writer == nil {
		return
	}
	a.waits = true
	a.writer.Header()["Retry-After"] = []string{strconv.FormatInt(int64(math.Ceil(after.Seconds())), 10)}
}

// refused is wait after a refusal that knows when.
func (a *attempts) refused(err error) {
	var refusal *fleet.RefusalError
	if a != nil && errors.As(err, &refusal) {
		a.wait(refusal.RetryAfter)
	}
}

// goOn takes back what wait said: the request is sent, and how that goes is the
// answer.
func (a *attempts) goOn() {
	if a != nil && a.waits {
		a.waits = false
		delete(a.writer.Header(), "Retry-After")
	}
}

// writes notes where the answer will be written.
func (a *attempts) writes(w http.ResponseWriter) {
	if a != nil {
		a.writer = w
	}
}
