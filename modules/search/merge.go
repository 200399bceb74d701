package search

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/search/dedup"
	"github.com/caddy-federation/caddy-federation/modules/search/fusion"
)

// copyOf is one node's copy of a document.
type copyOf struct {
	list int // index into merged.reports
	rank int // the node's, from 1
	hit  *fleet.Hit
}

// document is one distinct document of the merge: its copies, best first.
type document struct {
	score  float64
	copies []copyOf
}

// merged is the outcome of a merge.
type merged struct {
	documents []document // best first
	removed   int        // copies beyond the first
	shared    int        // documents that two or more nodes returned
}

// overlap is the share of documents that two or more nodes returned.
func (m *merged) overlap() float64 {
	if len(m.documents) == 0 {
		return 0
	}
	return float64(m.shared) / float64(len(m.documents))
}

// merge puts the answers together. reports are in a fixed order, so the
// result does not depend on which node was first.
func merge(reports []nodeReport, method fusion.Method, deduplicate bool) merged {
	total := 0
	for i := range reports {
		if reports[i].answered() {
			total += len(reports[i].answer.Hits)
		}
	}
	all := make([]copyOf, 0, total)
	for i := range reports {
		if !reports[i].answered() {
			continue
		}
		for j := range reports[i].answer.Hits {
			all = append(all, copyOf{list: i, rank: j + 1, hit: &reports[i].answer.Hits[j]})
		}
	}
	groups, count := identify(all, deduplicate)

	lists := make([]fusion.List, len(reports))
	items := make([]fusion.Item, len(all))
	for i, c := range all {
		items[i] = fusion.Item{Document: groups[i], Score: c.hit.Score, HasScore: c.hit.HasScore}
	}
	result := merged{}
	rest := items
	for i := range reports {
		lists[i].Weight = reports[i].weight
		if answer := reports[i].answer; answer != nil {
			lists[i].Items, rest = rest[:len(answer.Hits)], rest[len(answer.Hits):]
		}
	}
	result.documents = gather(all, groups, count)
	for i, score := range method(lists, count) {
		result.documents[i].score = score
	}
	result.removed = total - count
	for i := range result.documents {
		if result.documents[i].arrange() {
			result.shared++
		}
	}
	slices.SortStableFunc(result.documents, func(a, b document) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		default: // the better rank, then the order of the nodes
			return a.copies[0].rank - b.copies[0].rank
		}
	})
	return result
}

// identify numbers the distinct documents.
func identify(all []copyOf, deduplicate bool) (groups []int, count int) {
	if !deduplicate {
		groups = make([]int, len(all))
		for i := range groups {
			groups[i] = i
		}
		return groups, len(all)
	}
	documents := make([]dedup.Document, len(all))
	for i, c := range all {
		documents[i] = dedup.Document{URL: text(c.hit.URL), Content: text(c.hit.Content)}
	}
	return dedup.Exact(documents)
}

// text returns what a JSON string says, without copying where it can.
func text(value jsontext.Value) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	if bytes.IndexByte(value, '\\') >= 0 {
		unquoted, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return nil
		}
		return unquoted
	}
	return value[1 : len(value)-1]
}

// gather sorts the copies into their documents, with one allocation for all copies.
func gather(all []copyOf, groups []int, count int) []document {
	documents := make([]document, count)
	sizes := make([]int, count)
	for _, g := range groups {
		sizes[g]++
	}
	pool := make([]copyOf, len(all))
	for g, n := range sizes {
		documents[g].copies, pool = pool[:0:n], pool[n:]
	}
	for i, c := range all {
		d := &documents[groups[i]]
		d.copies = append(d.copies, c)
	}
	return documents
}

// arrange puts the best copy first (the best rank, then the order of the
// nodes) and keeps one copy per node. It tells whether several nodes had the
// document.
func (d *document) arrange() bool {
	if len(d.copies) == 1 {
		return false
	}
	// copies are in the order of the nodes, each node's best first
	d.copies = slices.CompactFunc(d.copies, func(a, b copyOf) bool { return a.list == b.list })
	slices.SortStableFunc(d.copies, func(a, b copyOf) int { return a.rank - b.rank })
	return len(d.copies) > 1
}
