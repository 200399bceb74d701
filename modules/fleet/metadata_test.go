package fleet

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestMetadataIsFlatEnoughToRead: a node whose metadata nests thousands of levels
// would make the list of all nodes unreadable for others.
func TestMetadataIsFlatEnoughToRead(t *testing.T) {
	nested := func(levels int) json.RawMessage {
		return json.RawMessage(strings.Repeat(`{"x":`, levels) + `"[[[["` + strings.Repeat("}", levels))
	}
	for _, c := range []struct {
		metadata json.RawMessage
		code     string
	}{
		{nil, ""}, {nested(maxMetadataDepth), ""}, {nested(maxMetadataDepth + 1), CodeInvalid}, {json.RawMessage(`[]`), CodeInvalid},
		{json.RawMessage(`{"x":"` + strings.Repeat("y", maxNodeMetadata) + `"}`), CodeInvalid},
	} {
		if err := CheckMetadata(c.metadata); code(err) != c.code {
			t.Errorf("%.80s: %v, expected %q", c.metadata, err, c.code)
		}
	}
	f := run(t, openEnrollment)
	deep := nested(maxMetadataDepth + 1)
	names := func(err error) bool {
		return code(err) == CodeInvalid && strings.Contains(err.Error(), "metadata") && strings.Contains(err.Error(), "32")
	}
	if _, err := f.app.Register(t.Context(), Registration{Name: "Shop", URL: "http://127.0.0.1:9", Metadata: deep}, enrollSecret, nil); !names(err) {
		t.Errorf("registered: %v", err)
	}
	if _, err := f.app.AddNodeSaying(t.Context(), NodeConfig{Slug: "shop", URL: "http://127.0.0.1:9"}, "", deep); !names(err) {
		t.Errorf("added: %v", err)
	}
	if f.app.Snapshot().Node("shop") != nil {
		t.Fatal("it is there all the same")
	}
	node, err := f.app.AddNodeSaying(t.Context(), NodeConfig{Slug: "shop", URL: "http://127.0.0.1:9"}, "1.2", nested(maxMetadataDepth))
	if err != nil || node.Version != "1.2" || len(node.Metadata) == 0 {
		t.Fatalf("added %+v: %v", node, err)
	}
	for _, by := range []Author{ByOperator, ByManager, ByNode} {
		if _, err := f.app.UpdateNode(t.Context(), "shop", map[string]json.RawMessage{"metadata": deep}, by); !names(err) {
			t.Errorf("changed by %v: %v", by, err)
		}
	}
}
