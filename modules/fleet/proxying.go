package fleet

import (
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// What follows is for requests that are proxied to a node: the client's own,
// with a body that is still being read when the verdict is known.

// Answer is a call of which the header of the answer has come. Its End or its
// Broke must be called exactly once; until then it keeps its place in the
// bulkhead. Both of a zero answer do nothing.
type Answer struct {
	gate    *Gate
	era     *era
	trial   *trial        // nil: none, or decided by the header
	at      time.Duration // when the header came
	latency time.Duration
	outcome Outcome
	well    bool // the header says nothing against the node
}

// Answered takes note of a call by the header of its answer. One that fails is
// judged now, one that goes well counts as such for the breaker until it breaks
// off, and for the accounts when it has ended. A trial call has gone well when
// its answer has ended, has changed its protocol, or goes on for a second.
// r.Latency may leave out what was not the node's time.
//
// signed tells whether the call was made in the gateway's name ([Node.Direct]
// with credentials): then a Retry-After is meant for the gateway and pauses the
// node, else it is for the one client whose request it was, and so is a 429
// ([OfCaller]), which then says no more against the node than another 4xx.
func (t Ticket) Answered(r Result, signed bool) Answer {
	if t.gate == nil {
		return Answer{}
	}
	if signed {
		t.gate.member.obey(&r)
	}
	a := Answer{
		gate: t.gate, era: t.era, at: time.Since(epoch), latency: r.Latency, outcome: r.Outcome,
		well: r.Outcome == OutcomeOK || r.Outcome == OutcomeNeutral,
	}
	if !a.well {
		t.gate.member.load.record(r.Outcome, r.Latency)
		if OfCaller(r.Status, signed) {
			r.Outcome, r.RetryAfter, r.Reason = OutcomeNeutral, 0, ""
		}
		t.gate.member.history.note(&r, a.at)
	}
	switch {
	case t.era == nil:
	case t.trial != nil && a.well && r.Status != http.StatusSwitchingProtocols:
		a.trial = t.trial
		a.settleLater(r)
	default:
		r.begun = a.well
		a.judge(t.trial, r)
	}
	return a
}

// settleLater has the trial go well unless its answer ends or breaks off before.
// It takes copies: what a closure refers to is allocated for every call.
func (a Answer) settleLater(r Result) {
	a.trial.settle = time.AfterFunc(trialAnswer, func() { a.decide(r) })
}

// OfCaller tells whether a refusal is about the caller of a proxied request and
// not about the node or the gateway: a 429 to a request that did not go in the
// gateway's name. If it counted, one client beyond its limit would take the
// node from all others.
func OfCaller(status int, signed bool) bool { return !signed && status == http.StatusTooManyRequests }

// End is the end of the answer.
func (a Answer) End() {
	if a.gate == nil {
		return
	}
	m := a.gate.member
	m.load.leave()
	if !a.well {
		return
	}
	r := Result{Outcome: a.outcome, Latency: a.latency, Status: http.StatusOK}
	m.load.record(r.Outcome, r.Latency)
	m.history.note(&r, time.Since(epoch))
	switch {
	case a.trial != nil:
		a.trial.settle.Stop()
		a.decide(r)
	case a.era != nil:
		a.era.window.Ended()
	}
}

// Broke is the end of an answer that broke off: a failure in place of what the
// header said.
func (a Answer) Broke(r Result) {
	if a.gate == nil {
		return
	}
	m := a.gate.member
	m.load.leave()
	if !a.well { // the call has failed already
		return
	}
	now := time.Since(epoch)
	m.load.record(r.Outcome, r.Latency)
	m.history.note(&r, now)
	switch {
	case a.trial != nil:
		a.trial.settle.Stop()
		a.decide(r)
	case a.era != nil && m.circuit.era.Load() == a.era:
		a.era.window.Retract(a.gate.rules, a.at, a.gate.rules.Slow(a.latency))
		a.at = now
		a.judge(nil, r)
	}
}

// decide ends a trial, once.
func (a Answer) decide(r Result) {
	if !a.trial.decided.Swap(true) {
		a.judge(a.trial, r)
	}
}

// judge gives the breaker a verdict of the moment a.at.
func (a Answer) judge(t *trial, r Result) {
	a.gate.member.circuit.finish(&Ticket{gate: a.gate, era: a.era, trial: t, start: a.at - r.Latency}, &r)
}

// LastResort tells whether a call may go here although the breaker is open:
// when an operator did not force it, and somebody listens. It is for a balancer
// none of whose nodes is left, which the guards of a breaker, that count all
// nodes of the federation, cannot know.
func (g *Gate) LastResort() bool {
	if g.rules == nil {
		return true
	}
	state := g.member.circuit.era.Load().state
	return state.Phase != breaker.ForcedOpen && state.Cause != breaker.CauseRefused && state.Cause != breaker.CauseForced
}

// AdmitLastResort is [Gate.Admit] where [Gate.LastResort] is true: the breaker
// neither refuses nor counts the call.
func (g *Gate) AdmitLastResort(start time.Time) (Ticket, error) {
	switch {
	case !g.LastResort():
		return Ticket{}, errRefusedOpen
	case !g.member.load.begin(g.maxRequests):
		return Ticket{}, errRefusedBulkhead
	}
	return Ticket{gate: g, start: start.Sub(epoch)}, nil
}

// InFlight is how many calls are running.
func (g *Gate) InFlight() int64 { return g.member.load.inFlight.Load() }

// PeersInFlight is how many calls the other gateways of the federation had in
// flight to the node when they were last heard of, a second ago or so.
func (n *Node) PeersInFlight() int64 {
	if n.elsewhere == nil {
		return 0
	}
	return n.elsewhere(n.Slug)
}

// callerCredentials are the headers in which callers prove themselves to us.
var callerCredentials = []string{"Authorization", "X-Node-Token", "X-Api-Key"}

// Direct points a proxied request at the node: its scheme, the path of its URL
// before the request's, its header_up, for https its name as the Host unless
// keepHost is set, and with credentials what proves the gateway to the node in
// place of what the caller sent: such a call is to be taken from the node's
// budget first ([Node.Spend]). The request's header and URL are shared with
// other attempts, so those that must change are copied; and Caddy logs the
// request that it handed over, so what is the node's alone is in a copy.
func (n *Node) Direct(req *http.Request, credentials, keepHost bool) (*http.Request, error) {
	if credentials || len(n.headers) > 0 {
		header := req.Header.Clone()
		if credentials {
			for _, name := range callerCredentials {
				delete(header, name)
			}
			if n.unnumbered() {
				return nil, &RefusalError{Reason: "unnumbered"}
			}
			if err := n.credential.apply(header, TokenBoth, n); err != nil {
				return nil, err
			}
		}
		for _, field := range n.headers {
			if field.name == "Host" {
				req.Host, keepHost = field.values[0], true
				continue
			}
			header[field.name] = field.values
		}
		sent := *req
		sent.Header = header
		req = &sent
	}
	if n.URL.Path != "" {
		address := *req.URL
		address.Path, address.RawPath = joinPath(n.URL, req.URL)
		req.URL = &address
	}
	req.URL.Scheme = n.URL.Scheme // every attempt sets it anew
	if n.URL.Scheme == "https" && !keepHost {
		req.Host = n.URL.Host
	}
	return req, nil
}

// joinPath puts a node's path before a request's.
func joinPath(node, request *url.URL) (path, raw string) {
	path = node.Path + request.Path
	if node.RawPath != "" || request.RawPath != "" {
		raw = node.EscapedPath() + request.EscapedPath()
	}
	return path, raw
}

// OwnTransport is what requests to the node must be sent through, or nil for
// any: the transport that it was configured with, or for a node that registered
// itself the one that looks at every address before it connects (node_urls).
func (n *Node) OwnTransport() http.RoundTripper {
	if n.foreignTransport || n.guarded {
		return n.transport
	}
	return nil
}

// Guarded tells whether the node chose where it lives: every address that its
// name stands for must then be looked at before it is dialled, which
// [Node.OwnTransport] alone does.
func (n *Node) Guarded() bool { return n.guarded }
