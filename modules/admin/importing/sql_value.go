package importing

import (
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// expression is a value that only a database could work out, such as now().
// It is refused where the field matters.
type expression struct{}

// maxCallDepth is how deep calls are nested; sqlite's own dump needs three.
const maxCallDepth = 8

var jsonNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?$`)

// value reads one value and returns the token behind it.
func (d *dump) value(depth int) (value any, after token, err error) {
	t, err := d.next()
	if err != nil {
		return nil, t, err
	}
	if depth > maxCallDepth {
		return nil, t, d.errorf(t.at, "calls are nested too deep")
	}
	sign := ""
	if t.symbol("-") || t.symbol("+") {
		sign = strings.TrimPrefix(t.text, "+")
		if t, err = d.next(); err != nil {
			return nil, t, err
		}
		if t.kind != tokenNumber {
			return nil, t, d.errorf(t.at, "expected a number behind the sign")
		}
	}
	switch t.kind {
	case tokenString:
		value, err = d.decode(t)
	case tokenIdentifier: // MySQL takes double quotes for strings
		if !d.mysql {
			return nil, t, d.errorf(t.at, "expected a value, not a name")
		}
		value, err = d.decode(t)
	case tokenNumber:
		value = numberValue(sign, t.text)
	case tokenWord:
		return d.wordValue(t, depth)
	default:
		err = d.errorf(t.at, "expected a value")
	}
	if err != nil {
		return nil, t, err
	}
	return d.behind(value)
}

// behind reads what may follow a value: a cast, or more of a string.
func (d *dump) behind(value any) (any, token, error) {
	for {
		t, err := d.next()
		if err != nil {
			return nil, t, err
		}
		text, isText := value.(string)
		switch {
		case t.symbol(":"): // '…'::jsonb, '…'::character varying(255)
			if t, err = d.next(); err != nil {
				return nil, t, err
			}
			if !t.symbol(":") {
				return nil, t, d.errorf(t.at, "expected :: and a type")
			}
			if t, err = d.castType(); err != nil {
				return nil, t, err
			}
			return value, t, nil
		case t.kind == tokenString && isText:
			more, err := d.decode(t)
			if err != nil {
				return nil, t, err
			}
			if len(text)+len(more) > MaxValue {
				return nil, t, d.errorf(t.at, "a value is longer than %d MiB", MaxValue>>20)
			}
			value = text + more
		default:
			return value, t, nil
		}
	}
}

// castType goes over a type and returns the token behind it.
func (d *dump) castType() (token, error) {
	for {
		t, err := d.next()
		if err != nil {
			return t, err
		}
		if t.symbol("(") {
			for !t.symbol(")") {
				if t, err = d.next(); err != nil {
					return t, err
				}
				if t.kind == tokenEnd {
					return t, d.errorf(t.at, "a type is not closed")
				}
			}
			continue
		}
		if t.name() == "" && !t.symbol("[") && !t.symbol("]") {
			return t, nil
		}
	}
}

// wordValue reads a constant, a string with its character set, or a call.
func (d *dump) wordValue(t token, depth int) (any, token, error) {
	switch strings.ToUpper(t.text) {
	case "NULL", "DEFAULT":
		return d.behind(nil)
	case "TRUE":
		return d.behind(true)
	case "FALSE":
		return d.behind(false)
	}
	after, err := d.next()
	if err != nil {
		return nil, after, err
	}
	if strings.HasPrefix(t.text, "_") && after.kind == tokenString { // _binary '…'
		text, err := d.decode(after)
		if err != nil {
			return nil, after, err
		}
		return d.behind(text)
	}
	if !after.symbol("(") {
		return expression{}, after, nil // CURRENT_TIMESTAMP
	}
	var arguments []any
	for {
		before := d.pos
		if len(arguments) == 0 {
			if after, err = d.next(); err != nil {
				return nil, after, err
			}
			if after.symbol(")") {
				break
			}
			d.pos = before
		}
		var argument any
		if argument, after, err = d.value(depth + 1); err != nil {
			return nil, after, err
		}
		if arguments = append(arguments, argument); len(arguments) > 64 {
			return nil, after, d.errorf(after.at, "the call of %s has too many arguments", strings.ToLower(t.text))
		}
		if after.word("AS") { // CAST('…' AS JSON)
			if after, err = d.castType(); err != nil {
				return nil, after, err
			}
		}
		if after.symbol(")") {
			break
		}
		if !after.symbol(",") {
			return nil, after, d.errorf(after.at, "expected a comma or ) in the call of %s", strings.ToLower(t.text))
		}
	}
	return d.behind(call(strings.ToLower(t.text), arguments))
}

// call works out the few functions that dumps are written with.
func call(name string, arguments []any) any {
	switch {
	case name == "char" && len(arguments) == 1:
		number, ok := arguments[0].(json.Number)
		if !ok {
			return expression{}
		}
		code, err := strconv.ParseUint(number.String(), 10, 21)
		if err != nil || !utf8.ValidRune(rune(code)) {
			return expression{}
		}
		return string(rune(code))
	case name == "replace" && len(arguments) == 3:
		var parts [3]string
		for i := range parts {
			text, ok := arguments[i].(string)
			if !ok {
				return expression{}
			}
			parts[i] = text
		}
		if parts[1] == "" || strings.Count(parts[0], parts[1])*len(parts[2])+len(parts[0]) > MaxValue {
			return expression{}
		}
		return strings.ReplaceAll(parts[0], parts[1], parts[2])
	case name == "unistr" && len(arguments) == 1:
		if text, ok := arguments[0].(string); ok {
			return unescapeC(text)
		}
	case (name == "cast" || name == "json" || name == "jsonb") && len(arguments) == 1:
		return arguments[0]
	}
	return expression{}
}

func numberValue(sign, text string) any {
	if hexadecimal, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok { // mysqldump --hex-blob
		if raw, err := hex.DecodeString(hexadecimal); err == nil && utf8.Valid(raw) {
			return string(raw)
		}
		return expression{}
	}
	if !jsonNumber.MatchString(text) {
		return expression{}
	}
	return json.Number(sign + text)
}

// decode decodes one string.
func (d *dump) decode(t token) (string, error) {
	if len(t.text) > 2*MaxValue {
		return "", d.errorf(t.at, "a value is longer than %d MiB", MaxValue>>20)
	}
	text := t.text
	switch t.style {
	case styleStandard:
		text = strings.ReplaceAll(text, "''", "'")
	case styleMySQL:
		text = unescapeMySQL(text)
	case styleC:
		text = unescapeC(strings.ReplaceAll(text, "''", "'"))
	case styleHex:
		raw, err := hex.DecodeString(text)
		if err != nil {
			return "", d.errorf(t.at, "X'…' holds something other than hex digits")
		}
		text = string(raw)
	}
	if len(text) > MaxValue {
		return "", d.errorf(t.at, "a value is longer than %d MiB", MaxValue>>20)
	}
	return strings.ToValidUTF8(text, "\uFFFD"), nil
}

// unescapeMySQL decodes a string of MySQL: doubled quotes and backslashes.
func unescapeMySQL(text string) string {
	if !strings.ContainsAny(text, `\'"`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
		case c == '\\' && i+1 < len(text):
			i++
			switch c = text[i]; c {
			case '0':
				c = 0
			case 'b':
				c = '\b'
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'Z':
				c = 26
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// unescapeC decodes the escapes of PostgreSQL's E'…' and COPY, and of
// SQLite's unistr.
func unescapeC(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		i++
		switch c := text[i]; c {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'v':
			b.WriteByte('\v')
		case 'x':
			i += writeCode(&b, text[i+1:], 2, 16, true)
		case 'u':
			i += writeCode(&b, text[i+1:], 4, 16, false)
		case 'U':
			i += writeCode(&b, text[i+1:], 8, 16, false)
		case '0', '1', '2', '3', '4', '5', '6', '7':
			i += writeCode(&b, text[i:], 3, 8, true) - 1
		default:
			b.WriteByte(c)
		}
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// writeCode writes the character that up to n digits name, and returns how
// many there were. Without one the letter stands for itself, which is dropped.
func writeCode(b *strings.Builder, digits string, n, base int, single bool) int {
	used := 0
	for used < n && used < len(digits) {
		if _, err := strconv.ParseUint(digits[used:used+1], base, 8); err != nil {
			break
		}
		used++
	}
	code, err := strconv.ParseUint(digits[:used], base, 32)
	switch {
	case err != nil:
	case single:
		b.WriteByte(byte(code))
	case code <= utf8.MaxRune:
		b.WriteRune(rune(code))
	default:
		b.WriteRune(utf8.RuneError)
	}
	return used
}
