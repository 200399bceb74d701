package fleet

import (
	"bytes"
	"encoding/binary"
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
// somebody may have cut off, and in letters of either case.
type echo struct {
	text  []byte // in lower case
	least int    // so much of it is enough
}

func newEcho(text string, least int) echo { return echo{appendLower(nil, []byte(text)), least} }

// appendLower appends a text with A to Z in lower case. Its length stays. It
// takes eight bytes in a step, because whole answers go through it.
func appendLower(b, text []byte) []byte {
	start := len(b)
	b = append(b, text...)
	rest := b[start:]
	for len(rest) >= 8 {
		binary.LittleEndian.PutUint64(rest, lowerEight(binary.LittleEndian.Uint64(rest)))
		rest = rest[8:]
	}
	for i, c := range rest {
		if 'A' <= c && c <= 'Z' {
			rest[i] = c + 'a' - 'A'
		}
	}
	return b
}

// lowerEight is eight bytes in lower case: the sums have the highest bit of each
// byte that is A or above, and above Z, and none carries into the next byte.
func lowerEight(bytes uint64) uint64 {
	const each, high = 0x0101010101010101, 0x8080808080808080
	low := bytes &^ high
	from, above := low+(0x80-'A')*each, low+(0x80-'Z'-1)*each
	return bytes | (from&^above&^bytes&high)>>2
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

// echoBlock is how much of an answer is looked at together, and half of it how
// much of a secret is looked for: all of it is in the processor's first cache.
const echoBlock = 8 << 10

// echoed tells whether there may be an echo in an answer: hardly any has one.
func echoed(body []byte, echoes []echo) bool {
	if len(echoes) == 0 {
		return false
	}
	overlap := 0
	for _, e := range echoes {
		overlap = max(overlap, min(e.least, echoBlock/2)-1)
	}
	var block [echoBlock]byte
	for {
		lower := appendLower(block[:0], body[:min(len(body), echoBlock)])
		for _, e := range echoes {
			if bytes.Contains(lower, e.text[:min(e.least, echoBlock/2)]) {
				return true
			}
		}
		if len(body) <= echoBlock {
			return false
		}
		body = body[echoBlock-overlap:]
	}
}

// withoutTexts takes the echoes out of the strings of JSON.
func withoutTexts(body []byte, echoes []echo) []byte {
	clean, lower := make([]byte, 0, len(body)), appendLower(nil, body)
	for len(body) > 0 {
		start := bytes.IndexByte(body, '"') + 1
		end := stringEnd(body, start)
		if start == 0 || end < 0 {
			break
		}
		clean = append(clean, body[:start]...)
		for start < end {
			at, length := firstEcho(lower[start:end], echoes)
			clean = append(clean, body[start:start+at]...)
			if length > 0 {
				clean = append(clean, redacted...)
			}
			start += at + length
		}
		clean, body, lower = append(clean, '"'), body[end+1:], lower[end+1:]
	}
	return append(clean, body...)
}

// firstEcho finds the first echo in a text in lower case, as long as any
// spelling of it goes; without one its place is the end.
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
