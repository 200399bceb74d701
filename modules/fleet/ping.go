package fleet

import "context"

// Ping is what a node said when it was asked now.
type Ping struct {
	Node       string  `json:"node"`
	Outcome    Outcome `json:"outcome"`
	HTTPStatus int     `json:"http_status"`
	Took       float64 `json:"took_ms"`
	Health     Health  `json:"health"`
	// Reason says in words why the node is not healthy, Error why it was not
	// understood.
	Reason  string `json:"reason,omitempty"`
	Dialect string `json:"dialect,omitempty"`
	Version string `json:"version,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Ping asks a node how it is, whatever the operator's word on it. It changes
// nothing but what is known of the node's facts.
func (a *App) Ping(ctx context.Context, node *Node) Ping {
	report, call := a.Probe(ctx, node)
	p := Ping{
		Node: node.Slug, Outcome: call.Outcome, HTTPStatus: call.Status, Took: Milliseconds(call.Took),
		Health: HealthUnhealthy, Error: Describe(call.Err),
	}
	if report != nil {
		p.Health, p.Reason, p.Dialect, p.Version = report.Health, report.Reason, report.Dialect, report.Version
	}
	return p
}
