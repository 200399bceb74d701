package fleet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"
)

// NodeConfig describes one node. In node_defaults it is what nodes have that
// do not set a field; a node of the registry is stored as one; the file wins
// over the registry for the fields it sets.
type NodeConfig struct {
	// Slug names the node everywhere: 1 to 64 characters of a-z, 0-9 and
	// single hyphens inside. Required. "local" is the local index's name.
	Slug string `json:"slug,omitempty"`
	// URL is where the node lives: http or https, with the path that its API
	// is below, without user, query or fragment. Required. Placeholders such
	// as {env.SHOP_URL} are replaced when the config is loaded.
	URL string `json:"url,omitempty"`
	// Name is for people. Default: the slug.
	Name string `json:"name,omitempty"`
	// DialectRaw is how the node is spoken to. Default: auto.
	DialectRaw json.RawMessage `json:"dialect,omitempty" caddy:"namespace=federation.dialects inline_key=dialect"`
	// Weight is the node's share in merging and balancing, above 0 and at
	// most 1,000. Default: 1.
	Weight float64 `json:"weight,omitempty"`
	// Group names the replicas that hold the same documents. Default: none.
	Group string `json:"group,omitempty"`
	// Required makes an answer without this node a failure. Default: false.
	Required *bool `json:"required,omitempty"`
	// Type is child or master. Default: child.
	Type string `json:"type,omitempty"`
	// Capabilities is what the node can do. Default: search and actions.
	Capabilities []string `json:"capabilities,omitempty"`
	// Description, Domains, Keywords and DataTypes say what the node holds.
	// Default: what the node says of itself.
	Description string   `json:"description,omitempty"`
	Domains     []string `json:"domains,omitempty"`
	Keywords    []string `json:"keywords,omitempty"`
	DataTypes   []string `json:"data_types,omitempty"`
	// Collections are the kinds of document to ask the node for when a search
	// names none. Default: what the node says of itself.
	Collections []Collection `json:"collections,omitempty"`
	// Credentials prove the gateway to the node. Default: a jwt when the
	// federation has a key that may sign and the dialect is not json, else none.
	Credentials *CredentialsConfig `json:"credentials,omitempty"`
	// Keys are the node's own: they sign what is sent to it unless Credentials
	// says otherwise, and verify only its own tokens, which no secret of the
	// whole federation then does. They can stand in the file only. Default: none.
	Keys []KeyConfig `json:"keys,omitempty"`
	// Subject is the `sub` of a jwt. Default: the node's id.
	Subject string `json:"subject,omitempty"`
	// HeaderUp are headers added to every call. Default: none.
	HeaderUp http.Header `json:"header_up,omitempty"`
	// Budget is what the node lets us do. A limit of 0 is no budget. Default:
	// none; with dialect laravel 60 calls a minute and path.
	Budget *BudgetConfig `json:"budget,omitempty"`
	// Timeout is the longest single call. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// MaxRequests is how many calls may run at once (the bulkhead). Default: 64.
	MaxRequests int `json:"max_requests,omitempty"`
	// MaxResponseSize is how large an answer may be, in bytes, after
	// decompression, up to [MaxMaxResponseSize]. Default: 8 MiB.
	MaxResponseSize int64 `json:"max_response_size,omitempty"`
	// TransportRaw is a reverse_proxy transport to call the node through.
	// Default: HTTP/1.1 and HTTP/2 with a keep-alive pool of MaxRequests
	// connections, a 3 s dial timeout and no proxy.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`
	// AdminState is the operator's word: enabled, draining, maintenance or
	// disabled. Default: enabled.
	AdminState AdminState `json:"admin_state,omitempty"`
}

// Defaults of a node.
const (
	defaultTimeout     = 5 * time.Second
	defaultMaxRequests = 64
)

// MaxMaxResponseSize is the most that max_response_size can be, in bytes: 1 GiB.
const MaxMaxResponseSize = 1 << 30

// scopeToken is what a capability can be, as it goes into scopes (RFC 6749
// section 3.3).
var scopeToken = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]{1,100}$`)

// ValidCapability tells whether something can be the name of a capability: one
// word of 1 to 100 visible ASCII characters without quotes and backslashes.
func ValidCapability(name string) bool { return scopeToken.MatchString(name) }

var slugPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// LocalSlug names the local index in reports; no node may have it.
const LocalSlug = "local"

// ValidSlug tells whether a node can have this slug.
func ValidSlug(slug string) bool {
	return len(slug) <= 64 && slugPattern.MatchString(slug) && slug != LocalSlug
}

// over returns c with the fields that it does not set taken from base.
func (c NodeConfig) over(base NodeConfig) NodeConfig {
	set, under := reflect.ValueOf(&c).Elem(), reflect.ValueOf(base)
	for i := range set.NumField() {
		if set.Field(i).IsZero() {
			set.Field(i).Set(under.Field(i))
		}
	}
	return c
}

// withDefaults fills in the documented defaults.
func (c NodeConfig) withDefaults() NodeConfig {
	yes := false
	c = c.over(NodeConfig{
		Name:            c.Slug,
		DialectRaw:      json.RawMessage(`{"dialect":"auto"}`),
		Weight:          1,
		Required:        &yes,
		Type:            "child",
		Capabilities:    []string{"search", "actions"},
		Timeout:         caddy.Duration(defaultTimeout),
		MaxRequests:     defaultMaxRequests,
		MaxResponseSize: DefaultMaxResponseSize,
		AdminState:      AdminEnabled,
	})
	return c
}

// Validate checks everything that can be checked without loading a module.
// The error names the field and what was expected.
func (c NodeConfig) Validate() error {
	if !ValidSlug(c.Slug) {
		return fmt.Errorf("node %q: a slug is 1 to 64 characters of a-z, 0-9 and single hyphens inside, and not %q", c.Slug, LocalSlug)
	}
	if c.URL == "" {
		return fmt.Errorf("node %q: the url is missing", c.Slug)
	}
	if !strings.Contains(c.URL, "{") {
		if _, err := parseNodeURL(c.URL); err != nil {
			return fmt.Errorf("node %q: %w", c.Slug, err)
		}
	}
	if err := c.ValidateSettings(); err != nil {
		return fmt.Errorf("node %q: %w", c.Slug, err)
	}
	return nil
}

// ValidateSettings checks what a node and node_defaults have in common.
func (c NodeConfig) ValidateSettings() error {
	if c.Weight < 0 || c.Weight > 1000 {
		return fmt.Errorf("weight %v is not above 0 and at most 1000", c.Weight)
	}
	switch c.Type {
	case "", "child", "master":
	default:
		return fmt.Errorf("unknown type %q, expected child or master", c.Type)
	}
	switch c.AdminState {
	case "", AdminEnabled, AdminDraining, AdminMaintenance, AdminDisabled, AdminPending:
	default:
		return fmt.Errorf("unknown admin_state %q, expected enabled, draining, maintenance or disabled", c.AdminState)
	}
	if c.Timeout < 0 {
		return fmt.Errorf("timeout %v is negative", time.Duration(c.Timeout))
	}
	if c.MaxRequests < 0 {
		return fmt.Errorf("max_requests %d is negative", c.MaxRequests)
	}
	if c.MaxResponseSize < 0 || c.MaxResponseSize > MaxMaxResponseSize {
		return fmt.Errorf("max_response_size %d is not a number of bytes from 1 to %d (1 GiB)", c.MaxResponseSize, MaxMaxResponseSize)
	}
	if _, err := c.Budget.load(); err != nil {
		return err
	}
	for _, capability := range c.Capabilities {
		if !ValidCapability(capability) {
			return fmt.Errorf("capability %q is not one word of visible characters without quotes and backslashes", clipWord(capability))
		}
	}
	for name, values := range c.HeaderUp {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("header_up: %q is not a header name", name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("header_up %s: the value has characters that a header cannot carry", name)
			}
		}
	}
	return nil
}
