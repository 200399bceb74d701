package importing

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func (n *normalizer) readLists() {
	node := &n.desired.Node
	for _, field := range []struct {
		name string
		into *[]string
	}{{"capabilities", &node.Capabilities}, {"domains", &node.Domains}, {"data_types", &node.DataTypes}, {"keywords", &node.Keywords}} {
		list, ok := n.list(field.name, n.fields[field.name])
		if !ok {
			continue
		}
		*field.into = list
		n.states(field.name)
		if field.name == "capabilities" {
			n.checkCapabilities(list)
		}
		if field.name == "capabilities" && len(list) == 0 {
			*field.into = []string{"search"}
			n.note("capabilities", "had none: the old master searched such a node and ran no action on it, so it has search")
		}
	}
}

// checkCapabilities looks for those over other nodes and tokens. Anybody could
// write them into the old table, where they meant nothing.
func (n *normalizer) checkCapabilities(list []string) {
	harmless := slices.DeleteFunc(slices.Clone(list), fleet.Privileged)
	switch {
	case len(harmless) == len(list):
	case n.table || n.isTableRow():
		if len(harmless) == 0 {
			harmless = []string{"search"}
		}
		n.problem("capabilities", "give the node power over other nodes or tokens", strings.Join(harmless, ", "), func() { n.desired.Node.Capabilities = harmless })
	default:
		n.note("capabilities", "give the node power over other nodes or tokens")
	}
}

// list reads words: a list, a PHP array, JSON in text, or words with commas.
func (n *normalizer) list(field string, value any) ([]string, bool) {
	value = unpack(value)
	if value == nil {
		return nil, false
	}
	values, ok := valuesOf(value)
	if text, isText := value.(string); isText {
		values, ok = nil, true
		for word := range strings.SplitSeq(text, ",") {
			values = append(values, word)
		}
	}
	if !ok {
		n.problem(field, fmt.Sprintf("is %s, expected a list of words", kindOf(value)), "", nil)
		return nil, false
	}
	if len(values) > maxWords {
		n.problem(field, fmt.Sprintf("has more than %d words", maxWords), "", nil)
		return nil, false
	}
	list := make([]string, 0, len(values))
	for _, v := range values {
		var word string
		switch v := v.(type) {
		case string:
			word = cleanText(v)
		case json.Number:
			word = v.String()
		case nil:
		default:
			n.problem(field, fmt.Sprintf("has %s in it, expected words", kindOf(v)), "", nil)
			return nil, false
		}
		if len(word) > maxWord {
			n.problem(field, fmt.Sprintf("has a word longer than %d bytes", maxWord), "", nil)
			return nil, false
		}
		if word != "" && !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	if _, isText := value.(string); isText && len(list) > 0 {
		n.oddity(field, "is text, read as a list", strings.Join(list, ", "))
	}
	return list, true
}

// unpack decodes JSON that is kept in a text, twice at most: a column cast
// twice is a common accident. Blank text is no value.
func unpack(value any) any {
	for range 2 {
		text, isText := value.(string)
		if !isText {
			return value
		}
		text = strings.TrimSpace(text)
		if text == "" || text == "null" {
			return nil
		}
		if !strings.ContainsRune(`[{"`, rune(text[0])) {
			return value
		}
		var inner any
		if decodeJSON([]byte(text), &inner) != nil {
			return value
		}
		value = inner
	}
	return value
}

func (n *normalizer) readCollections() {
	value := unpack(n.fields["collections"])
	if value == nil {
		return
	}
	values, ok := valuesOf(value)
	switch v := value.(type) {
	case map[string]any:
		if !ok { // by class
			for _, class := range slices.Sorted(maps.Keys(v)) {
				entry, isObject := v[class].(map[string]any)
				if !isObject {
					entry = map[string]any{}
				}
				if entry["class"] == nil {
					entry = maps.Clone(entry)
					entry["class"] = class
				}
				values = append(values, entry)
			}
			ok = true
		}
	case string:
		for name := range strings.SplitSeq(v, ",") {
			values = append(values, name)
		}
		ok = true
	}
	if !ok || len(values) > maxWords {
		n.problem("collections", fmt.Sprintf("is no list of up to %d collections", maxWords), "", nil)
		return
	}
	collections := make([]fleet.Collection, 0, len(values))
	for _, v := range values {
		collection, ok := collectionOf(v)
		if !ok {
			n.problem("collections", `has an entry that is neither a name nor {"name": …, "class": …}`, "", nil)
			return
		}
		if collection.Name != "" && !slices.Contains(collections, collection) {
			collections = append(collections, collection)
		}
	}
	n.desired.Node.Collections = collections
	n.states("collections")
}

// collectionOf reads `plant`, `App\Models\Plant` or an object with both.
func collectionOf(value any) (fleet.Collection, bool) {
	var name, class string
	switch v := value.(type) {
	case nil:
		return fleet.Collection{}, true
	case string:
		name = cleanText(v)
		if strings.Contains(name, `\`) {
			name, class = "", name
		}
	case map[string]any:
		n, isName := v["name"].(string)
		c, isClass := v["class"].(string)
		if !isName && !isClass {
			return fleet.Collection{}, false
		}
		name, class = cleanText(n), cleanText(c)
	default:
		return fleet.Collection{}, false
	}
	if name == "" && class != "" {
		name = strings.ToLower(class[strings.LastIndex(class, `\`)+1:])
	}
	if class == name {
		class = ""
	}
	return fleet.Collection{Name: name, Class: class}, len(name) <= maxWord && len(class) <= maxWord
}

// readMetadata keeps the metadata, and fills what the columns leave empty: the old fleet kept
// domains, data types and keywords in two places and never compared them.
func (n *normalizer) readMetadata() {
	metadata, ok := unpack(n.fields["metadata"]).(map[string]any)
	if !ok || len(metadata) == 0 {
		return
	}
	node := &n.desired.Node
	encoded, err := json.Marshal(metadata)
	if reason := metadataReason(encoded); err != nil || reason != "" {
		n.problem("metadata", reason, "remove it", func() {})
	} else {
		node.Metadata = encoded
		n.states("metadata")
	}
	for _, field := range []struct {
		name string
		into *[]string
		from []string
	}{{"domains", &node.Domains, []string{"domains"}}, {"data_types", &node.DataTypes, []string{"data_types"}}, {"keywords", &node.Keywords, []string{"keywords", "topics"}}} {
		if len(*field.into) > 0 {
			continue
		}
		var found []string
		for _, from := range field.from {
			list, _ := n.list("metadata."+from, metadata[from])
			found = append(found, list...)
		}
		if len(found) == 0 {
			continue
		}
		*field.into = found
		n.note(field.name, "come from the metadata, the column is empty")
		if !slices.Contains(n.desired.Set, field.name) {
			n.states(field.name)
		}
	}
}
