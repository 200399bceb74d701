package importing

import (
	"fmt"
	"strings"
)

// tokenKind tells the words of SQL apart.
type tokenKind uint8

const (
	tokenEnd        tokenKind = iota
	tokenWord                 // a keyword or a bare name
	tokenIdentifier           // a name in backticks or double quotes
	tokenString               // '…', with its prefix and its quoting in token.style
	tokenNumber
	tokenSymbol // one character
)

// stringStyle is how a string is escaped.
type stringStyle uint8

const (
	styleStandard stringStyle = iota // '' alone
	styleMySQL                       // '' and backslashes
	styleC                           // E'…' of PostgreSQL
	styleHex                         // X'…'
	styleDollar                      // $tag$…$tag$
)

// token is a span of the dump. Its text is decoded only where it is needed:
// most of a dump is skipped.
type token struct {
	kind  tokenKind
	style stringStyle
	// text is what is between the quotes, undecoded, or the word itself.
	text string
	at   int
}

// scanner cuts a dump into tokens.
type scanner struct {
	text  string
	pos   int
	mysql bool // backslashes escape in plain strings
	// hashes begin comments, as in MySQL: in a dump of PostgreSQL they are
	// operators, and in one of SQLite nothing.
	hashes bool
}

// newScanner finds out whose dump it is: MySQL and MariaDB escape with
// backslashes, PostgreSQL and SQLite do not. One that says nothing may have been
// written by hand.
func newScanner(text string) *scanner {
	head := text[:min(len(text), 64<<10)]
	for _, sign := range []string{"PostgreSQL database dump", "PRAGMA foreign_keys", "SET standard_conforming_strings = on"} {
		if strings.Contains(head, sign) {
			return &scanner{text: text}
		}
	}
	for _, sign := range []string{"MySQL dump", "MariaDB dump", "phpMyAdmin", "/*!", "`"} {
		if strings.Contains(head, sign) {
			return &scanner{text: text, mysql: true, hashes: true}
		}
	}
	return &scanner{text: text, hashes: true}
}

// comment tells whether a # begins a comment. Where it is not sure that the
// dump is of MySQL, #> and #- are taken for operators on JSON.
func (s *scanner) comment(rest string) bool {
	return s.mysql || s.hashes && !strings.HasPrefix(rest, "#>") && !strings.HasPrefix(rest, "#-")
}

func (s *scanner) line(at int) int { return 1 + strings.Count(s.text[:min(at, len(s.text))], "\n") }

func (s *scanner) errorf(at int, format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{s.line(at)}, args...)...)
}

// next returns the next token.
func (s *scanner) next() (token, error) {
	if err := s.skipBlanks(); err != nil {
		return token{}, err
	}
	if s.pos >= len(s.text) {
		return token{kind: tokenEnd, at: len(s.text)}, nil
	}
	start := s.pos
	switch c := s.text[s.pos]; {
	case c == '\'':
		style := styleStandard
		if s.mysql {
			style = styleMySQL
		}
		return s.quoted(tokenString, style)
	case c == '"', c == '`':
		style := styleStandard
		if s.mysql && c == '"' {
			style = styleMySQL
		}
		return s.quoted(tokenIdentifier, style)
	case c == '$' && !s.mysql:
		if t, ok, err := s.dollarQuoted(); ok || err != nil {
			return t, err
		}
	case isDigit(c) || c == '.' && s.pos+1 < len(s.text) && isDigit(s.text[s.pos+1]):
		return s.number(), nil
	case isWordByte(c):
		for s.pos < len(s.text) && isWordByte(s.text[s.pos]) {
			s.pos++
		}
		word := s.text[start:s.pos]
		if s.pos < len(s.text) && s.text[s.pos] == '\'' {
			switch strings.ToUpper(word) {
			case "E":
				return s.quoted(tokenString, styleC)
			case "X":
				return s.quoted(tokenString, styleHex)
			case "N":
				return s.next()
			}
		}
		return token{kind: tokenWord, text: word, at: start}, nil
	}
	s.pos++
	return token{kind: tokenSymbol, text: s.text[start:s.pos], at: start}, nil
}

// skipBlanks goes over blanks and comments. A comment that MySQL would run
// (/*!…*/) is one too: it holds settings, never rows.
func (s *scanner) skipBlanks() error {
	for s.pos < len(s.text) {
		rest := s.text[s.pos:]
		switch c := rest[0]; {
		case c == ' ', c == '\t', c == '\n', c == '\r', c == '\f', c == '\v':
			s.pos++
		case strings.HasPrefix(rest, "--"), c == '#' && s.comment(rest):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			s.pos += end
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return s.errorf(s.pos, "a comment is not closed")
			}
			s.pos += end + 4
		default:
			return nil
		}
	}
	return nil
}

// quoted reads from the quote at pos to the one that closes it.
func (s *scanner) quoted(kind tokenKind, style stringStyle) (token, error) {
	start, quote := s.pos, s.text[s.pos]
	for i := start + 1; i < len(s.text); i++ {
		switch s.text[i] {
		case '\\':
			if style == styleMySQL || style == styleC {
				i++
			}
		case quote:
			if i+1 < len(s.text) && s.text[i+1] == quote {
				i++
				continue
			}
			s.pos = i + 1
			return token{kind: kind, style: style, text: s.text[start+1 : i], at: start}, nil
		}
	}
	return token{}, s.errorf(start, "a string is not closed")
}

func (s *scanner) dollarQuoted() (token, bool, error) {
	start := s.pos
	end := start + 1
	for end < len(s.text) && isWordByte(s.text[end]) && s.text[end] != '$' {
		end++
	}
	if end >= len(s.text) || s.text[end] != '$' || isDigit(s.text[start+1]) {
		return token{}, false, nil
	}
	tag := s.text[start : end+1]
	length := strings.Index(s.text[end+1:], tag)
	if length < 0 {
		return token{}, true, s.errorf(start, "a string is not closed")
	}
	s.pos = end + 1 + length + len(tag)
	return token{kind: tokenString, style: styleDollar, text: s.text[end+1 : end+1+length], at: start}, true, nil
}

func (s *scanner) number() token {
	start := s.pos
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		exponentSign := (c == '+' || c == '-') && (s.text[s.pos-1] == 'e' || s.text[s.pos-1] == 'E')
		if !isWordByte(c) && c != '.' && !exponentSign {
			break
		}
		s.pos++
	}
	return token{kind: tokenNumber, text: s.text[start:s.pos], at: start}
}

// skipStatement goes behind the next semicolon.
func (s *scanner) skipStatement() error {
	for {
		t, err := s.next()
		if err != nil || t.kind == tokenEnd || t.symbol(";") {
			return err
		}
	}
}

func (t token) symbol(text string) bool { return t.kind == tokenSymbol && t.text == text }

func (t token) word(text string) bool { return t.kind == tokenWord && strings.EqualFold(t.text, text) }

// name is an identifier without its quotes, or empty.
func (t token) name() string {
	switch t.kind {
	case tokenWord:
		return t.text
	case tokenIdentifier:
		return strings.ReplaceAll(strings.ReplaceAll(t.text, "``", "`"), `""`, `"`)
	default:
		return ""
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordByte(c byte) bool {
	return c == '_' || c == '$' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
