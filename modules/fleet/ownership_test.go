package fleet

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// TestOwnership holds the old master's rules to what it did.
func TestOwnership(t *testing.T) {
	text, err := os.ReadFile("../../testdata/contract/vec_ownership_scoring.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Candidates []struct {
			Collection string
			Candidates []string
		}
		Sets map[string][]json.RawMessage `json:"collection_sets"`
		Owns []struct {
			Collections, Ask string
			Owns             bool
		}
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Candidates) == 0 || len(vectors.Owns) == 0 {
		t.Fatal("there are no vectors")
	}
	for _, c := range vectors.Candidates {
		if got := ownershipCandidates(c.Collection); !slices.Equal(got, c.Candidates) {
			t.Errorf("%q: candidates %q, expected %q", c.Collection, got, c.Candidates)
		}
	}
	for _, c := range vectors.Owns {
		var set []Collection
		for _, entry := range vectors.Sets[c.Collections] {
			var collection Collection
			if json.Unmarshal(entry, &collection.Name) != nil {
				if err := json.Unmarshal(entry, &collection); err != nil {
					t.Fatal(err)
				}
			}
			set = append(set, collection)
		}
		if owns(set, c.Ask) != c.Owns {
			t.Errorf("%s, asked for %q: %v, expected %v", c.Collections, c.Ask, !c.Owns, c.Owns)
		}
	}
}

func TestTheFirstOwnerByID(t *testing.T) {
	second := NewNode("a", Collection{Name: "plant", Class: `App\Models\Plant`})
	first := NewNode("b", Collection{Name: "plants"})
	second.ID, first.ID = 2, 1
	s := &Snapshot{Nodes: []*Node{second, first}}
	for asked, expected := range map[string]*Node{
		`App\Models\Plant`: first, // both match, and the first id wins
		"plants":           first,
		`Seed\Tree`:        nil,
		"order":            nil,
		"":                 nil,
		"s":                nil,
	} {
		if got := s.Owner(asked); got != expected {
			t.Errorf("%q is owned by %v", asked, got)
		}
	}
}
