package redaction

import (
	"net/url"
	"strings"
)

// hidden stands where a credential was, as in Caddy's own lines.
const hidden = "REDACTED"

// CredentialInQuery tells whether a raw query has a credential, as the old fleet
// has it (api_key) or as RFC 6750 section 2.3 (access_token), also where
// [url.ParseQuery] would drop it.
func CredentialInQuery(query string) bool {
	if !strings.ContainsAny(query, "_%") { // both names have a _
		return false
	}
	for pair := range strings.FieldsFuncSeq(query, separates) {
		if isCredential(pair) {
			return true
		}
	}
	return false
}

// redactQuery replaces the values of the credentials in a raw query.
func redactQuery(query string) string {
	var b strings.Builder
	for query != "" {
		end := strings.IndexFunc(query, separates)
		if end < 0 {
			end = len(query)
		}
		pair := query[:end]
		if isCredential(pair) {
			name, _, _ := strings.Cut(pair, "=")
			pair = name + "=" + hidden
		}
		b.WriteString(pair)
		if end < len(query) {
			b.WriteByte(query[end])
			end++
		}
		query = query[end:]
	}
	return b.String()
}

// separates tells where a pair of a query ends for one server or another.
func separates(r rune) bool { return r == '&' || r == ';' }

// isCredential tells whether a pair of a query is a credential. PHP reads
// api_key[] as api_key.
func isCredential(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	name, _, _ = strings.Cut(name, "[")
	return name == "api_key" || name == "access_token"
}
