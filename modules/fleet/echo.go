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
			if strings.Contains(lower, strings.ToLower(secret[:enoughOf(secret)])) {
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

// echo is a text that a node must not repeat, also without its end, which
// somebody may have cut off.
type echo struct {
	text  []byte
	least int // so much of it is enough
}

// withoutEchoes takes out of a node's answer what the gateway sent it as a
// secret, in the strings of its JSON alone, so that it stays what it was: a
// caller, a log or a later call of somebody else must not get it. It looks for
// nothing where nothing was sent.
func (n *Node) withoutEchoes(body []byte) []byte {
	if echoed(body, n.echoes) {
		body = withoutTexts(body, n.echoes)
	}
	if signed, ok := n.credential.(*jwtCredential); ok && bytes.Contains(body, jwtMark) {
		if e, sent := signed.echo(); sent && echoed(body, []echo{e}) {
			body = withoutTexts(body, []echo{e})
		}
	}
	return body
}

// jwtMark begins every JWT. It is short enough to be looked for in one pass
// over an answer that has none, as nearly all have.
var jwtMark = []byte("eyJ")

func echoed(body []byte, echoes []echo) bool {
	for _, e := range echoes {
		if bytes.Contains(body, e.text[:e.least]) {
			return true
		}
	}
	return false
}

// withoutTexts takes the echoes out of the strings of JSON.
func withoutTexts(body []byte, echoes []echo) []byte {
	clean := make([]byte, 0, len(body))
	for len(body) > 0 {
		start := bytes.IndexByte(body, '"') + 1
		end := stringEnd(body, start)
		if start == 0 || end < 0 {
			break
		}
		clean = append(clean, body[:start]...)
		inside := body[start:end]
		for len(inside) > 0 {
			at, length := firstEcho(inside, echoes)
			clean = append(clean, inside[:at]...)
			if length > 0 {
				clean = append(clean, redacted...)
			}
			inside = inside[at+length:]
		}
		clean, body = append(clean, '"'), body[end+1:]
	}
	return append(clean, body...)
}

// firstEcho finds the first echo in a text, as long as any spelling of it goes;
// without one its place is the end.
func firstEcho(text []byte, echoes []echo) (at, length int) {
	at = len(text)
	for _, e := range echoes {
		found := bytes.Index(text[:min(len(text), at+e.least)], e.text[:e.least])
		if found < 0 {
			continue
		}
		common := e.least
		for common < min(len(text)-found, len(e.text)) && text[found+common] == e.text[common] {
			common++
		}
		if found < at || common > length {
			at, length = found, common
		}
	}
	return at, length
}
