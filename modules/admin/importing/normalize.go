package importing

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// Result is what rows came to.
type Result struct {
	Nodes []Desired `json:"nodes"`
	// Invalid says why a row was left out and what would do instead; one row
	// can have several problems.
	Invalid []Remark `json:"invalid"`
	// Deleted are the rows that the old fleet had deleted softly. They are
	// left out.
	Deleted []Remark `json:"deleted"`
	// Fixed is what was read otherwise than it was written.
	Fixed []Remark `json:"fixed"`
	// Notes are for the operator to consider.
	Notes []Remark `json:"notes"`
}

// Normalize turns rows into settings of nodes. What is only written oddly (a
// list as text, blanks, a slug with capitals) is read as it was meant and
// reported; what is wrong makes the row invalid, with a suggestion. With fix,
// suggestions are taken where there is no doubt, as the old autofix did.
func Normalize(rows []Row, fix bool) Result {
	r := Result{Nodes: []Desired{}, Invalid: []Remark{}, Deleted: []Remark{}, Fixed: []Remark{}, Notes: []Remark{}}
	stated := make(map[string]bool) // slugs that rows name themselves
	for _, row := range rows {
		if slug, _ := row.Fields["slug"].(string); slug != "" {
			stated[fleet.SlugOf(slug)] = true
		}
	}
	taken := make(map[string]string) // slug to row
	urls := make(map[string]string)
	for _, row := range rows {
		n := &normalizer{fields: row.Fields, table: row.Table, fix: fix, desired: Desired{Row: row.Position, Set: []string{}}}
		switch {
		case row.Fields == nil && fix:
			r.Fixed = append(r.Fixed, Remark{Row: row.Position, Field: "record", Reason: "is no object and was left out"})
			continue
		case row.Fields == nil:
			r.Invalid = append(r.Invalid, Remark{Row: row.Position, Field: "record", Reason: "is not an object with the fields of a node", Suggestion: "remove it"})
			continue
		case isDeleted(row.Fields):
			r.Deleted = append(r.Deleted, Remark{Row: row.Position, Slug: labelOf(row.Fields), Field: "deleted_at", Reason: "was deleted in the old fleet"})
			continue
		}
		n.read(row)
		slug := n.desired.Node.Slug
		if first, twice := taken[slug]; twice && len(n.invalid) == 0 {
			unique := uniqueSlug(slug, func(s string) bool { return taken[s] != "" || stated[s] })
			n.problem("slug", fmt.Sprintf("row %s has the same slug", first), unique, func() { n.desired.Node.Slug = unique })
			slug = n.desired.Node.Slug
		}
		for list, remarks := range map[*[]Remark][]Remark{&r.Invalid: n.invalid, &r.Fixed: n.fixed, &r.Notes: n.notes} {
			for _, remark := range remarks {
				remark.Row, remark.Slug = row.Position, cmp.Or(remark.Slug, slug)
				*list = append(*list, remark)
			}
		}
		if len(n.invalid) > 0 {
			continue
		}
		taken[slug] = row.Position
		place := fleet.NormalizeURL(n.desired.Node.URL)
		if other := urls[place]; other != "" {
			r.Notes = append(r.Notes, Remark{Row: row.Position, Slug: slug, Field: "url", Reason: fmt.Sprintf("is also the url of %s: every search asks it twice", other)})
		}
		urls[place] = slug
		slices.Sort(n.desired.Set)
		r.Nodes = append(r.Nodes, n.desired)
	}
	return r
}

// labelOf is what a row calls itself.
func labelOf(fields map[string]any) string {
	slug, _ := fields["slug"].(string)
	name, _ := fields["name"].(string)
	return cleanText(cmp.Or(slug, fleet.SlugOf(name)))
}

// isDeleted tells whether the old fleet had deleted the row; MySQL can write
// "never" as a date of zeros.
func isDeleted(fields map[string]any) bool {
	switch at := fields["deleted_at"].(type) {
	case nil:
		return false
	case string:
		return at != "" && !strings.HasPrefix(at, "0000-00-00")
	default:
		return true
	}
}

// uniqueSlug appends -2, -3, … as the old autofix did.
func uniqueSlug(slug string, taken func(string) bool) string {
	for n := 2; ; n++ {
		suffix := "-" + strconv.Itoa(n)
		if unique := shorten(slug, 64-len(suffix)) + suffix; !taken(unique) {
			return unique
		}
	}
}

// shorten cuts a slug to length, without a hyphen at its end.
func shorten(slug string, length int) string {
	if len(slug) <= length {
		return slug
	}
	return strings.TrimRight(slug[:length], "-")
}

// normalizer reads one row.
type normalizer struct {
	fields  map[string]any
	table   bool // see [Row]
	fix     bool
	desired Desired

	invalid, fixed, notes []Remark
}

// problem makes the row invalid, or takes the suggestion when it may.
func (n *normalizer) problem(field, reason, suggestion string, take func()) {
	remark := Remark{Field: field, Reason: reason, Suggestion: suggestion}
	if n.fix && take != nil {
		take()
		n.fixed = append(n.fixed, remark)
		return
	}
	n.invalid = append(n.invalid, remark)
}

// oddity reports what was written oddly and read as it was meant.
func (n *normalizer) oddity(field, reason, meant string) {
	n.fixed = append(n.fixed, Remark{Field: field, Reason: reason, Suggestion: meant})
}

func (n *normalizer) note(field, reason string) {
	n.notes = append(n.notes, Remark{Field: field, Reason: reason})
}

// states records that the row states a setting.
func (n *normalizer) states(name string) { n.desired.Set = append(n.desired.Set, name) }

// read reads all fields. A field that is null or missing is not stated.
func (n *normalizer) read(row Row) {
	n.readNames(row)
	n.readURL()
	n.readType()
	n.readState()
	n.readWeight()
	n.readDescription()
	n.readLists()
	n.readCollections()
	n.readMetadata()
	n.readVersion()
	n.readSubject()
	n.readGatewaySettings()
	n.readAPIKey()
	n.readRest()
}

// readNames reads name and slug, either of which the other can stand for.
func (n *normalizer) readNames(row Row) {
	name, _ := n.text("name", 255)
	written, _ := n.text("slug", 0)
	if written == "" && row.Keyed {
		written = cleanText(row.Position)
	}
	slug := fleet.SlugOf(name)
	if written != "" {
		slug = asSlug(written)
	}
	if key := asSlug(cleanText(row.Position)); row.Keyed && key != slug {
		reason := fmt.Sprintf("the row's key is %q, and its slug %q", shortened(key), shortened(slug))
		n.invalid = append(n.invalid, Remark{Slug: key, Field: "slug", Reason: reason}, Remark{Slug: slug, Field: "slug", Reason: reason})
	}
	node := &n.desired.Node
	node.Name, node.Slug = name, slug
	switch {
	case len(n.invalid) > 0:
		return
	case name == "" && slug == "":
		n.problem("name", "the row has neither a name nor a slug", "", nil)
		return
	case name == "":
		derived := titleOf(slug)
		n.problem("name", "the name is missing", derived, func() { node.Name = derived; n.states("name") })
	default:
		n.states("name")
	}
	switch {
	case slug == "":
		n.problem("slug", "neither slug nor name has a letter or digit to make a slug of", "", nil)
	case len(slug) > 64:
		short := shorten(slug, 64)
		n.problem("slug", "the slug is longer than 64 characters", short, func() { node.Slug = short })
	case slug == fleet.LocalSlug:
		other := slug + "-node"
		n.problem("slug", fmt.Sprintf("%q is the name of the gateway's own index", slug), other, func() { node.Slug = other })
	case written != "" && written != slug:
		n.oddity("slug", fmt.Sprintf("%q is not a slug", written), slug)
	}
}

// asSlug returns a slug as it is, and makes one of other texts.
func asSlug(text string) string {
	if fleet.ValidSlug(text) {
		return text
	}
	return fleet.SlugOf(text)
}

// titleOf makes a name of a slug, as the old autofix did: "Dairy 2" of dairy-2.
func titleOf(slug string) string {
	parts := strings.Split(slug, "-")
	for i, part := range parts {
		if part != "" {
			parts[i] = strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return strings.Join(parts, " ")
}

func (n *normalizer) readURL() {
	text, _ := n.text("url", 2048)
	if text == "" {
		n.problem("url", "the url is missing", "", nil)
		return
	}
	if strings.ContainsAny(text, "{}") {
		n.problem("url", "the url has a brace: placeholders are for the Caddyfile", "", nil)
		return
	}
	text = strings.TrimRight(text, "/")
	n.states("url")
	if !strings.Contains(text, "://") {
		completed := "https://" + strings.TrimLeft(text, "/")
		if checkURL(completed) == nil {
			n.problem("url", "the url has no scheme", completed, func() { n.desired.Node.URL = completed })
			return
		}
	}
	if err := checkURL(text); err != nil {
		n.problem("url", err.Error(), "", nil)
		return
	}
	n.desired.Node.URL = text
}

// checkURL asks the fleet, whose error quotes no password.
func checkURL(text string) error {
	err := fleet.NodeConfig{Slug: "x", URL: text}.Validate()
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
