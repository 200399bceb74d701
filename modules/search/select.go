package search

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// selection is who is asked, and who is reported without being asked.
type selection struct {
	ask   []*fleet.Node
	local bool
	// unasked are the nodes that were wanted and cannot be asked.
	unasked []nodeReport
}

// maxNamed is how many unknown names an error repeats.
const maxNamed = 10

// choose takes every node that can search, or the named ones. A name that no
// node has is refused, because the caller would wait for an answer that
// cannot come.
func (h *Handler) choose(snapshot *fleet.Snapshot, names []string) (selection, *badRequest) {
	var chosen selection
	var unknown []string
	for _, name := range names {
		if name == fleet.LocalSlug && h.index != nil {
			continue
		}
		if node := snapshot.Node(name); node == nil || node.AdminState == fleet.AdminPending {
			unknown = append(unknown, clip(name))
		}
	}
	if more := len(unknown) - maxNamed; more > 0 {
		unknown = append(unknown[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	if len(unknown) > 0 {
		return chosen, invalid("nodes", "no such node: %s", strings.Join(unknown, ", "))
	}
	named := func(slug string) bool { return len(names) == 0 || slices.Contains(names, slug) }
	chosen.local = h.index != nil && named(fleet.LocalSlug)
	for _, node := range snapshot.Nodes {
		if !named(node.Slug) {
			continue
		}
		switch {
		case node.AdminState == fleet.AdminPending:
		case node.AdminState == fleet.AdminDisabled && len(names) == 0:
		case !slices.Contains(node.Capabilities, "search"):
			if len(names) > 0 {
				chosen.skip(node, statusSkipped, "has no capability search")
			}
		default:
			if reason := node.Refusal(); reason != "" {
				chosen.skip(node, refusedStatus(reason), reason)
				chosen.unasked[len(chosen.unasked)-1].retryAfter = node.PausedFor()
			} else {
				chosen.ask = append(chosen.ask, node)
			}
		}
	}
	return chosen, nil
}

func (s *selection) skip(node *fleet.Node, status, reason string) {
	s.unasked = append(s.unasked, nodeReport{slug: node.Slug, status: status, reason: reason, weight: node.Weight, required: node.Required})
}
