package search

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// eachMember yields the members of a hit that were not read into its fields,
// as raw JSON. Only the hits that are shown pay for this.
func eachMember(hit *fleet.Hit, known []string, yield func(name, value []byte)) {
	if hit.Raw.Kind() != '{' {
		return
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(hit.Raw), jsontext.AllowDuplicateNames(true))
	if _, err := decoder.ReadToken(); err != nil {
		return
	}
	for decoder.PeekKind() == '"' {
		name, err := decoder.ReadValue()
		if err != nil {
			return
		}
		name = name.Clone() // the decoder uses its memory again
		value, err := decoder.ReadValue()
		if err != nil {
			return
		}
		if !slices.Contains(known, string(text(name))) {
			yield(name, value)
		}
	}
}
