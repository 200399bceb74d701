package fleet

import (
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

	settings                     NodeConfig // without what can hold a secret
	maxRequests, maxResponseSize int64

	dialect          Dialect
	credential       credential
	headers          []headerField
	transport        http.RoundTripper
	guarded          bool // lives where it chose itself: the URL policy is for it
	foreignTransport bool // expects what reverse_proxy puts into a request's context
	member           *member
}

// headerField is one `header_up`.
type headerField struct {
	name   string // canonical
	values []string
}

// Facts is what the node last said of itself, or nil before the first probe
// was understood. It is shared: do not change it.
func (n *Node) Facts() *Report { return n.member.facts.Load() }

// Load is what the calls to the node have cost so far.
func (n *Node) Load() Load { return n.member.load.read() }

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

// Refusal says why no new call may be sent to the node now, or is empty.
func (n *Node) Refusal() string {
	if n.AdminState == AdminEnabled {
		return ""
	}
	return string(n.AdminState)
}

// NewNode returns a node that is in no registry: for tests of dialects, which
// need one to be called with.
func NewNode(slug string, collections ...Collection) *Node {
	return &Node{Slug: slug, Name: slug, Collections: collections, AdminState: AdminEnabled, member: new(member)}
}

// NewProbedNode is [NewNode] after a probe: for tests of what follows from its report.
func NewProbedNode(slug string, report *Report) *Node {
	node := NewNode(slug)
	node.member.facts.Store(report)
	return node
}
