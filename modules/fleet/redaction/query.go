package redaction

import (
	"net/url"
	"slices"
	"strings"
)

// Hidden stands where a credential was, as in Caddy's own lines.
const Hidden = "REDACTED"

// CredentialInQuery tells whether a raw query has a credential, as the old fleet
// has it (api_key), as RFC 6750 section 2.3 (access_token) or as RFC 6749 section 6
// (refresh_token), also where [url.ParseQuery] would drop it.
func CredentialInQuery(query string) bool {
	if !strings.ContainsAny(query, "_%.+[") { // what stands in all names, in one form or another
		return false
	}
	for pair := range strings.FieldsFuncSeq(query, separates) {
		if isCredential(pair) {
			return true
		}
	}
	return false
}

// Query is a raw query without the values of its credentials.
func Query(query string) string {
	var b strings.Builder
	for query != "" {
		end := strings.IndexFunc(query, separates)
		if end < 0 {
			end = len(query)
		}
		pair := query[:end]
		if isCredential(pair) {
			name, _, _ := strings.Cut(pair, "=")
			pair = name + "=" + Hidden
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

// separates tells where a pair of a query ends for one server or another, or
// where a query begins.
func separates(r rune) bool { return r == '&' || r == ';' || r == '?' || r == '#' }

// credentialNames are the members of a query that carry a credential.
var credentialNames = []string{"api_key", "access_token", "refresh_token"}

// isCredential tells whether a pair of a query is a credential, as any server
// behind may read its name: PHP takes dots, spaces and a [ that is not closed for
// underscores, drops leading spaces, and ends a name at a NUL or another [.
func isCredential(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	name, _, _ = strings.Cut(strings.TrimLeft(name, " "), "\x00")
	name = strings.ToLower(underscores.Replace(name))
	begin, index, indexed := strings.Cut(name, "[")
	if indexed && !strings.Contains(index, "]") && slices.Contains(credentialNames, strings.ReplaceAll(name, "[", "_")) {
		return true
	}
	return slices.Contains(credentialNames, begin)
}

var underscores = strings.NewReplacer(".", "_", " ", "_")
