package fleet

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestANodeThatComesBackEmptiesNothing: what a registration does not mention
// stays, as an operator wrote it or as the node said it before.
func TestANodeThatComesBackEmptiesNothing(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	bare := Registration{Name: "Mill", URL: "http://127.0.0.1:9", OwnerProof: squatProof}
	said := bare
	said.Version, said.Domains, said.Metadata = "1.0.1", []string{"flour"}, json.RawMessage(`{"region":"north"}`)
	if _, err := f.app.Register(t.Context(), said, enrollSecret, nil); err != nil {
		t.Fatal(err)
	}
	change := map[string]json.RawMessage{
		"description": json.RawMessage(`"Old mill"`), "keywords": json.RawMessage(`["grain"]`), "data_types": json.RawMessage(`["sacks"]`),
		"collections": json.RawMessage(`[{"name":"sacks","class":"Sack"}]`),
	}
	if _, err := f.app.UpdateNode(t.Context(), "mill", change, ByOperator); err != nil {
		t.Fatal(err)
	}
	before := f.node("mill").View()
	again, err := f.app.Register(t.Context(), bare, enrollSecret, nil)
	if err != nil || again.Created {
		t.Fatalf("created anew: %v", err)
	}
	node := again.Node
	if node.Description != "Old mill" || node.Version != "1.0.1" || string(node.Metadata) != `{"region":"north"}` ||
		!slices.Equal(node.Domains, []string{"flour"}) || !slices.Equal(node.Keywords, []string{"grain"}) ||
		!slices.Equal(node.DataTypes, []string{"sacks"}) || len(node.Collections) != 1 {
		t.Errorf("it was %+v, and is %+v", before, node.View())
	}

	said = bare
	said.Description, said.Version, said.Keywords, said.DataTypes = "New mill", "2", []string{"bread"}, []string{}
	said.Collections, said.Metadata = []Collection{}, json.RawMessage(`{}`)
	if again, err = f.app.Register(t.Context(), said, enrollSecret, nil); err != nil {
		t.Fatal(err)
	}
	if node = again.Node; node.Description != "New mill" || node.Version != "2" || string(node.Metadata) != `{}` ||
		!slices.Equal(node.Domains, []string{"flour"}) || !slices.Equal(node.Keywords, []string{"bread"}) ||
		len(node.DataTypes) != 0 || len(node.Collections) != 0 {
		t.Errorf("what it says does not count: %+v", node.View())
	}
}
