package importing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// The longest lists and words that are taken over.
const (
	maxWords       = 500
	maxWord        = 255
	maxDescription = 4000
	minAPIKey      = 32 // what can be guessed is no key
)

// text reads a field as one line of text: trimmed, without control
// characters. A number is text as it is written. longest 0 is no limit.
func (n *normalizer) text(field string, longest int) (string, bool) {
	var raw string
	switch v := n.fields[field].(type) {
	case nil:
		return "", false
	case string:
		raw = v
	case json.Number:
		raw = v.String()
	case expression:
		n.problem(field, "is an expression that only a database can work out", "", nil)
		return "", false
	default:
		n.problem(field, fmt.Sprintf("is %s, expected text", kindOf(v)), "", nil)
		return "", false
	}
	cleaned := cleanText(raw)
	if cleaned != raw {
		meant := cleaned
		if field == "api_key" || field == "url" { // which may hold a password
			meant = ""
		}
		n.oddity(field, "had blanks or control characters around or in it", meant)
	}
	if longest > 0 && utf8.RuneCountInString(cleaned) > longest {
		n.problem(field, fmt.Sprintf("is longer than %d characters", longest), "", nil)
		return "", false
	}
	return cleaned, true
}

// cleanText takes away what could move a cursor or hide text.
func cleanText(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != '\u200d' {
			return -1
		}
		return r
	}, text))
}

func kindOf(value any) string {
	switch value.(type) {
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	default:
		return "text"
	}
}

func (n *normalizer) readType() {
	text, ok := n.text("type", 0)
	if !ok || text == "" {
		return
	}
	n.states("type")
	switch lower := strings.ToLower(text); lower {
	case "child":
		n.desired.Node.Type = lower
	case "master":
		n.desired.Node.Type = lower
		n.note("type", "is a master: leave it out if it is the one that this gateway replaces")
	default:
		n.problem("type", fmt.Sprintf("%q is neither child nor master", text), "child", func() { n.desired.Node.Type = "child" })
	}
}

// readState reads the old status, or the gateway's own admin_state, which wins.
func (n *normalizer) readState() {
	state := &n.desired.Node.AdminState
	if text, ok := n.text("admin_state", 0); ok && text != "" {
		*state = fleet.AdminState(strings.ToLower(text))
		n.states("admin_state")
		if (fleet.NodeConfig{AdminState: *state}).ValidateSettings() != nil {
			n.problem("admin_state", fmt.Sprintf("%q is none of enabled, draining, maintenance, disabled and pending", text),
				string(fleet.AdminEnabled), func() { *state = fleet.AdminEnabled })
		}
		return
	}
	text, ok := n.text("status", 0)
	if !ok || text == "" {
		return
	}
	n.states("admin_state")
	switch strings.ToLower(text) {
	case "active":
		*state = fleet.AdminEnabled
	case "inactive":
		*state = fleet.AdminDisabled
	case "maintenance":
		*state = fleet.AdminMaintenance
	case "error":
		*state = fleet.AdminEnabled
		n.note("status", "was in error: it is enabled, and the gateway finds out for itself how it is")
	default:
		n.problem("status", fmt.Sprintf("%q is none of active, inactive, maintenance and error", text), "active",
			func() { *state = fleet.AdminEnabled })
	}
}

func (n *normalizer) readWeight() {
	text, ok := n.text("weight", 0)
	if !ok || text == "" {
		return
	}
	n.states("weight")
	weight, err := strconv.ParseFloat(text, 64)
	switch take := func(w float64) func() { return func() { n.desired.Node.Weight = w } }; {
	case err != nil || weight != weight:
		n.problem("weight", fmt.Sprintf("%q is no number", text), "1", take(1))
	case weight <= 0:
		n.problem("weight", fmt.Sprintf("%s is not above 0", text), "1", take(1))
	case weight > 1000:
		n.problem("weight", fmt.Sprintf("%s is above 1000", text), "1000", take(1000))
	default:
		n.desired.Node.Weight = weight
	}
}

func (n *normalizer) readDescription() {
	raw, isText := n.fields["description"].(string)
	if !isText {
		if text, ok := n.text("description", 0); ok {
			n.desired.Node.Description = text
			n.states("description")
		}
		return
	}
	if utf8.RuneCountInString(raw) > maxDescription {
		n.problem("description", fmt.Sprintf("is longer than %d characters", maxDescription), "", nil)
		return
	}
	lines := strings.Split(raw, "\n") // its lines are kept
	for i, line := range lines {
		lines[i] = strings.TrimRight(cleanText("." + line)[1:], " ")
	}
	n.desired.Node.Description = strings.TrimSpace(strings.Join(lines, "\n"))
	n.states("description")
}

// isTableRow tells whether the row is of the old table, by columns that are
// never null there and in no registry file.
func (n *normalizer) isTableRow() bool {
	return n.fields["ping_failures"] != nil || n.fields["active_connections"] != nil
}

// readVersion keeps what the node said of its software.
func (n *normalizer) readVersion() {
	if text, ok := n.text("version", maxWord); ok && text != "" {
		n.desired.Node.Version = text
		n.states("version")
	}
}

// readSubject keeps the old row's id as the `sub` of tokens for a child: the
// old master put it there, and nodes of December look it up in their own table.
func (n *normalizer) readSubject() {
	if text, ok := n.text("subject", 255); ok {
		n.desired.Node.Subject = text
		n.states("subject")
		return
	}
	if !n.table && !n.isTableRow() || n.desired.Node.Type == "master" {
		return
	}
	if id, ok := n.text("id", 0); ok {
		if number, err := strconv.ParseUint(id, 10, 63); err != nil || number == 0 {
			n.problem("id", fmt.Sprintf("%q is no row id", shortened(id)), "", nil)
			return
		}
		n.desired.Node.Subject = id
		n.states("subject")
	}
}

// readGatewaySettings reads what the old fleet did not have.
func (n *normalizer) readGatewaySettings() {
	node := &n.desired.Node
	if text, ok := n.text("group", 255); ok {
		node.Group = text
		n.states("group")
	}
	if value := unpack(n.fields["dialect"]); value != nil {
		if name, isText := value.(string); isText {
			value = map[string]any{"dialect": name}
		}
		encoded, err := json.Marshal(value)
		var inline struct {
			Dialect string `json:"dialect"`
		}
		if err != nil || json.Unmarshal(encoded, &inline) != nil || inline.Dialect == "" {
			n.problem("dialect", "is neither a dialect's name nor its settings", "auto", func() { n.states("dialect") })
		} else {
			node.DialectRaw = encoded
			n.states("dialect")
		}
	}
	for _, field := range []struct {
		name, expected string
		into           any
	}{
		{"required", "true or false", &node.Required},
		{"budget", `a budget such as {"limit": 60, "window": "1m"}`, &node.Budget},
		{"timeout", `a duration such as "5s"`, &node.Timeout},
		{"max_requests", "a whole number", &node.MaxRequests},
		{"max_response_size", "a number of bytes", &node.MaxResponseSize},
	} {
		value := n.fields[field.name]
		if value == nil {
			continue
		}
		encoded, err := json.Marshal(value)
		if text, isText := value.(string); isText && field.name != "timeout" {
			encoded, err = []byte(text), nil // a cell of CSV
		}
		if err != nil || json.Unmarshal(encoded, field.into) != nil {
			n.problem(field.name, "expected "+field.expected, "", nil)
			continue
		}
		n.states(field.name)
	}
	if err := node.ValidateSettings(); err != nil && len(n.invalid) == 0 {
		n.problem("record", err.Error(), "", nil)
	}
}

// readAPIKey keeps the key apart, and says nothing of it.
func (n *normalizer) readAPIKey() {
	key, ok := n.text("api_key", 255)
	if !ok || key == "" {
		return
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			n.problem("api_key", "has characters that a header cannot carry", "remove it, and give the node a new key", func() {})
			return
		}
	}
	if len(key) < minAPIKey {
		n.note("api_key", fmt.Sprintf("is shorter than %d characters and is not imported: give the node a new one", minAPIKey))
		return
	}
	n.desired.APIKey = Secret(key)
}

// unread are the columns and members that are known and of no use here: what
// was observed, and what the gateway observes or decides for itself.
var unread = map[string]bool{
	"id": true, "refresh_token": true, "refresh_token_expires_at": true, "last_ping_at": true,
	"ping_failures": true, "avg_response_time": true, "active_connections": true, "created_at": true, "updated_at": true,
	"deleted_at": true, "workflows": true, "autonomous_collectors": true, "status": true, "slug": true, "name": true, "url": true,
	"api_key": true, "row": true,
}

// readRest tells of fields that are not taken over.
func (n *normalizer) readRest() {
	for _, field := range slices.Sorted(maps.Keys(n.fields)) {
		switch {
		case n.fields[field] == nil, unread[field], slices.ContainsFunc(settings, func(s setting) bool { return s.name == field }):
		case field == "credentials", field == "keys", field == "header_up", field == "transport":
			n.note(field, "is not taken over: what can hold a secret belongs in the Caddyfile")
		default:
			n.note(cleanText(shortened(field)), "is no field of a node and is not read")
		}
	}
}

func shortened(text string) string {
	if len(text) > 64 {
		return strings.ToValidUTF8(text[:64], "") + "…"
	}
	return text
}

// canonicalJSON makes two spellings of one value equal.
func canonicalJSON(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	var value any
	if decodeJSON(raw, &value) != nil {
		return string(raw)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return string(raw)
	}
	return string(bytes.TrimSpace(encoded))
}
