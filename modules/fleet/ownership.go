package fleet

import (
	"slices"
	"strings"
)

// Owner returns the node that holds a collection, or nil: the rules are the
// old master's, so that a fleet is routed as before. The name is tried as it
// is, as its base name, in lower case, and in singular and plural; for each,
// the first node in the order of their ids that lists it owns it.
func (s *Snapshot) Owner(collection string) *Node {
	nodes := slices.Clone(s.Nodes)
	slices.SortFunc(nodes, func(a, b *Node) int { return int(a.ID - b.ID) })
	for _, name := range ownershipCandidates(collection) {
		for _, node := range nodes {
			if owns(node.heldCollections(), name) {
				return node
			}
		}
	}
	return nil
}

// heldCollections are the declared ones, else those the node told of.
func (n *Node) heldCollections() []Collection {
	if len(n.Collections) > 0 {
		return n.Collections
	}
	if facts := n.Facts(); facts != nil {
		return facts.Collections
	}
	return nil
}

// ownershipCandidates are the names that a collection is looked for under.
func ownershipCandidates(collection string) []string {
	if collection = strings.TrimSpace(collection); collection == "" {
		return nil
	}
	base := baseName(collection)
	lower := strings.ToLower(base)
	singular := strings.TrimRight(lower, "s") // also of "address", as the old master has it
	var names []string
	for _, name := range []string{collection, base, lower, singular, singular + "s"} {
		if name != "" && name != "s" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// owns tells whether a list of collections has one. Entries with a class are
// compared in any case and number, mere names by their exact base name.
func owns(collections []Collection, asked string) bool {
	base := baseName(asked)
	lower := strings.ToLower(base)
	for _, c := range collections {
		name := strings.ToLower(c.Name)
		if c.Class == "" {
			if c.Name == asked || baseName(c.Name) == base || sameButForS(name, lower) {
				return true
			}
			continue
		}
		if c.Class == asked || sameButForS(name, lower) {
			return true
		}
	}
	return false
}

func sameButForS(a, b string) bool { return a == b || a+"s" == b || a == b+"s" }

// baseName is the last part of a class name.
func baseName(class string) string { return class[strings.LastIndexByte(class, '\\')+1:] }
