package alert

import (
	"strconv"
	"strings"
	"unicode"
)

// The longest texts, in characters. What is longer is cut.
const (
	maxReason = 400
	maxName   = 200
	// maxDedupKey is what PagerDuty takes.
	maxDedupKey = 255
)

// Clean makes text of a stranger fit for a message: valid UTF-8 on one line,
// without characters that control or hide, of at most so many characters.
func Clean(text string, most int) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.Is(unicode.Cf, r):
			return -1
		default:
			return r
		}
	}, text)), " ")
	if len(text) <= most {
		return text
	}
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

func number(n int) string { return strconv.Itoa(n) }

// The statuses of a notice.
const (
	firing   = "firing"
	resolved = "resolved"
)

// Status is firing or resolved.
func (n Notice) Status() string {
	if n.Ended.IsZero() {
		return firing
	}
	return resolved
}

// Summary says in one sentence what is wrong, or that it is over.
func (n Notice) Summary() string {
	begins, ends := "", ""
	node := "node " + n.Node
	machine := "gateway " + n.Host
	if n.Host == "" {
		machine = "gateway " + n.Gateway
	}
	switch n.Kind {
	case NodeDown:
		begins, ends = node+" is down", node+" is no longer down"
	case Flapping:
		begins, ends = node+" goes up and down too often and is left out", node+" no longer goes up and down"
	case BreakerOpen:
		begins, ends = "the circuit breaker of "+node+" is open", "the circuit breaker of "+node+" is no longer open"
	case StoreDown:
		begins, ends = machine+" cannot use its store", machine+" can use its store again"
	case ProberUnhealthy:
		begins, ends = machine+" does not believe its health checks", machine+" believes its health checks again"
	case ActionStuck:
		begins, ends = "action "+n.Action+" is stuck", "action "+n.Action+" is no longer stuck"
	case RefreshReplayed:
		begins = "a refresh token of " + node + " was used again after it was replaced; its tokens are revoked"
	case Test:
		begins = "this is a test, nothing is wrong"
	default:
		begins, ends = string(n.Kind), string(n.Kind)+" is over"
	}
	if n.Gone && n.Kind == StoreDown {
		ends = machine + " is gone, and what it may have told of its store is over"
	}
	if n.Gone && n.Kind == ProberUnhealthy {
		ends = machine + " is gone, and what it may have told of its health checks is over"
	}
	text := begins
	if !n.Ended.IsZero() {
		text = ends
	}
	if n.Repeated {
		text = strings.Replace(text, " is ", " is still ", 1)
	}
	return Clean(text, maxName)
}
