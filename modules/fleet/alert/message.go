package alert

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Message is what one webhook is told at once.
type Message struct {
	// Route is the index of the route that it is for.
	Route   int
	Created time.Time
	Notices []Notice
	// Unfollowed counts alerts that were one too many.
	Unfollowed int
}

// Notice is one alert as it is told.
type Notice struct {
	Alert
	// Repeated is set when its beginning was told before.
	Repeated bool
}

// split makes messages of at most so many notices, what is worst first.
func split(route, most int, now time.Time, notices []Notice, unfollowed int) (messages []Message) {
	slices.SortFunc(notices, func(a, b Notice) int {
		if firing := a.Ended.IsZero(); firing != b.Ended.IsZero() {
			if firing {
				return -1
			}
			return 1
		}
		if c := strings.Compare(a.Kind.Severity(), b.Kind.Severity()); c != 0 { // critical, info, warning
			return c
		}
		if c := a.Began.Compare(b.Began); c != 0 {
			return c
		}
		return strings.Compare(a.Key(), b.Key())
	})
	if most <= 0 {
		most = max(len(notices), 1)
	}
	for chunk := range slices.Chunk(notices, most) {
		messages = append(messages, Message{Route: route, Created: now, Notices: chunk, Unfollowed: unfollowed})
		unfollowed = 0
	}
	return messages
}

// counts counts the notices by status and kind.
func (m Message) counts() map[string]map[Kind]int {
	counts := make(map[string]map[Kind]int)
	for _, n := range m.Notices {
		if counts[n.Status()] == nil {
			counts[n.Status()] = make(map[Kind]int)
		}
		counts[n.Status()][n.Kind]++
	}
	return counts
}

// words writes "2 node_down, 1 flapping".
func words(counts map[Kind]int) string {
	var parts []string
	for _, kind := range slices.SortedFunc(maps.Keys(counts), func(a, b Kind) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(string(a), string(b))
	}) {
		parts = append(parts, number(counts[kind])+" "+string(kind))
	}
	return strings.Join(parts, ", ")
}
