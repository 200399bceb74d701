package auth

import (
	"net/http"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/fleet/redaction"
)

// The headers that carry a credential, as net/http spells them.
const (
	headerAuthorization = "Authorization"
	headerNodeToken     = "X-Node-Token"
)

// credential finds what the caller shows. It is empty when there is nothing.
func (rules *Rules) credential(r *http.Request) (string, *denial) {
	if redaction.CredentialInQuery(r.URL.RawQuery) {
		return "", rules.inQuery()
	}
	if rules.laravel {
		return rules.laravelCredential(r.Header)
	}
	bearer, d := one(rules, r.Header[headerAuthorization])
	if d != nil {
		return "", d
	}
	if bearer != "" {
		// the scheme is not case-sensitive (RFC 9110 section 11.1)
		scheme, token, _ := strings.Cut(bearer, " ")
		if bearer = ""; strings.EqualFold(scheme, "Bearer") {
			if bearer = strings.TrimLeft(token, " "); bearer == "" {
				return "", rules.ambiguous("empty_credential", "the Authorization header has no token after Bearer")
			}
		}
	}
	if rules.APIKeyHeader == "" {
		return bearer, nil
	}
	key, d := one(rules, r.Header[rules.APIKeyHeader])
	if d != nil {
		return "", d
	}
	if bearer != "" && key != "" { // RFC 6750 section 2
		return "", rules.ambiguous("many_credentials", "the request shows more than one credential")
	}
	return bearer + key, nil
}

// laravelCredential looks where the old fleet puts its credentials, in its
// order: what is found first is final, good or bad. A node compares the scheme
// `Bearer ` exactly.
func (rules *Rules) laravelCredential(header http.Header) (string, *denial) {
	if token, d := one(rules, header[headerNodeToken]); token != "" || d != nil {
		return token, d
	}
	authorization, d := one(rules, header[headerAuthorization])
	if d != nil {
		return "", d
	}
	if token, found := strings.CutPrefix(authorization, "Bearer "); found && token != "" {
		return token, nil
	}
	return one(rules, header[rules.APIKeyHeader])
}

// one is the only value of a header. With two, another server could read the other.
func one(rules *Rules, values []string) (string, *denial) {
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", rules.ambiguous("many_credentials", "the request shows more than one credential")
}
