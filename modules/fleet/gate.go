package fleet

import (
	"context"
	"errors"
	"net/http"
	"syscall"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// Gate is what every call to one node or upstream passes: its circuit breaker
// and its bulkhead, with the accounts of what the calls cost. It is for many
// goroutines at once. Nodes have theirs ([Node.Gate]); upstreams that are in
// no federation have them from [Gates].
//
// A call is one pair of [Gate.Admit] and [Ticket.Done]:
//
//	start := time.Now()
//	ticket, err := gate.Admit(ctx, start)
//	if err != nil {
//		return err // nothing was sent: try another node
//	}
//	response, err := transport.RoundTrip(request)
//	if err != nil {
//		ticket.Done(fleet.ResultOfError(ctx, err, time.Since(start)))
//	} else {
//		ticket.Done(fleet.ResultOfResponse(response, time.Since(start)))
//	}
//
// Where the answer is passed on while it comes, [Ticket.Answered] stands in
// place of Done.
type Gate struct {
	member      *member
	rules       *breaker.Rules // nil: no breaker
	fellows     *fellows
	maxRequests int64
	// limits tells whether the node is known to limit its callers: its budget
	// and its pauses deal with a 429 then. nil: no.
	limits func() bool
}

// Ticket is one call that was let through. Its Done, Answered or Cancel must be
// called exactly once. A zero ticket is good for nothing, and its Done does nothing.
type Ticket struct {
	gate  *Gate
	era   *era   // nil: the breaker does not count this call
	trial *trial // nil: no trial call
	start time.Duration
}

// Result is how one call went.
type Result struct {
	// Outcome is the verdict on the call, see [Classify].
	Outcome Outcome
	// Status is the HTTP status of the answer, 0 without one. A neutral
	// outcome with a status is an answer: the node is alive.
	Status int
	// Latency is how long it took, until the answer's header for proxied calls.
	Latency time.Duration
	// RetryAfter is what the node asked for, 0 when it did not ask. More than
	// [MaxRetryAfter] counts as that.
	RetryAfter time.Duration
	// Refused is set when the connection was refused: nobody listens there.
	Refused bool
	// Reason says in words, fit for strangers, why a call failed that says
	// something against the node.
	Reason string

	begun bool // the answer goes on
}

// bad tells whether the call says something against the node.
func (r *Result) bad() bool { return r.Outcome != OutcomeOK && r.Outcome != OutcomeNeutral }

// ResultOfError is how a call went that ended with err, or well when err is
// nil. ctx is the context of the whole request, as for [Classify].
func ResultOfError(ctx context.Context, err error, latency time.Duration) Result {
	r := Result{Outcome: Classify(ctx, err), Latency: latency}
	if err == nil {
		r.Status = http.StatusOK
		return r
	}
	var status *StatusError
	if errors.As(err, &status) {
		r.Status, r.RetryAfter = status.Status, status.RetryAfter
	}
	r.Refused = r.Outcome == OutcomeHard && errors.Is(err, syscall.ECONNREFUSED)
	if r.bad() {
		r.Reason = Describe(err)
	}
	return r
}

// ResultOfResponse is how a proxied call went, by the header of its answer.
// Redirects and protocol switches are answers like any other here, because
// the client is the one who asked.
func ResultOfResponse(response *http.Response, latency time.Duration) Result {
	r := Result{Outcome: OutcomeOK, Status: response.StatusCode, Latency: latency}
	if response.StatusCode < 400 {
		return r
	}
	asked := response.Header.Get("Retry-After")
	r.Outcome = classifyStatus(response.StatusCode, asked != "")
	if r.Outcome == OutcomeThrottled {
		r.RetryAfter = parseRetryAfter(asked, time.Now())
	}
	if r.bad() {
		r.Reason = Describe(&StatusError{Status: r.Status})
	}
	return r
}

// verdict is what the breaker makes of an outcome.
func (r *Result) verdict() breaker.Verdict {
	switch r.Outcome {
	case OutcomeOK:
		return breaker.Success
	case OutcomeHard:
		return breaker.Hard
	case OutcomeSoft, OutcomeBadPayload, OutcomeThrottled:
		return breaker.Failure
	default:
		if r.Status != 0 {
			return breaker.Success
		}
		return breaker.Neutral
	}
}

// verdict is what the breaker makes of how a call went.
func (g *Gate) verdict(r *Result) breaker.Verdict {
	if r.Outcome == OutcomeThrottled && g.limits != nil && g.limits() {
		return breaker.Neutral
	}
	return r.verdict()
}

// The refusals are made once: a refused call costs no allocation.
var (
	errRefusedOpen      = &RefusalError{Reason: reasonOpen}
	errRefusedRamp      = &RefusalError{Reason: reasonRamp}
	errRefusedBulkhead  = &RefusalError{Reason: "bulkhead"}
	errRefusedUnhealthy = &RefusalError{Reason: "unhealthy"}
)

// Admit lets a call through, or returns a [*RefusalError] with the reason
// "open" (the breaker is open, or half-open and its trial calls are taken),
// "ramp" (it has just closed, and only a share is let through) or "bulkhead"
// (as many calls as may run are running). start is when the call began, which
// the caller has measured anyway: nothing here reads a clock while the breaker
// is closed. It neither waits nor allocates, but for the one call at a time
// that becomes a trial: that one asks the store for at most 100 ms, or until
// ctx ends.
func (g *Gate) Admit(ctx context.Context, start time.Time) (Ticket, error) {
	return g.admit(ctx, start, false)
}

// AdmitChosen is [Gate.Admit] for a balancer that has applied [Gate.Share]
// when it chose: it does not refuse for the ramp.
func (g *Gate) AdmitChosen(ctx context.Context, start time.Time) (Ticket, error) {
	return g.admit(ctx, start, true)
}

func (g *Gate) admit(ctx context.Context, start time.Time, drawn bool) (Ticket, error) {
	if !g.member.load.begin(g.maxRequests) {
		return Ticket{}, errRefusedBulkhead
	}
	t := Ticket{gate: g, start: start.Sub(epoch)}
	if g.rules == nil {
		return t, nil
	}
	c := g.member.circuit
	if e := c.era.Load(); e.free() {
		t.era = e
		return t, nil
	} else {
		a := c.admit(ctx, g, e, start, drawn)
		if a.reason == "" {
			t.era, t.trial = a.era, a.trial
			return t, nil
		}
		g.member.load.inFlight.Add(-1)
		c.refused.Add(1)
		if a.reason == reasonRamp {
			return Ticket{}, errRefusedRamp
		}
		return Ticket{}, errRefusedOpen
	}
}

// Trial tells whether the call is one that decides whether an open breaker
// closes. It is best not retried or hedged.
func (t Ticket) Trial() bool { return t.trial != nil }

// Done gives the verdict on the call.
func (t Ticket) Done(r Result) {
	if t.gate == nil {
		return
	}
	t.gate.member.load.end(r.Outcome, r.Latency)
	t.gate.member.obey(&r)
	t.gate.member.history.note(&r, t.start+r.Latency)
	if t.era != nil {
		t.gate.member.circuit.finish(&t, &r)
	}
}

// Cancel gives the ticket back: nothing was sent, and nothing is counted.
func (t Ticket) Cancel() {
	if t.gate == nil {
		return
	}
	t.gate.member.load.inFlight.Add(-1)
	if t.trial != nil {
		t.trial.end()
		t.gate.member.circuit.giveBack(t.trial)
	}
}

// Refusal says why a call would be refused now ("open" or "bulkhead"), or is
// empty. It takes nothing, and its answer may be stale a moment later.
func (g *Gate) Refusal() string {
	if g.rules != nil {
		if e := g.member.circuit.era.Load(); !e.free() {
			if reason := g.member.circuit.refusal(g, e); reason != "" {
				return reason
			}
		}
	}
	if g.maxRequests > 0 && g.member.load.inFlight.Load() >= g.maxRequests {
		return "bulkhead"
	}
	return ""
}

// Share is which share of the calls should go here, from 0 to 1: 1 normally,
// less while the breaker ramps up after closing, 0 when it refuses. Where
// [Gate.TrialDue] it is 1, for one call.
func (g *Gate) Share() float64 {
	if g.rules == nil {
		return 1
	}
	c := g.member.circuit
	e := c.era.Load()
	if e.free() {
		return 1
	}
	if c.refusal(g, e) != "" {
		return 0
	}
	if now := c.home.now(); e.state.Phase == breaker.Closed && !g.rules.Shadow {
		return g.rules.Share(now.Sub(e.state.Since))
	}
	return 1
}

// TrialDue tells whether the breaker waits for a trial call. A balancer that
// picks by cost must send one here, or the node never comes back.
func (g *Gate) TrialDue() bool {
	if g.rules == nil {
		return false
	}
	e := g.member.circuit.era.Load()
	return !e.free() && g.member.circuit.trialDue(g, e)
}

// failing tells whether the last calls in a row failed hard.
func (g *Gate) failing() bool {
	return g.rules != nil && g.member.circuit.era.Load().window.Row() > 0
}

// Load is what the calls have cost so far.
func (g *Gate) Load() Load { return g.member.load.read() }
