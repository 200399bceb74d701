package fleet

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
)

// CredentialsConfig is how the gateway proves itself to a node.
type CredentialsConfig struct {
	// Type is jwt, shared_secret, api_key, bearer, basic, header or none.
	Type string `json:"type"`
	// Key is the id of the key that signs a jwt. Default: the first that may sign.
	Key string `json:"key,omitempty"`
	// Value is the secret, key or token, the password of basic, or the value
	// of the header. Placeholders such as {env.NODE_KEY} are replaced when the
	// config is loaded.
	Value string `json:"value,omitempty"`
	// User is the user of basic.
	User string `json:"user,omitempty"`
	// Header is the name for type header.
	Header string `json:"header,omitempty"`
}

// credential adds what proves us to a request.
type credential interface {
	apply(header http.Header, where TokenHeader, node *Node) error
	// secrets are what a node that was sent them must not repeat to others.
	secrets() []string
}

// newCredential resolves a configuration; nil means the default: a jwt when
// the federation can sign and the dialect expects one, else nothing.
// sender names the federation that sends a jwt.
func newCredential(c *CredentialsConfig, dialect string, keys *token.KeySet, node, issuer string, sender func() string, repl *caddy.Replacer) (credential, error) {
	if c == nil {
		key := keys.Signing(node)
		if key == nil || dialect == "json" {
			return noCredential{}, nil
		}
		return &jwtCredential{key: key, issuer: issuer, sender: sender}, nil
	}
	value, err := repl.ReplaceOrErr(c.Value, true, true)
	if err != nil {
		return nil, fmt.Errorf("credentials %s: %w", c.Type, err)
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return nil, fmt.Errorf("credentials %s: the value has characters that a header cannot carry", c.Type)
	}
	switch c.Type {
	case "none":
		return noCredential{}, nil
	case "jwt":
		key := keys.Signing(node)
		if c.Key != "" {
			key = keys.Key(c.Key)
		}
		if key != nil && key.CanSign() && (key.Node == "" || key.Node == node) {
			return &jwtCredential{key: key, issuer: issuer, sender: sender}, nil
		}
		if c.Key == "" {
			return nil, fmt.Errorf("credentials jwt: the federation has no key that may sign; add `key <kid> hs256 <secret>`")
		}
		return nil, fmt.Errorf("credentials jwt: no key %q that may sign", c.Key)
	}
	if value == "" {
		return nil, fmt.Errorf("credentials %s: the value is empty", c.Type)
	}
	switch c.Type {
	case "shared_secret", "api_key", "bearer":
		return tokenCredential{authorization: []string{"Bearer " + value}, token: []string{value}}, nil
	case "basic":
		if c.User == "" || strings.Contains(c.User, ":") {
			return nil, fmt.Errorf("credentials basic: the user is empty or has a colon")
		}
		encoded := base64.StdEncoding.EncodeToString([]byte(c.User + ":" + value))
		return headerCredential{name: "Authorization", value: []string{"Basic " + encoded}, password: value}, nil
	case "header":
		if !httpguts.ValidHeaderFieldName(c.Header) {
			return nil, fmt.Errorf("credentials header: %q is not a header name", c.Header)
		}
		return headerCredential{name: http.CanonicalHeaderKey(c.Header), value: []string{value}}, nil
	default:
		return nil, errors.New("unknown type of credentials, expected jwt, shared_secret, api_key, bearer, basic, header or none")
	}
}

type noCredential struct{}

func (noCredential) apply(http.Header, TokenHeader, *Node) error { return nil }
func (noCredential) secrets() []string                           { return nil }

type headerCredential struct {
	name     string
	value    []string
	password string // in the value, encoded; empty when it is not
}

func (c headerCredential) apply(header http.Header, where TokenHeader, _ *Node) error {
	if where != TokenNone {
		header[c.name] = c.value
	}
	return nil
}

func (c headerCredential) secrets() []string {
	scheme, value, ok := strings.Cut(c.value[0], " ")
	if !ok {
		value = scheme
	}
	return []string{value, c.password}
}

type tokenCredential struct {
	authorization, token []string
}

func (c tokenCredential) apply(header http.Header, where TokenHeader, _ *Node) error {
	if where == TokenAuthorization || where == TokenBoth {
		header["Authorization"] = c.authorization
	}
	if where == TokenXNodeToken || where == TokenBoth {
		header["X-Node-Token"] = c.token
	}
	return nil
}

func (c tokenCredential) secrets() []string { return c.token }

// The life of a token towards a node. The old master minted one of 300 s for
// every request; one is good until a minute and a half before its end.
const (
	tokenLife     = 300 * time.Second
	tokenReserve  = 90 * time.Second
	tokenBackdate = 45 * time.Second // nodes refuse an iat one second ahead of their clock
)

// jwtCredential signs what the old master signed: the claims name the node
// that is called, and whose token it is, so that the node cannot show it to us
// as its own. One token is used for several calls, so signing costs nothing
// per request.
type jwtCredential struct {
	key    *token.Key
	issuer string
	sender func() string
	minted atomic.Pointer[mintedToken]
}

type mintedToken struct {
	tokenCredential
	node    *Node
	sender  string
	expires time.Time
}

func (c *jwtCredential) apply(header http.Header, where TokenHeader, node *Node) error {
	if where == TokenNone {
		return nil
	}
	now := time.Now()
	minted := c.minted.Load()
	if minted == nil || minted.node != node || minted.sender != c.sender() || now.After(minted.expires.Add(-tokenReserve)) {
		fresh, err := c.mint(node, now)
		if err != nil {
			return err
		}
		c.minted.Store(fresh)
		minted = fresh
	}
	return minted.apply(header, where, node)
}

func (c *jwtCredential) mint(node *Node, now time.Time) (*mintedToken, error) {
	expires, sender := now.Add(tokenLife), c.sender()
	signed, err := c.key.Sign(nodeClaims{
		Issuer:       c.issuer,
		Subject:      node.subject(),
		Slug:         node.Slug,
		Name:         node.Name,
		IssuedAt:     now.Add(-tokenBackdate).Unix(),
		ExpiresAt:    expires.Unix(),
		Capabilities: namesOf(node.Capabilities),
		Type:         node.Type,
		Sender:       sender,
	})
	if err != nil {
		return nil, fmt.Errorf("signing a token for node %q: %w", node.Slug, err)
	}
	return &mintedToken{
		tokenCredential: tokenCredential{authorization: []string{"Bearer " + signed}, token: []string{signed}},
		node:            node,
		sender:          sender,
		expires:         expires,
	}, nil
}

func (c *jwtCredential) secrets() []string { return nil } // a JWT is known by its looks

// echo is what a node must not repeat of the token that it is sent now: without
// its signature it proves nothing.
func (c *jwtCredential) echo() (e echo, sent bool) {
	minted := c.minted.Load()
	if minted == nil {
		return e, false
	}
	signed := minted.token[0]
	return echo{[]byte(signed), strings.LastIndexByte(signed, '.') + 1}, true
}

// subject is an integer where it can be, because old nodes compare it with a row's id.
func (n *Node) subject() any {
	if n.Subject == "" {
		return n.ID
	}
	if id, err := strconv.ParseInt(n.Subject, 10, 64); err == nil && strconv.FormatInt(id, 10) == n.Subject {
		return id
	}
	return n.Subject
}
