package fleet

import (
	"bytes"
	"regexp"
	"strings"
)

// redacted stands where a node repeated a secret.
const redacted = "REDACTED"

// jwtShape finds a JWT, which is signed anew now and then, in any letters, also
// one that was cut off behind the beginning of its payload.
var jwtShape = regexp.MustCompile(`(?i)\beyJ[A-Z0-9_-]{8,}\.(eyJ[A-Z0-9_-]|[A-Z0-9_-]{8,}\.)`)

// withoutEcho takes out of a report what the gateway sent the node as a secret,
// and every JWT: a node that repeats it, by mistake or not, does not have it
// logged and shown. Health and the words for it may be in other letters.
func (r *Report) withoutEcho(secrets []string) {
	clean := func(text *string) {
		if jwtShape.MatchString(*text) {
			*text = redacted
			return
		}
		lower := strings.ToLower(*text)
		for _, secret := range secrets {
			if strings.Contains(lower, strings.ToLower(secret)) {
				*text = redacted
				return
			}
		}
	}
	for _, text := range []*string{&r.Reason, &r.Name, &r.Version, &r.Description} {
		clean(text)
	}
	for _, list := range [][]string{r.Capabilities, r.Domains, r.DataTypes, r.Keywords} {
		for i := range list {
			clean(&list[i])
		}
	}
	for i := range r.Collections {
		clean(&r.Collections[i].Name)
		clean(&r.Collections[i].Class)
	}
}

// withoutEchoes takes out of a node's answer what the gateway sent it as a
// secret, in the strings of its JSON alone, so that it stays what it was: a
// caller, a log or a later call of somebody else must not get it. It looks for
// nothing where nothing was sent, and for a token that is signed anew not in the
// results of a search, which are many and go by the thousand.
func (n *Node) withoutEchoes(kind string, body []byte) []byte {
	echoes := n.echoes
	if signed, ok := n.credential.(*jwtCredential); ok && kind != kindSearch {
		echoes = append(echoes[:len(echoes):len(echoes)], signed.echoes()...)
	}
	for _, echo := range echoes {
		if bytes.Contains(body, echo) {
			return withoutTexts(body, echoes)
		}
	}
	return body
}

// withoutTexts replaces the texts in the strings of JSON.
func withoutTexts(body []byte, texts [][]byte) []byte {
	clean := make([]byte, 0, len(body))
	for len(body) > 0 {
		start := bytes.IndexByte(body, '"') + 1
		end := stringEnd(body, start)
		if start == 0 || end < 0 {
			break
		}
		inside := body[start:end]
		clean = append(clean, body[:start]...)
		for _, text := range texts {
			inside = bytes.ReplaceAll(inside, text, []byte(redacted))
		}
		clean, body = append(append(clean, inside...), '"'), body[end+1:]
	}
	return append(clean, body...)
}
