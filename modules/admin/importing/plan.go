package importing

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// Existing is one node as it stands.
type Existing struct {
	// Node is what it is configured with.
	Node Settings
	// Fixed names the settings that the Caddyfile has of the node: an import
	// cannot change them. Empty: the node is of the registry alone.
	Fixed []string
}

// FieldChange is what becomes of one setting.
type FieldChange struct {
	Field string `json:"field"`
	Old   any    `json:"old"`
	New   any    `json:"new"`
}

// Change is what becomes of one node.
type Change struct {
	Slug string `json:"slug"`
	// Row is the position of the row that asks for it, or empty.
	Row    string        `json:"row,omitempty"`
	Fields []FieldChange `json:"fields"`
	// APIKey says that the node's old key is imported: it may be all that is.
	APIKey bool `json:"api_key,omitempty"`
}

// Plan is what an import would do.
type Plan struct {
	Create    []Change `json:"create"`
	Update    []Change `json:"update"`
	Unchanged []string `json:"unchanged"`
	// Prune are the registered children that no row names; they are disabled.
	Prune []Change `json:"prune"`
	// Held are the settings that a row wants otherwise than the Caddyfile has
	// them: the Caddyfile wins, so they have to be changed there.
	Held    []Change `json:"held"`
	Invalid []Remark `json:"invalid"`
}

// Changes tells how many nodes would be written.
func (p *Plan) Changes() int { return len(p.Create) + len(p.Update) + len(p.Prune) }

// Apply refusals.
var (
	ErrInvalidRows  = errors.New("some rows are invalid, so nothing was changed: correct them, or skip them with --skip-invalid")
	ErrNothingToTry = errors.New("there is no valid row, so pruning would disable every node: nothing was changed")
)

// Refusal says why a plan must not be carried out, or is nil.
func (p *Plan) Refusal(skipInvalid bool) error {
	if len(p.Prune) > 0 && len(p.Create)+len(p.Update)+len(p.Unchanged)+len(p.Held) == 0 {
		return ErrNothingToTry
	}
	if len(p.Invalid) > 0 && !skipInvalid {
		return ErrInvalidRows
	}
	return nil
}

// Make plans how to get from the nodes that stand to those that are desired.
// complete fills in what a node has that does not set a field. An API key in a
// row is taken for one that is to be imported. With prune,
// every registered child that no row names, not even an invalid one, is disabled.
func Make(existing []Existing, desired []Desired, invalid []Remark, complete func(fleet.NodeConfig) fleet.NodeConfig, prune bool) *Plan {
	p := &Plan{Create: []Change{}, Update: []Change{}, Unchanged: []string{}, Prune: []Change{}, Held: []Change{}, Invalid: slices.Clone(invalid)}
	if p.Invalid == nil {
		p.Invalid = []Remark{}
	}
	stands := make(map[string]Existing, len(existing))
	for _, e := range existing {
		stands[e.Node.Slug] = e
	}
	named := make(map[string]bool)
	for _, d := range desired {
		slug := d.Node.Slug
		named[slug] = true
		was, known := stands[slug]
		before := was.Node
		if known {
			before.NodeConfig = complete(before.NodeConfig)
		}
		after := d.Over(was.Node)
		after.NodeConfig = complete(after.NodeConfig)
		change := Change{Slug: slug, Row: d.Row, APIKey: d.APIKey != "", Fields: []FieldChange{}}
		held := Change{Slug: slug, Row: d.Row, Fields: []FieldChange{}}
		for _, field := range compare(before, after, d.Set) {
			if slices.Contains(was.Fixed, field.Field) {
				held.Fields = append(held.Fields, field)
			} else {
				change.Fields = append(change.Fields, field)
			}
		}
		switch {
		case !known:
			p.Create = append(p.Create, change)
		case len(change.Fields) > 0 || change.APIKey:
			p.Update = append(p.Update, change)
		case len(held.Fields) == 0:
			p.Unchanged = append(p.Unchanged, slug)
		}
		if len(held.Fields) > 0 {
			p.Held = append(p.Held, held)
		}
	}
	if !prune {
		return p
	}
	for _, remark := range invalid {
		named[remark.Slug] = true
	}
	for _, e := range existing {
		node := complete(e.Node.NodeConfig)
		if len(e.Fixed) > 0 || named[node.Slug] || node.Type != "child" || node.AdminState == fleet.AdminDisabled {
			continue
		}
		p.Prune = append(p.Prune, Change{Slug: node.Slug, Fields: []FieldChange{
			{Field: "admin_state", Old: string(node.AdminState), New: string(fleet.AdminDisabled)},
		}})
	}
	slices.SortFunc(p.Prune, func(a, b Change) int { return strings.Compare(a.Slug, b.Slug) })
	return p
}

// compare lists the settings among set that differ.
func compare(was, is Settings, set []string) []FieldChange {
	var changes []FieldChange
	for _, s := range settings {
		if !slices.Contains(set, s.name) {
			continue
		}
		if before, after := s.get(&was), s.get(&is); !reflect.DeepEqual(before, after) {
			changes = append(changes, FieldChange{Field: s.name, Old: before, New: after})
		}
	}
	return changes
}
