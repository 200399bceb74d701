// Package dialects holds how nodes are spoken to: the guest modules
// federation.dialects.*, one file per dialect.
package dialects

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// maxHits is how many hits of one answer are read at all.
const maxHits = 10_000

// scanner reads one answer in one pass. Values it returns are slices of the
// body, so nothing is copied that is not shown.
type scanner struct {
	decoder *jsontext.Decoder
	buffer  bytes.Buffer
	body    []byte
}

// anyNames spares keeping track of the names of each object: of members with
// one name the last counts, as it does for PHP and JavaScript.
var anyNames = jsontext.AllowDuplicateNames(true)

var scanners = sync.Pool{New: func() any { return &scanner{decoder: new(jsontext.Decoder)} }}

func newScanner(body []byte) *scanner {
	s := scanners.Get().(*scanner)
	s.body = body
	s.buffer = *bytes.NewBuffer(body)
	s.decoder.Reset(&s.buffer, anyNames)
	return s
}

func (s *scanner) release() {
	s.body, s.buffer = nil, bytes.Buffer{}
	s.decoder.Reset(&s.buffer)
	scanners.Put(s)
}

// kind is what comes next; invalid when the JSON is broken.
func (s *scanner) kind() jsontext.Kind { return s.decoder.PeekKind() }

// value reads one whole value as a slice of the body.
func (s *scanner) value() (jsontext.Value, error) {
	value, err := s.decoder.ReadValue()
	if err != nil {
		return nil, broken(err)
	}
	end := int(s.decoder.InputOffset())
	return s.body[end-len(value) : end], nil
}

// position is where the object that comes next begins.
func (s *scanner) position() int64 {
	after := s.decoder.InputOffset() // only space, a comma or a colon lie between
	return after + int64(bytes.IndexByte(s.body[after:], '{'))
}

// skip passes over one value.
func (s *scanner) skip() error {
	if err := s.decoder.SkipValue(); err != nil {
		return broken(err)
	}
	return nil
}

// object visits the members of an object; visit must read or skip each value.
func (s *scanner) object(visit func(name []byte) error) error {
	if _, err := s.decoder.ReadToken(); err != nil {
		return broken(err)
	}
	for s.kind() == '"' {
		name, err := s.value()
		if err != nil {
			return err
		}
		if err := visit(unquoted(name)); err != nil {
			return err
		}
	}
	if _, err := s.decoder.ReadToken(); err != nil {
		return broken(err)
	}
	return nil
}

// array visits the elements of an array.
func (s *scanner) array(visit func() error) error {
	if _, err := s.decoder.ReadToken(); err != nil {
		return broken(err)
	}
	for {
		switch s.kind() {
		case ']':
			_, err := s.decoder.ReadToken()
			return err
		case jsontext.KindInvalid:
			_, err := s.decoder.ReadToken()
			return broken(err)
		}
		if err := visit(); err != nil {
			return err
		}
	}
}

// end refuses what follows the value that was read.
func (s *scanner) end() error {
	if err := s.decoder.SkipValue(); err == nil {
		return fleet.BadPayload("something follows the JSON value")
	}
	if rest := bytes.TrimLeft(s.body[s.decoder.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fleet.BadPayload("something follows the JSON value")
	}
	return nil
}

// broken says that the JSON cannot be read, without quoting it.
func broken(err error) error {
	return &fleet.PayloadError{Reason: "the answer is not valid JSON", Err: err}
}

// unquoted returns what a JSON string says, without copying where it can.
func unquoted(value jsontext.Value) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return nil
	}
	return text
}

// number reads a JSON number, or a string that holds one, as PHP sends both.
func number(value jsontext.Value) (float64, bool) {
	text := value
	if value.Kind() == '"' {
		text = bytes.TrimSpace(unquoted(value))
	} else if value.Kind() != '0' {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || n != n || n > 1e308 || n < -1e308 {
		return 0, false
	}
	return n, true
}

// nonEmpty returns the value when it is a string that says something.
func nonEmpty(value jsontext.Value) jsontext.Value {
	if value.Kind() == '"' && len(value) > 2 {
		return value
	}
	return nil
}

// webURL returns the value when it is an http or https URL.
func webURL(value jsontext.Value) jsontext.Value {
	text := unquoted(value)
	if len(text) > 8 && (bytes.HasPrefix(text, []byte("https://")) || bytes.HasPrefix(text, []byte("http://"))) {
		return value
	}
	return nil
}

// identifier returns the value when it can be an id.
func identifier(value jsontext.Value) jsontext.Value {
	if value.Kind() == '0' {
		return value
	}
	return nonEmpty(value)
}

// members finds single members of an object by name, as raw values; nil where
// there is none. What is not an object has no members.
func members(value jsontext.Value, names ...string) []jsontext.Value {
	found := make([]jsontext.Value, len(names))
	if value.Kind() != '{' {
		return found
	}
	s := newScanner(value)
	defer s.release()
	_ = s.object(func(name []byte) error {
		for i := range names {
			if string(name) == names[i] {
				v, err := s.value()
				found[i] = v
				return err
			}
		}
		return s.skip()
	})
	return found
}

// words returns the strings of an array, at most limit, each clean and short.
func words(value jsontext.Value, limit int) []string {
	if value.Kind() != '[' {
		return nil
	}
	var list []string
	s := newScanner(value)
	defer s.release()
	_ = s.array(func() error {
		v, err := s.value()
		if word := clean(unquoted(v), 200); err == nil && word != "" && len(list) < limit {
			list = append(list, word)
		}
		return err
	})
	return list
}

// clean makes a node's text fit for a log or a report: one line, no control
// characters, at most limit bytes.
func clean(text []byte, limit int) string {
	if len(text) > 4*limit {
		text = text[:4*limit]
	}
	line := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, string(text))
	line = strings.TrimSpace(line)
	for len(line) > limit {
		_, size := utf8.DecodeLastRuneInString(line)
		line = line[:len(line)-size]
	}
	return line
}
