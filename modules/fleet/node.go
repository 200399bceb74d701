package fleet

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// AdminState is the operator's word on a node. Only people set it; no
// observation ever changes it.
type AdminState string

// The operator's states.
const (
	AdminEnabled     AdminState = "enabled"
	AdminDraining    AdminState = "draining"
	AdminMaintenance AdminState = "maintenance"
	AdminDisabled    AdminState = "disabled"
	// AdminPending waits for an operator's approval.
	AdminPending AdminState = "pending"
)

// Node is one member of the federation as one snapshot knows it. It is never
// changed: a change makes a new snapshot with a new Node. What is observed of
// it (load, latency, facts) is reached through its methods.
type Node struct {
	// ID is assigned once by the store, is positive and is never reused.
	ID int64
	// Slug names the node everywhere.
	Slug string
	// Name is for people. Default: the slug.
	Name        string
	URL         *url.URL
	Description string
	// Type is "child" or "master".
	Type         string
	Weight       float64
	Group        string
	Required     bool
	Capabilities []string
	Domains      []string
	Keywords     []string
	DataTypes    []string
	// Collections the operator declared. Empty: what the node says, see Facts.
	Collections []Collection
	AdminState  AdminState
	// Subject is the `sub` that a token presents to the node. Default: the id.
	Subject string
	// Timeout is the longest single call.
	Timeout time.Duration
	// Source is "caddyfile" or "registry".
	Source string
	// Version, Metadata and Registered are what a registration said, and when.
	Version    string
	Metadata   json.RawMessage
	Registered time.Time

	settings        NodeConfig // without what can hold a secret
	maxResponseSize int64
	adopted, since  int64 // epochs, see nodeRecord

	dialect          Dialect
	credential       credential
	headers          []headerField
	secrets          []string // what it must not repeat to others
	echoes           []echo   // and how that can be spelled in JSON
	transport        http.RoundTripper
	guarded          bool // lives where it chose itself: the URL policy is for it
	foreignTransport bool // expects what reverse_proxy puts into a request's context
	gate             *Gate
	allowance        allowance
	elsewhere        func(slug string) int64 // calls of the other gateways
}

// headerField is one `header_up`.
type headerField struct {
	name   string // canonical
	values []string
}

// Facts is what the node last said of itself, or nil before the first probe
// was understood. It is shared: do not change it.
func (n *Node) Facts() *Report { return n.gate.member.facts.Load() }

// Load is what the calls to the node have cost so far.
func (n *Node) Load() Load { return n.gate.Load() }

// Gate is what calls to the node pass. It knows nothing of the operator's
// word: [Node.Admit] asks both.
func (n *Node) Gate() *Gate { return n.gate }

// Health is how the node is, as observed by all gateways that check it.
func (n *Node) Health() HealthStatus { return n.gate.member.health.read() }

// Breaker is the state of the node's circuit breaker now.
func (n *Node) Breaker() BreakerStatus { return n.gate.Breaker() }

// Admit lets a call to the node through, or returns a [*RefusalError]: with
// the operator's state as its reason when the node is not enabled,
// "unhealthy" when checks say so, else with one of [Gate.Admit], which says more.
func (n *Node) Admit(ctx context.Context, start time.Time) (Ticket, error) {
	if err := n.stands(start); err != nil {
		return Ticket{}, err
	}
	return n.gate.Admit(ctx, start)
}

// AdmitChosen is [Node.Admit] for a balancer that has applied [Gate.Share].
func (n *Node) AdmitChosen(ctx context.Context, start time.Time) (Ticket, error) {
	if err := n.stands(start); err != nil {
		return Ticket{}, err
	}
	return n.gate.AdmitChosen(ctx, start)
}

// stands is the refusal of a node that is not enabled, is unhealthy, or asked
// for a pause.
func (n *Node) stands(now time.Time) error {
	if n.AdminState != AdminEnabled {
		return &RefusalError{Reason: string(n.AdminState)}
	}
	if n.gate.member.health.down() {
		return errRefusedUnhealthy
	}
	if left := n.gate.member.pausedFor(now); left > 0 {
		return &RefusalError{Reason: ReasonPaused, RetryAfter: left}
	}
	return nil
}

// CollectionClasses names the node's collections as the node itself calls
// them: the declared ones, else those it told of, else none.
func (n *Node) CollectionClasses() []string {
	collections := n.Collections
	if len(collections) == 0 {
		facts := n.Facts()
		if facts == nil {
			return nil
		}
		collections = facts.Collections
	}
	classes := make([]string, 0, len(collections))
	for _, c := range collections {
		if c.Class != "" {
			classes = append(classes, c.Class)
		} else if c.Name != "" {
			classes = append(classes, c.Name)
		}
	}
	return classes
}

// Refusal says why no new call may be sent to the node now, or is empty: the
// operator's state ("draining", "maintenance", "disabled", "pending"), "unhealthy",
// or what its gate says ("open", "bulkhead"). It takes nothing, and may be stale a
// moment later.
func (n *Node) Refusal() string {
	if n.AdminState != AdminEnabled {
		return string(n.AdminState)
	}
	if n.gate.member.health.down() {
		return errRefusedUnhealthy.Reason
	}
	if n.gate.member.paused.Load() != nil && n.PausedFor() > 0 {
		return ReasonPaused
	}
	return n.gate.Refusal()
}

// PausedFor is how much longer the node asked not to be called, by the
// Retry-After of an answer to any gateway. Probes are made all the same.
func (n *Node) PausedFor() time.Duration { return n.gate.member.pausedFor(time.Now()) }

// NewNode returns a node that is in no registry: for tests of dialects, which
// need one to be called with.
func NewNode(slug string, collections ...Collection) *Node {
	gate := &Gate{member: newMember(newCircuits(false), slug, "")}
	return &Node{Slug: slug, Name: slug, Collections: collections, AdminState: AdminEnabled, gate: gate}
}

// NewProbedNode is [NewNode] after a probe: for tests of what follows from its report.
func NewProbedNode(slug string, report *Report) *Node {
	node := NewNode(slug)
	node.gate.member.facts.Store(report)
	return node
}
