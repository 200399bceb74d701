package fleet

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
)

func taken(slug string) *NodeError {
	return &NodeError{CodeNodeExists, "slug", "a node named " + slug + " exists already and is somebody else's"}
}

// owns refuses who registers and is not who has the node now. It is that one
// by its own token or API key. What an operator placed is known by its place
// besides, every other node by the proof that it gave, or by its URL if it
// never gave one. A URL counts only where the enrollment secret was shown with
// it. It is no secret, so it never stands for a node that has power over
// others, nor for one with a key of its own, which it can show.
func (a *App) owns(record *nodeRecord, r Registration, as *Identity, fixed bool) error {
	number, place, capabilities := int64(0), record.URL, record.Capabilities
	if node := a.Snapshot().Node(r.Slug); node != nil {
		number, capabilities = node.ID, node.Capabilities
		if fixed {
			place = node.URL.String()
		}
	}
	switch {
	case as.isNode(r.Slug, number) && a.Stands(as, ""):
		return nil
	case a.keys.Bound(r.Slug):
		return &NodeError{CodeNodeExists, "slug", "a node named " + r.Slug + " exists already and has a key of its own: " +
			"show a token that is signed with it, or an API key of the node, as bearer token"}
	case !fixed && !record.placed() && record.Owner != "":
		if subtle.ConstantTimeCompare([]byte(r.owner()), []byte(record.Owner)) == 1 {
			return nil
		}
	case a.enrollment.mode == EnrollmentSecret && sameURL(place, r.URL) && !slices.ContainsFunc(capabilities, Privileged):
		return nil
	}
	return taken(r.Slug)
}

// owner is the hash of the node's proof, or empty.
func (r *Registration) owner() string {
	if r.OwnerProof == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("proof\x00" + r.OwnerProof))
	return hex.EncodeToString(sum[:])
}
