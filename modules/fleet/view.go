package fleet

import (
	"encoding/json"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// NodeView is a node as the APIs show it: to a caller that may read nodes, and
// to the operator. It holds no secret.
type NodeView struct {
	ID          int64   `json:"id"`
	Slug        string  `json:"slug"`
	Name        string  `json:"name"`
	URL         string  `json:"url"`
	Type        string  `json:"type"`
	Description string  `json:"description"`
	Version     string  `json:"version"`
	Weight      float64 `json:"weight"`
	Group       string  `json:"group,omitempty"`
	Required    bool    `json:"required"`
	// Dialect is how the node is spoken to, once that is known.
	Dialect      string       `json:"dialect"`
	Capabilities []string     `json:"capabilities"`
	Domains      []string     `json:"domains"`
	Keywords     []string     `json:"keywords"`
	DataTypes    []string     `json:"data_types"`
	Collections  []Collection `json:"collections"`
	// Source is caddyfile or registry.
	Source string `json:"source"`
	// AdminState is the operator's word.
	AdminState AdminState `json:"admin_state"`
	// Health is what was observed, HealthReason why in words.
	Health       Health `json:"health"`
	HealthReason string `json:"health_reason,omitempty"`
	// HealthSince is when the health became what it is. Flaps counts the times
	// the node began to flap, Flapping is set while it is left out for that.
	HealthSince *time.Time `json:"health_since,omitempty"`
	Flapping    bool       `json:"flapping"`
	Flaps       uint64     `json:"flaps"`
	// Available tells whether a call would be sent now, Refusal why not.
	Available bool   `json:"available"`
	Refusal   string `json:"refusal,omitempty"`
	Load      Load   `json:"load"`
	// InFlightElsewhere is how many calls the other gateways have running.
	InFlightElsewhere int64           `json:"in_flight_elsewhere"`
	Recent            Recent          `json:"recent"`
	Breaker           BreakerStatus   `json:"breaker"`
	Metadata          json.RawMessage `json:"metadata,omitempty"`
	Registered        *time.Time      `json:"registered_at,omitempty"`
}

// View shows the node as it is now: what is configured, else what the node
// said of itself.
func (n *Node) View() NodeView {
	facts := n.Facts()
	if facts == nil {
		facts = &Report{Health: HealthUnknown}
	}
	observed := n.Health()
	if observed.State == HealthUnknown { // nobody judges: what it says of itself
		observed.State, observed.Reason = facts.Health, facts.Reason
	}
	v := NodeView{
		ID: n.ID, Slug: n.Slug, Name: n.Name, URL: n.URL.String(), Type: n.Type, Description: or(n.Description, facts.Description),
		Version: or(facts.Version, n.Version), Weight: n.Weight, Group: n.Group, Required: n.Required, Dialect: facts.Dialect,
		Capabilities: list(n.Capabilities, nil), Domains: list(n.Domains, facts.Domains), Keywords: list(n.Keywords, facts.Keywords),
		DataTypes: list(n.DataTypes, facts.DataTypes), Collections: list(n.Collections, facts.Collections), Source: n.Source,
		AdminState: n.AdminState, Health: observed.State, HealthReason: observed.Reason,
		Refusal: n.Refusal(), Load: n.Load(), Recent: n.Recent(), Breaker: n.Breaker(), Metadata: n.Metadata,
	}
	v.Available = v.Refusal == ""
	v.Flapping, v.Flaps = observed.Flapping, observed.Flaps
	if !observed.Since.IsZero() {
		v.HealthSince = &observed.Since
	}
	v.InFlightElsewhere = n.PeersInFlight()
	if !n.Registered.IsZero() {
		v.Registered = &n.Registered
	}
	return v
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// list returns the first that has something, and never null.
func list[T any](a, b []T) []T {
	if len(a) > 0 {
		return a
	}
	if len(b) > 0 {
		return b
	}
	return []T{}
}

// Statistics are the totals of a federation.
type Statistics struct {
	Nodes NodeCounts `json:"nodes"`
	// Calls counts the finished calls to nodes by outcome, since this process
	// started, and InFlight those that run now.
	Calls    map[Outcome]uint64 `json:"calls"`
	InFlight int64              `json:"in_flight"`
	// Opens counts the openings of circuit breakers, Flaps the times that a
	// node began to flap.
	Opens uint64 `json:"breaker_opens"`
	Flaps uint64 `json:"flaps"`
	// Recent is what the last hour of calls to all nodes says.
	Recent Recent `json:"recent"`
	// Alerts is how alerts are delivered.
	Alerts AlertStatus `json:"alerts"`
}

// NodeCounts counts nodes.
type NodeCounts struct {
	Total        int                `json:"total"`
	Available    int                `json:"available"`
	ByType       map[string]int     `json:"by_type"`
	ByAdminState map[AdminState]int `json:"by_admin_state"`
	ByHealth     map[Health]int     `json:"by_health"`
	// ByBreaker counts them by the state of their circuit breaker.
	ByBreaker map[breaker.Phase]int `json:"by_breaker"`
}

// Statistics counts what the gateway knows now.
func (a *App) Statistics() Statistics {
	s := Statistics{
		Nodes: NodeCounts{ByType: make(map[string]int), ByAdminState: make(map[AdminState]int), ByHealth: make(map[Health]int), ByBreaker: make(map[breaker.Phase]int)},
		Calls: make(map[Outcome]uint64),
	}
	histories := make([]*history, 0, len(a.Snapshot().Nodes))
	for _, node := range a.Snapshot().Nodes {
		histories = append(histories, &node.gate.member.history)
		s.Nodes.Total++
		s.Nodes.ByType[node.Type]++
		s.Nodes.ByAdminState[node.AdminState]++
		health, circuit := node.Health(), node.Breaker()
		s.Nodes.ByHealth[health.State]++
		s.Nodes.ByBreaker[circuit.State]++
		s.Opens += circuit.Opens
		s.Flaps += health.Flaps
		if node.Refusal() == "" {
			s.Nodes.Available++
		}
		load := node.Load()
		s.InFlight += load.InFlight
		for outcome, n := range load.Calls {
			s.Calls[outcome] += n
		}
	}
	s.Recent = recent(time.Since(epoch), histories...)
	s.Alerts = a.AlertStatus()
	return s
}

// Milliseconds is a duration as the APIs show it: with one decimal.
func Milliseconds(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}
