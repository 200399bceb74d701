// Package requestbody reads the JSON body of a request to this gateway's own
// API, strictly: one value, members spelled as documented, each at most once
// (RFC 8259, section 4, leaves doubled ones open, and readers that differ on
// them can be played against each other).
package requestbody

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Mistake says in words what is wrong with a body. It holds names out of the
// body, at most 64 bytes of each, and never a value.
type Mistake struct {
	// Syntax is set when the body is no JSON value of the kind expected, and
	// not when a member of it does not fit.
	Syntax bool
	// Detail is for the caller.
	Detail string
}

func (m *Mistake) Error() string { return m.Detail }

// Decode reads the body into value, a pointer to a struct or map. The error is
// a [Mistake].
func Decode(body []byte, value any) error {
	if len(strings.TrimSpace(string(body))) == 0 {
		return &Mistake{true, "the body is empty, expected a JSON object"}
	}
	err := json.Unmarshal(body, value, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			return &Mistake{false, member(syntactic.JSONPointer) + ": the member is given twice"}
		case strings.Contains(syntactic.Err.Error(), "after top-level value"):
			return &Mistake{true, "the body has more than one JSON value"}
		}
		return &Mistake{true, fmt.Sprintf("the body is not valid JSON (at byte %d)", syntactic.ByteOffset)}
	}
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) || semantic.JSONPointer == "" {
		return &Mistake{true, "the body is not a JSON object"}
	}
	name := member(semantic.JSONPointer)
	if errors.Is(err, json.ErrUnknownName) {
		return &Mistake{false, name + ": unknown field"}
	}
	if kind := kindInWords(semantic.JSONKind); kind != "" {
		return &Mistake{false, name + ": " + kind + " does not fit"}
	}
	return &Mistake{false, name + ": the value does not fit"}
}

func member(pointer jsontext.Pointer) string {
	var names []string
	for name := range pointer.Tokens() {
		names = append(names, name)
	}
	path := strings.Join(names, ".")
	if len(path) > 64 {
		path = strings.ToValidUTF8(path[:64], "") + "…"
	}
	return path
}

func kindInWords(kind jsontext.Kind) string {
	switch kind {
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a bool"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	default:
		return ""
	}
}
