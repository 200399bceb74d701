package fleet

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// leastEcho is the shortest secret that is looked for: a shorter one would be
// found in texts that have nothing to do with it.
const leastEcho = 8

// leastOpaque is the shortest value of a header_up that is taken for a secret by
// its looks alone.
const leastOpaque = 16

// secretName finds the names of headers that carry a secret.
var secretName = regexp.MustCompile(`(?i)auth|cookie|credential|key|pass|secret|session|signature|token`)

// openNames are headers that carry none, whatever they look like.
var openNames = []string{
	"Accept", "Accept-Language", "Cache-Control", "Content-Type", "Forwarded", "Host", "Origin", "Referer", "User-Agent", "Via",
}

// secretsOf are the texts that are sent to a node and that it must not repeat to
// others: what proves the gateway to it, and of header_up the values of headers
// whose name says so, those that come from a placeholder (such as {env.KEY}), and
// those that look like nothing else: one word of 16 bytes or more with letters
// and digits. Others, such as a tenant's name, may well be in results.
func secretsOf(c credential, config NodeConfig, headers []headerField) (secrets []string) {
	add := func(text string) {
		if len(text) >= leastEcho && !slices.Contains(secrets, text) {
			secrets = append(secrets, text)
		}
	}
	if c != nil {
		for _, secret := range c.secrets() {
			add(secret)
		}
	}
	written := make(map[string]bool) // by a placeholder
	for name, values := range config.HeaderUp {
		written[http.CanonicalHeaderKey(name)] = slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "{") })
	}
	for _, field := range headers {
		if slices.Contains(openNames, field.name) || strings.HasPrefix(field.name, "X-Forwarded-") {
			continue
		}
		for _, value := range field.values {
			if !secretName.MatchString(field.name) && !written[field.name] && !opaque(value) {
				continue
			}
			add(value)
			if _, word, ok := strings.Cut(value, " "); ok && secretName.MatchString(field.name) { // behind a scheme
				add(word)
			}
			if field.name == "Cookie" {
				for _, pair := range strings.Split(value, ";") {
					_, word, _ := strings.Cut(pair, "=")
					add(strings.TrimSpace(word))
				}
			}
		}
	}
	return secrets
}

func opaque(value string) bool {
	return len(value) >= leastOpaque && !strings.ContainsAny(value, " /") && strings.ContainsAny(value, "0123456789") &&
		strings.ContainsFunc(value, func(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' })
}

// enoughOf is how much of a secret, from its beginning, is taken for all of it:
// three quarters, of one that is long enough to leave something unmistakable. An
// address begins like others of its host.
func enoughOf(secret string) int {
	if len(secret) < leastOpaque || strings.Contains(secret, "://") || strings.Contains(secret, `:\/\/`) {
		return len(secret)
	}
	return len(secret) * 3 / 4
}

// spellings are the secrets as they can stand in a JSON string: with nothing
// escaped that need not be, as Go escapes and as PHP does.
func spellings(secrets []string) (all []echo) {
	for _, secret := range secrets {
		var plain bytes.Buffer
		encoder := json.NewEncoder(&plain)
		encoder.SetEscapeHTML(false)
		escaped, err := json.Marshal(secret)
		if err != nil || encoder.Encode(secret) != nil {
			continue
		}
		quoted := strings.TrimSuffix(plain.String(), "\n")
		for _, text := range []string{quoted, strings.ReplaceAll(quoted, "/", `\/`), string(escaped)} {
			text = text[1 : len(text)-1]
			if !slices.ContainsFunc(all, func(known echo) bool { return string(known.text) == text }) {
				all = append(all, echo{[]byte(text), enoughOf(text)})
			}
		}
	}
	return all
}
