package fleet

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

// DialectNamespace is the namespace of the guest modules that implement
// [Dialect]: the name a node's `dialect` names is looked up there.
const DialectNamespace = "federation.dialects"

// Dialect is how a node is spoken to: it turns a question into HTTP requests
// and an HTTP answer into hits or facts. One instance serves one node, so a
// dialect may remember what it has learnt of that node. Every method may be
// called by many goroutines at once.
//
// A dialect never reaches the network by itself. It hands each request to the
// [Caller], which adds the deadline, credentials and trace headers, refuses
// redirects, caps what it reads and turns every status outside 200..299 into a
// [StatusError]. Errors of the caller are returned as they are (wrapped or
// not), because the fleet classifies the outcome by them; an answer that was
// read and does not fit is a [PayloadError].
type Dialect interface {
	// Search asks the node and returns its hits in the node's own order.
	Search(ctx context.Context, node Caller, query *SearchQuery) (*SearchAnswer, error)

	// Probe asks the node how it is and what it holds. A node that answers
	// that it is not ready is a report, not an error; an error means that the
	// node could not be asked or was not understood.
	Probe(ctx context.Context, node Caller) (*Report, error)
}

// Checker is a [Dialect] that can ask how its node is without asking what it
// holds. It is asked at every check; Probe at the first one, every five
// minutes, and when the node's version has changed.
type Checker interface {
	// Check returns a report whose dialect, version, health and reason count.
	Check(ctx context.Context, node Caller) (*Report, error)
}

// Caller is the one way a dialect reaches its node.
type Caller interface {
	// Node is the node that is being called.
	Node() *Node

	// Do sends one request and returns the whole answer.
	Do(ctx context.Context, request *Request) (*Response, error)
}

// TokenHeader says which headers carry a token credential (jwt,
// shared_secret, api_key or bearer). Other credentials ignore it.
type TokenHeader uint8

const (
	// TokenAuthorization sends `Authorization: Bearer <token>`. The default.
	TokenAuthorization TokenHeader = iota
	// TokenXNodeToken sends `X-Node-Token: <token>`.
	TokenXNodeToken
	// TokenBoth sends both headers, which every era of the laravel dialect reads.
	TokenBoth
	// TokenNone sends no credentials at all, for endpoints that need none.
	TokenNone
)

// Request is one HTTP request to a node, before the fleet completes it.
type Request struct {
	// Method is the HTTP method. Default: GET, or POST when there is a body.
	Method string
	// Path is appended to the path of the node's URL. It starts with a slash
	// and may carry a query ("/search?q=tea").
	Path string
	// Header holds what the dialect needs beyond the defaults (Accept,
	// Content-Type for a body, User-Agent, trace and deadline headers).
	Header http.Header
	// Body is sent as it is, with Content-Type application/json by default.
	Body []byte
	// TokenHeader says where a token credential goes.
	TokenHeader TokenHeader
	// Once is set for a request that does something: it is never sent again on
	// another connection when one breaks.
	Once bool
	// Optional is set for a request that the node may refuse: when it is answered
	// or refused (a neutral outcome), the status of the call stays that of the
	// request before.
	Optional bool
}

// Response is the whole answer of a node with a status of 200..299.
type Response struct {
	Status int
	Header http.Header
	// Body is at most the response size cap long. It is not shared: what is
	// decoded may keep slices of it.
	Body []byte
}

// SearchQuery is one search, as a single node is asked.
type SearchQuery struct {
	// Text is what to look for: trimmed, never empty.
	Text string
	// Limit is how many hits the node should return (offset + limit of the
	// caller's page), at least 1. A dialect lowers it to what its node allows
	// and says so in [SearchAnswer.Capped].
	Limit int
	// Collections restricts the search; empty: whatever the node has.
	Collections []string
	// Filters and Options are JSON objects passed through, or nil. A null
	// never gets here.
	Filters jsontext.Value
	Options jsontext.Value
	// Via names the federations that this search has passed, this gateway's
	// own last. The gateway dialect sends it on, so that a search which comes
	// round is refused.
	Via []string
}

// SearchAnswer is what one node answered to a search.
type SearchAnswer struct {
	// Hits in the node's order, best first.
	Hits []Hit
	// Known names the members of a hit's Raw that its other fields were read
	// from, the same for all hits. It is shared and never written to.
	Known []string
	// Total is how many documents match in the node, or -1 when it did not say.
	Total int
	// More is set when the node said or implied that it holds more hits than
	// it returned.
	More bool
	// Capped is not empty when the dialect had to ask for fewer hits than the
	// query wanted, and says why in words ("the node returns at most 100 hits").
	Capped string
	// Partial is set when the node itself (a gateway) had only a partial answer.
	Partial bool
	// Note is a remark for the per-node report, or empty.
	Note string
}

// Hit is one document in an answer. The JSON texts are raw slices of the
// node's body: valid JSON, not yet decoded, so that a hit that is not shown
// costs no decoding. A nil value means that the node did not say.
type Hit struct {
	// ID is a JSON string or number.
	ID jsontext.Value
	// Title, Content and URL are JSON strings.
	Title, Content, URL jsontext.Value
	// Score is the node's own; HasScore tells a missing score from 0.
	Score    float64
	HasScore bool
	// Raw is the whole hit object as the node sent it.
	Raw jsontext.Value
	// Metadata is the JSON object of what else the node said, when the dialect
	// has it as one value. Nil: everything in Raw but the answer's Known members.
	Metadata jsontext.Value
}

// Health is what a node says of itself when it is asked.
type Health string

// The states a node's health can have. Only observation sets them, never a person.
const (
	HealthUnknown   Health = "unknown"
	HealthHealthy   Health = "healthy"
	HealthDegraded  Health = "degraded"
	HealthUnhealthy Health = "unhealthy"
)

// Report is what a probe learnt of a node. Empty fields mean that the node did
// not say; a report never raises what the operator configured.
type Report struct {
	// Dialect names the dialect that the node was understood in, with its
	// variant ("laravel enveloped", "gateway").
	Dialect string
	Health  Health
	// Reason says in words why the node is not healthy, or is empty.
	Reason       string
	Name         string
	Version      string
	Description  string
	Capabilities []string
	Domains      []string
	DataTypes    []string
	Keywords     []string
	Collections  []Collection
}

// Collection is a kind of document that a node holds.
type Collection struct {
	// Name is the short name ("plant").
	Name string `json:"name"`
	// Class is what the node itself calls it when it is asked
	// ("App\Models\Plant"); default: the name.
	Class string `json:"class,omitempty"`
}
