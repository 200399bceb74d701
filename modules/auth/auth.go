// Package auth tells who is calling and whether they may: the handler
// http.handlers.federation_auth, and http.authentication.providers.federation
// for Caddy's own `authentication` handler.
package auth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// Rules are who is let in. The handler and the provider have them in common.
type Rules struct {
	// Capabilities are what the caller must have, all of them. Default: none.
	Capabilities []string `json:"capabilities,omitempty"`
	// Allow is how a caller may prove itself: jwt, api_key and shared_secret.
	// Default: jwt and api_key.
	Allow []string `json:"allow,omitempty"`
	// APIKeyHeader is a header that is read for an API key when there is no
	// Authorization. Default: none; with Compat laravel X-API-Key.
	APIKeyHeader string `json:"api_key_header,omitempty"`
	// Compat is laravel for callers of the old fleet: X-Node-Token is read
	// first and is final, then `Authorization: Bearer`, then the API key's
	// header; tokens as the old fleet makes them are accepted, and errors have
	// the members its clients read. Default: off.
	Compat string `json:"compat,omitempty"`

	fleet   *fleet.App
	logger  *zap.Logger
	methods fleet.MethodSet
	policy  fleet.AuthPolicy
	laravel bool
	scope   string // the capabilities as RFC 6749 section 3.3 has them
}

// compatLaravel is the value of [Rules.Compat].
const compatLaravel = "laravel"

// provision reads the rules.
func (rules *Rules) provision(ctx caddy.Context) error {
	rules.logger = ctx.Logger()
	if err := rules.check(); err != nil {
		return err
	}
	var err error
	if rules.methods, err = fleet.ParseMethods(rules.Allow); err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	rules.laravel = rules.Compat == compatLaravel
	rules.policy = fleet.AuthPolicy{Legacy: rules.laravel}
	if rules.laravel && rules.APIKeyHeader == "" {
		rules.APIKeyHeader = "X-Api-Key"
	}
	rules.APIKeyHeader = http.CanonicalHeaderKey(rules.APIKeyHeader)
	rules.scope = strings.Join(rules.Capabilities, " ")
	rules.fleet, err = fleet.FromContext(ctx)
	return err
}

// check looks at what can be looked at without a federation.
func (rules *Rules) check() error {
	for _, capability := range rules.Capabilities {
		if !validScope(capability) {
			return fmt.Errorf("capability %q: expected visible ASCII characters without quotes and backslashes", capability)
		}
	}
	if _, err := fleet.ParseMethods(rules.Allow); err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	if rules.APIKeyHeader != "" && !httpguts.ValidHeaderFieldName(rules.APIKeyHeader) {
		return fmt.Errorf("api_key_header: %q is not a header name", rules.APIKeyHeader)
	}
	for _, taken := range []string{"Authorization", "Cookie", "X-Node-Token"} {
		if strings.EqualFold(rules.APIKeyHeader, taken) {
			return fmt.Errorf("api_key_header: %s is not for API keys", taken)
		}
	}
	if rules.Compat != "" && rules.Compat != compatLaravel {
		return fmt.Errorf("unknown compat %q, expected laravel", rules.Compat)
	}
	return nil
}

// validScope is scope-token of RFC 6749 section 3.3.
func validScope(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

// authenticate tells who is calling. The denial is nil when they may.
func (rules *Rules) authenticate(r *http.Request) (*fleet.Identity, *denial) {
	raw, d := rules.credential(r)
	if d == nil {
		identity, err := rules.fleet.Authenticate(r.Context(), raw, rules.methods, rules.policy)
		switch {
		case err != nil:
			d = rules.deny(err)
		default:
			lacking := slices.ContainsFunc(rules.Capabilities, func(c string) bool { return !identity.Has(c) })
			if !lacking {
				countAccepted(identity.Method)
				return identity, nil
			}
			d = rules.insufficient()
			d.caller = identity.ID
			if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
				setPlaceholders(repl, candidateNamespace, identity)
			}
		}
	}
	count("", d.reason)
	return nil, d
}

// accept notes the caller where the handlers that follow, the access log and
// handle_errors find them.
func accept(r *http.Request, identity *fleet.Identity) {
	fleet.SetIdentity(r, identity)
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	if _, known := repl.Get(userNamespace + "id"); known { // by who asked before, and set values count first
		setPlaceholders(repl, userNamespace, identity)
		return
	}
	repl.Map(func(key string) (any, bool) { return placeholder(key, identity) })
}

const (
	userNamespace      = "http.auth.user."
	candidateNamespace = "http.auth.candidate."
)

// placeholders are what is known of a caller, by what follows the namespace.
var placeholders = []struct {
	name  string
	value func(*fleet.Identity) string
}{
	{"id", func(i *fleet.Identity) string { return i.ID }},
	{"federation_id", func(i *fleet.Identity) string { return i.FederationID }},
	{"name", func(i *fleet.Identity) string { return i.Name }},
	{"type", func(i *fleet.Identity) string { return i.Type }},
	{"method", func(i *fleet.Identity) string { return i.Method }},
	{"capabilities", func(i *fleet.Identity) string { return strings.Join(i.Capabilities, " ") }},
}

// placeholder is the value of one of the user's, made when somebody reads it:
// most requests are never asked for more than the id.
func placeholder(key string, identity *fleet.Identity) (any, bool) {
	name, ours := strings.CutPrefix(key, userNamespace)
	if !ours {
		return nil, false
	}
	for _, p := range placeholders {
		if p.name == name {
			return p.value(identity), true
		}
	}
	return nil, false
}

func setPlaceholders(repl *caddy.Replacer, namespace string, identity *fleet.Identity) {
	for _, p := range placeholders {
		repl.Set(namespace+p.name, p.value(identity))
	}
}

// note tells the log, and handle_errors by {http.auth.federation.error}, why a
// request was refused. No part of a credential is in it.
func (rules *Rules) note(r *http.Request, d *denial) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.auth.federation.error", d.reason)
	}
	if c := rules.logger.Check(zapcore.InfoLevel, "request refused"); c != nil {
		client, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
		c.Write(zap.String("reason", d.reason), zap.NamedError("cause", d.cause), zap.Int("status", d.status),
			zap.String("caller", d.caller), zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.String("client_ip", client))
	}
}
