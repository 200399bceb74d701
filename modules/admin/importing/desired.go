package importing

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// Secret is text that is never printed.
type Secret string

// String hides it from logs and messages.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(secret)"
}

// GoString hides it from %#v.
func (s Secret) GoString() string { return s.String() }

// Settings are those of a node, with what a registry knows besides.
type Settings struct {
	fleet.NodeConfig
	// Version is the node's software.
	Version string `json:"version,omitempty"`
	// Metadata is a JSON object of the node's own.
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// Desired is one node as a row wants it.
type Desired struct {
	// Row is the position of the row that it comes from.
	Row string `json:"row"`
	// Node has the settings that the row states, and the slug.
	Node Settings `json:"node"`
	// Set names the settings that the row states, sorted. One that is named
	// here and empty in Node goes back to its default; one that is not named
	// stays as it is.
	Set []string `json:"set"`
	// APIKey is the node's key as the old registry kept it.
	APIKey Secret `json:"api_key,omitempty"`
}

// Remark is said of one field of one row: a problem, a fix or a note.
type Remark struct {
	Row   string `json:"row"`
	Slug  string `json:"slug,omitempty"`
	Field string `json:"field,omitempty"`
	// Reason says in words what is the case.
	Reason string `json:"reason"`
	// Suggestion is what would do instead, or empty.
	Suggestion string `json:"suggestion,omitempty"`
}

// setting is one setting of a node that a row can state.
type setting struct {
	name string
	get  func(*Settings) any
	set  func(into *Settings, from Settings)
}

// settings are in the order in which changes are shown. What holds secrets
// (credentials, keys, header_up, transport) is not among them: it belongs in the
// Caddyfile, which wins over the registry.
var settings = []setting{
	{"name", func(c *Settings) any { return c.Name }, func(i *Settings, f Settings) { i.Name = f.Name }},
	{"url", func(c *Settings) any { return fleet.NormalizeURL(c.URL) }, func(i *Settings, f Settings) { i.URL = f.URL }},
	{"type", func(c *Settings) any { return c.Type }, func(i *Settings, f Settings) { i.Type = f.Type }},
	{"admin_state", func(c *Settings) any { return string(c.AdminState) }, func(i *Settings, f Settings) { i.AdminState = f.AdminState }},
	{"weight", func(c *Settings) any { return c.Weight }, func(i *Settings, f Settings) { i.Weight = f.Weight }},
	{"group", func(c *Settings) any { return c.Group }, func(i *Settings, f Settings) { i.Group = f.Group }},
	{"required", func(c *Settings) any { return c.Required != nil && *c.Required }, func(i *Settings, f Settings) { i.Required = f.Required }},
	{"capabilities", func(c *Settings) any { return words(c.Capabilities) }, func(i *Settings, f Settings) { i.Capabilities = f.Capabilities }},
	{"description", func(c *Settings) any { return c.Description }, func(i *Settings, f Settings) { i.Description = f.Description }},
	{"domains", func(c *Settings) any { return words(c.Domains) }, func(i *Settings, f Settings) { i.Domains = f.Domains }},
	{"data_types", func(c *Settings) any { return words(c.DataTypes) }, func(i *Settings, f Settings) { i.DataTypes = f.DataTypes }},
	{"keywords", func(c *Settings) any { return words(c.Keywords) }, func(i *Settings, f Settings) { i.Keywords = f.Keywords }},
	{"collections", func(c *Settings) any { return collectionNames(c.Collections) }, func(i *Settings, f Settings) { i.Collections = f.Collections }},
	{"version", func(c *Settings) any { return c.Version }, func(i *Settings, f Settings) { i.Version = f.Version }},
	{"metadata", func(c *Settings) any { return canonicalJSON(c.Metadata) }, func(i *Settings, f Settings) { i.Metadata = f.Metadata }},
	{"dialect", func(c *Settings) any { return canonicalJSON(c.DialectRaw) }, func(i *Settings, f Settings) { i.DialectRaw = f.DialectRaw }},
	{"subject", func(c *Settings) any { return c.Subject }, func(i *Settings, f Settings) { i.Subject = f.Subject }},
	{"budget", func(c *Settings) any { return budgetText(c.Budget) }, func(i *Settings, f Settings) { i.Budget = f.Budget }},
	{"timeout", func(c *Settings) any { return durationText(c.Timeout) }, func(i *Settings, f Settings) { i.Timeout = f.Timeout }},
	{"max_requests", func(c *Settings) any { return c.MaxRequests }, func(i *Settings, f Settings) { i.MaxRequests = f.MaxRequests }},
	{"max_response_size", func(c *Settings) any { return c.MaxResponseSize }, func(i *Settings, f Settings) { i.MaxResponseSize = f.MaxResponseSize }},
}

// Over returns base with the settings that the row states.
func (d Desired) Over(base Settings) Settings {
	for _, s := range settings {
		if slices.Contains(d.Set, s.name) {
			s.set(&base, d.Node)
		}
	}
	base.Slug = d.Node.Slug
	return base
}

// Members returns the row's values of these settings as JSON, and null for one
// that goes back to its default.
func (d Desired) Members(names []string) (map[string]json.RawMessage, error) {
	encoded, err := json.Marshal(d.Node)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &all); err != nil {
		return nil, err
	}
	members := make(map[string]json.RawMessage, len(names))
	for _, name := range names {
		if members[name] = all[name]; members[name] == nil {
			members[name] = json.RawMessage("null")
		}
	}
	return members, nil
}

// words are compared without their order, as the old bulk sync did.
func words(list []string) []string {
	sorted := append([]string{}, list...)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

func collectionNames(list []fleet.Collection) []string {
	names := make([]string, 0, len(list))
	for _, c := range list {
		if c.Class == "" || c.Class == c.Name {
			names = append(names, c.Name)
		} else {
			names = append(names, c.Name+" ("+c.Class+")")
		}
	}
	return words(names)
}

// budgetText writes a budget as the Caddyfile does.
func budgetText(b *fleet.BudgetConfig) string {
	switch {
	case b == nil:
		return ""
	case b.Limit == 0:
		return "off"
	case b.PerPath:
		return fmt.Sprintf("%d %s per_path", b.Limit, time.Duration(b.Window))
	default:
		return fmt.Sprintf("%d %s", b.Limit, time.Duration(b.Window))
	}
}

func durationText(d caddy.Duration) string {
	if d == 0 {
		return ""
	}
	return time.Duration(d).String()
}
