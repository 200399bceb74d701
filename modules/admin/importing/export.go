package importing

import (
	"encoding/json"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// Exported is one node in a registry file, in the order that people read it.
type Exported struct {
	Slug            string             `json:"slug"`
	Name            string             `json:"name"`
	URL             string             `json:"url"`
	Type            string             `json:"type"`
	AdminState      fleet.AdminState   `json:"admin_state"`
	Weight          float64            `json:"weight"`
	Capabilities    []string           `json:"capabilities"`
	Description     string             `json:"description,omitempty"`
	Domains         []string           `json:"domains,omitempty"`
	DataTypes       []string           `json:"data_types,omitempty"`
	Keywords        []string           `json:"keywords,omitempty"`
	Collections     []fleet.Collection `json:"collections,omitempty"`
	Version         string             `json:"version,omitempty"`
	Metadata        json.RawMessage    `json:"metadata,omitempty"`
	Group           string             `json:"group,omitempty"`
	Required        bool               `json:"required,omitempty"`
	Dialect         json.RawMessage    `json:"dialect,omitempty"`
	Subject         string             `json:"subject,omitempty"`
	Budget          *ExportedBudget    `json:"budget,omitempty"`
	Timeout         string             `json:"timeout,omitempty"`
	MaxRequests     int                `json:"max_requests,omitempty"`
	MaxResponseSize int64              `json:"max_response_size,omitempty"`
}

// ExportedBudget is a node's budget with its window as text; a limit of 0 is none.
type ExportedBudget struct {
	Limit   int    `json:"limit"`
	Window  string `json:"window,omitempty"`
	PerPath bool   `json:"per_path,omitempty"`
}

// Export writes a node as a row of a registry file. The tuning of a node is
// left out where it is what complete fills in.
func Export(node Settings, complete func(fleet.NodeConfig) fleet.NodeConfig) Exported {
	usual := complete(fleet.NodeConfig{Slug: node.Slug})
	e := Exported{
		Slug: node.Slug, Name: node.Name, URL: node.URL, Type: node.Type, AdminState: node.AdminState, Weight: node.Weight,
		Capabilities: node.Capabilities, Description: node.Description, Domains: node.Domains, DataTypes: node.DataTypes,
		Keywords: node.Keywords, Collections: node.Collections, Version: node.Version, Metadata: node.Metadata,
		Group: node.Group, Required: node.Required != nil && *node.Required, Subject: node.Subject,
	}
	if canonicalJSON(node.DialectRaw) != canonicalJSON(usual.DialectRaw) {
		e.Dialect = node.DialectRaw
	}
	if b := node.Budget; b != nil && budgetText(b) != budgetText(usual.Budget) {
		e.Budget = &ExportedBudget{Limit: b.Limit, Window: durationText(b.Window), PerPath: b.PerPath}
	}
	if node.Timeout != usual.Timeout {
		e.Timeout = durationText(node.Timeout)
	}
	if node.MaxRequests != usual.MaxRequests {
		e.MaxRequests = node.MaxRequests
	}
	if node.MaxResponseSize != usual.MaxResponseSize {
		e.MaxResponseSize = node.MaxResponseSize
	}
	return e
}
