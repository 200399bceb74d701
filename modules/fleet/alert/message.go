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

// split makes messages of at most so many notices, what is worst first; 0: of
// any number, of which many are a summary. It notes what is named in one that
// it begins, so that it is named in one that it is over.
func (s *State) split(route, most int, now time.Time, notices []Notice, unfollowed int) (messages []Message) {
	slices.SortFunc(notices, func(a, b Notice) int {
		if firing := a.Ended.IsZero(); firing != b.Ended.IsZero() {
			if firing {
				return -1
			}
			return 1
		} else if !firing && a.Named != b.Named {
			if a.Named {
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
	var parts [][]Notice
	if most > 0 {
		parts = slices.Collect(slices.Chunk(notices, most))
	} else {
		parts = summaries(notices)
	}
	for _, part := range parts {
		m := Message{Route: route, Created: now, Notices: part, Unfollowed: unfollowed}
		if unfollowed = 0; most <= 0 {
			s.name(m)
		}
		messages = append(messages, m)
	}
	return messages
}

// summaries takes the ends of what was named out of a summary that would not
// name them.
func summaries(notices []Notice) (parts [][]Notice) {
	named := func(n Notice) bool { return !n.Ended.IsZero() && n.Named }
	from, to := slices.IndexFunc(notices, named), len(notices)
	for ; to > 0 && !named(notices[to-1]); to-- {
	}
	rest := notices
	if len(notices) > StormAbove && from >= 0 && to > StormListed {
		rest = slices.Concat(notices[:from], notices[to:])
		parts = slices.Collect(slices.Chunk(notices[from:to], StormAbove))
	}
	if len(rest) > 0 {
		parts = slices.Insert(parts, 0, rest)
	}
	return parts
}

// name notes which alerts a message names as firing.
func (s *State) name(m Message) {
	notices, _ := m.listed()
	for _, n := range notices {
		if a := s.Alerts[n.Key()]; a != nil && n.Ended.IsZero() {
			a.Named = true
		}
	}
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
