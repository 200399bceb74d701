package token

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Claims are what a token says. They mean nothing before its signature and
// they themselves were checked.
type Claims struct {
	Issuer string
	// SubjectID is the `sub` when it is a whole number above 0 or the decimal
	// text of one; else Subject is its text.
	SubjectID int64
	Subject   string
	// Slug and Name are `node_slug` and `node_name`.
	Slug, Name string
	Audience   []string
	// ID is the `jti`.
	ID string
	// IssuedAt, NotBefore and Expires are seconds since 1970; 0: not said.
	IssuedAt, NotBefore, Expires int64
	Capabilities                 []string
	// Type is the kind of node: child or master.
	Type string
	// Sender is the `azp`: who alone may show the token.
	Sender string
}

// claimNames are the claims that are read, for telling those that are nearly so.
var claimNames = []string{
	"iss", "sub", "node_slug", "node_name", "aud", "jti", "iat", "nbf", "exp", "capabilities", "type", "azp",
}

// headerNames are the header members that matter, refused ones included.
var headerNames = []string{"alg", "kid", "typ", "crit", "jku", "jwk", "x5u", "x5c", "zip", "b64"}

// object reads one JSON object, member by member: names and strings must be
// valid UTF-8, no name may stand twice, nothing may follow the object.
type object struct {
	text bytes.Reader
	json jsontext.Decoder
}

var objects = sync.Pool{New: func() any { return new(object) }}

var (
	errJSON  = errors.New("not the JSON that was expected")
	errDepth = errors.New("nested too deep")
)

// each calls member with the name of every member in turn, which must read its
// value. known are names that may not stand in another case.
func (o *object) each(text []byte, known []string, member func(name string) error) error {
	o.text.Reset(text)
	o.json.Reset(&o.text)
	start, err := o.json.ReadToken()
	if err != nil || start.Kind() != '{' {
		return errJSON
	}
	for o.json.PeekKind() == '"' {
		token, err := o.json.ReadToken()
		if err != nil {
			return errJSON
		}
		name := token.String()
		for _, k := range known {
			if len(k) == len(name) && k != name && strings.EqualFold(k, name) {
				return errJSON
			}
		}
		if err := member(name); err != nil {
			return err
		}
	}
	if _, err := o.json.ReadToken(); err != nil { // the closing brace
		return errJSON
	}
	if _, err := o.json.ReadToken(); !errors.Is(err, io.EOF) {
		return errJSON
	}
	return nil
}

// string reads a string.
func (o *object) string(into *string) error {
	token, err := o.json.ReadToken()
	if err != nil || token.Kind() != '"' {
		return errJSON
	}
	*into = token.String()
	return nil
}

// strings reads an array of strings.
func (o *object) strings(into *[]string) error {
	token, err := o.json.ReadToken()
	if err != nil || token.Kind() != '[' {
		return errJSON
	}
	for o.json.PeekKind() != ']' {
		var s string
		if err := o.string(&s); err != nil {
			return err
		}
		*into = append(*into, s)
	}
	_, err = o.json.ReadToken()
	return err
}

// maxTime is far behind every real date, and a number that JSON keeps exactly.
const maxTime = 1 << 53

// time reads a NumericDate (RFC 7519 section 2) above 0. A fraction is cut off.
func (o *object) time(into *int64) error {
	token, err := o.json.ReadToken()
	if err != nil || token.Kind() != '0' {
		return errJSON
	}
	text := token.String()
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		fraction, err := strconv.ParseFloat(text, 64)
		if err != nil || !(fraction < maxTime) {
			return errJSON
		}
		seconds = int64(fraction)
	}
	if seconds <= 0 || seconds >= maxTime {
		return errJSON
	}
	*into = seconds
	return nil
}

// skip reads a value that means nothing to us.
func (o *object) skip() error {
	base := o.json.StackDepth()
	for {
		if _, err := o.json.ReadToken(); err != nil {
			return errJSON
		}
		switch depth := o.json.StackDepth(); {
		case depth > maxDepth:
			return errDepth
		case depth == base:
			return nil
		}
	}
}

// header is what a token's header says.
type header struct {
	algorithm, keyID, typ       string
	hasKeyID, hasType, hasOther bool
}

func decodeHeader(text []byte) (h header, refusal *Refusal) {
	o := objects.Get().(*object)
	defer objects.Put(o)
	err := o.each(text, headerNames, func(name string) error {
		switch name {
		case "alg":
			return o.string(&h.algorithm)
		case "kid":
			h.hasKeyID = true
			return o.string(&h.keyID)
		case "typ":
			h.hasType = true
			return o.string(&h.typ)
		case "crit", "jku", "jwk", "x5u", "x5c", "zip", "b64":
			h.hasOther = true
		}
		return o.skip()
	})
	switch {
	case h.hasOther:
		return h, ErrHeaderCritical
	case err != nil || h.algorithm == "":
		return h, ErrHeader
	case h.hasType && !validType(h.typ):
		return h, ErrHeaderType
	}
	return h, nil
}

// validType knows access tokens: RFC 7519 section 5.1, RFC 9068 section 4.
func validType(typ string) bool {
	return strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt") || strings.EqualFold(typ, "application/at+jwt")
}

// DecodeClaims reads the payload of a token whose signature is good.
func DecodeClaims(payload []byte) (c Claims, refusal *Refusal) {
	o := objects.Get().(*object)
	defer objects.Put(o)
	err := o.each(payload, claimNames, func(name string) error {
		switch name {
		case "iss":
			return o.string(&c.Issuer)
		case "sub":
			return o.subject(&c)
		case "node_slug":
			return o.string(&c.Slug)
		case "node_name":
			return o.string(&c.Name)
		case "aud":
			if o.json.PeekKind() == '[' {
				return o.strings(&c.Audience)
			}
			c.Audience = make([]string, 1)
			return o.string(&c.Audience[0])
		case "jti":
			return o.string(&c.ID)
		case "iat":
			return o.time(&c.IssuedAt)
		case "nbf":
			return o.time(&c.NotBefore)
		case "exp":
			return o.time(&c.Expires)
		case "capabilities":
			return o.strings(&c.Capabilities)
		case "type":
			return o.string(&c.Type)
		case "azp":
			if o.json.PeekKind() == '"' {
				return o.string(&c.Sender)
			}
		}
		return o.skip()
	})
	if errors.Is(err, errDepth) {
		return Claims{}, ErrClaimsDepth
	}
	if err != nil || len(c.ID) > maxID {
		return Claims{}, ErrClaims
	}
	return c, nil
}

// maxID is the longest `jti`: it must fit into the key of a revocation.
const maxID = 256

func (o *object) subject(c *Claims) error {
	token, err := o.json.ReadToken()
	if err != nil || token.Kind() != '"' && token.Kind() != '0' {
		return errJSON
	}
	text := token.String()
	if id, err := strconv.ParseInt(text, 10, 64); err == nil && id > 0 && strconv.FormatInt(id, 10) == text {
		c.SubjectID = id
		return nil
	}
	if token.Kind() == '0' {
		return errJSON
	}
	c.Subject = text
	return nil
}
