package importing

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// metadataReason says why a node cannot have the metadata, or is empty.
func metadataReason(metadata json.RawMessage) string {
	var refused *fleet.NodeError
	if errors.As(fleet.CheckMetadata(metadata), &refused) {
		return "cannot be kept: " + refused.Detail
	}
	return ""
}

// Check looks at desired nodes that came from somewhere else than [Normalize],
// and splits them into those that can be imported and what is wrong with the
// others.
func Check(desired []Desired) (valid []Desired, invalid []Remark) {
	seen := make(map[string]bool, len(desired))
	for _, d := range desired {
		remark := Remark{Row: d.Row, Slug: d.Node.Slug, Field: "record"}
		err := d.Node.Validate()
		unknown := slices.IndexFunc(d.Set, func(name string) bool {
			return !slices.ContainsFunc(settings, func(s setting) bool { return s.name == name })
		})
		switch {
		case err != nil:
			remark.Reason = strings.TrimPrefix(err.Error(), fmt.Sprintf("node %q: ", d.Node.Slug))
		case strings.ContainsAny(d.Node.URL, "{}"):
			remark.Field, remark.Reason = "url", "the url has a brace: placeholders are for the Caddyfile"
		case seen[d.Node.Slug]:
			remark.Field, remark.Reason = "slug", "another row has the same slug"
		case unknown >= 0:
			remark.Field, remark.Reason = cleanText(shortened(d.Set[unknown])), "is no setting that can be imported"
		case fleet.CheckMetadata(d.Node.Metadata) != nil:
			remark.Field, remark.Reason = "metadata", metadataReason(d.Node.Metadata)
		case len(d.Node.Version) > maxWord:
			remark.Field, remark.Reason = "version", fmt.Sprintf("is longer than %d bytes", maxWord)
		default:
			seen[d.Node.Slug] = true
			valid = append(valid, d)
			continue
		}
		invalid = append(invalid, remark)
	}
	return valid, invalid
}
