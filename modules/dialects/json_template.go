package dialects

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// template is a text with holes for a search.
type template []segment

// segment is a literal, or a hole and how its value is written there.
type segment struct {
	literal []byte
	hole    string
	write   func(dst []byte, text string) []byte // nil: the JSON value itself
}

var (
	holes     = []string{"query", "limit", "collections", "filters", "options"}
	pathHoles = []string{"query", "limit", "collections"}

	holePattern  = regexp.MustCompile(`\{([a-z_]+)\}`)
	quotedHole   = regexp.MustCompile(`"\{([a-z_]+)\}"`)
	escapeInText = func(dst []byte, text string) []byte {
		quoted, err := jsontext.AppendQuote(nil, text)
		if err != nil {
			return dst // the query is valid UTF-8 by now
		}
		return append(dst, quoted[1:len(quoted)-1]...)
	}
	escapeInPath = func(dst []byte, text string) []byte {
		return append(dst, strings.ReplaceAll(url.QueryEscape(text), "+", "%20")...)
	}
)

// pathTemplate reads a path; its holes are percent-encoded.
func pathTemplate(text string) (template, error) {
	var t template
	err := t.add([]byte(text), holePattern, pathHoles, escapeInPath)
	return t, err
}

// jsonTemplate reads a JSON text whose strings have holes.
func jsonTemplate(text string) (template, error) {
	if !jsontext.Value(text).IsValid() {
		return nil, fmt.Errorf("the template is not valid JSON; placeholders stand inside strings, as in {\"q\": \"{query}\"}")
	}
	var t template
	rest := []byte(text)
	for _, at := range quotedHole.FindAllSubmatchIndex(rest, -1) {
		name := string(rest[at[2]:at[3]])
		if !slices.Contains(holes, name) {
			return nil, unknownHole(name, holes)
		}
	}
	last := 0
	for _, at := range quotedHole.FindAllSubmatchIndex(rest, -1) {
		if err := t.add(rest[last:at[0]], holePattern, holes, escapeInText); err != nil {
			return nil, err
		}
		t = append(t, segment{hole: string(rest[at[2]:at[3]])})
		last = at[1]
	}
	err := t.add(rest[last:], holePattern, holes, escapeInText)
	return t, err
}

// add appends a text whose holes are all written in one way.
func (t *template) add(text []byte, pattern *regexp.Regexp, known []string, write func([]byte, string) []byte) error {
	last := 0
	for _, at := range pattern.FindAllSubmatchIndex(text, -1) {
		name := string(text[at[2]:at[3]])
		if !slices.Contains(known, name) {
			return unknownHole(name, known)
		}
		*t = append(*t, segment{literal: text[last:at[0]]}, segment{hole: name, write: write})
		last = at[1]
	}
	*t = append(*t, segment{literal: text[last:]})
	return nil
}

func unknownHole(name string, known []string) error {
	return fmt.Errorf("unknown placeholder {%s}%s", name, subdirective.Hint(name, known))
}

// expand writes the template for a search.
func (t template) expand(dst []byte, query *fleet.SearchQuery) []byte {
	for _, s := range t {
		switch {
		case s.hole == "":
			dst = append(dst, s.literal...)
		case s.write != nil:
			dst = s.write(dst, holeText(s.hole, query))
		default:
			dst = appendHole(dst, s.hole, query)
		}
	}
	return dst
}

// holeText is a hole's value as a text.
func holeText(hole string, query *fleet.SearchQuery) string {
	switch hole {
	case "query":
		return query.Text
	case "collections":
		return strings.Join(query.Collections, ",")
	default:
		return string(appendHole(nil, hole, query))
	}
}

// appendHole writes a hole's value as JSON; what was not given is empty, not null.
func appendHole(dst []byte, hole string, query *fleet.SearchQuery) []byte {
	switch hole {
	case "query":
		quoted, err := jsontext.AppendQuote(dst, query.Text)
		if err != nil {
			return append(dst, `""`...)
		}
		return quoted
	case "limit":
		return strconv.AppendInt(dst, int64(query.Limit), 10)
	case "collections":
		list, err := json.Marshal(query.Collections)
		if err != nil || bytes.Equal(list, []byte("null")) {
			list = []byte("[]")
		}
		return append(dst, list...)
	case "filters":
		return appendObject(dst, query.Filters)
	default:
		return appendObject(dst, query.Options)
	}
}

func appendObject(dst []byte, object jsontext.Value) []byte {
	if object == nil {
		return append(dst, "{}"...)
	}
	return append(dst, object...)
}
