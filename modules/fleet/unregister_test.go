package fleet

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/caddy-federation/caddy-federation/store"
)

// TestAnOperatorsWordOnAnotherGateway counts for a node before this gateway has
// heard of it: it reads what is stored.
func TestAnOperatorsWordOnAnotherGateway(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	ctx := t.Context()
	says := func(slug string, change func(*nodeRecord)) {
		t.Helper()
		nodes := f.app.Store().Nodes()
		for {
			stands, err := nodes.Get(ctx, slug)
			if err != nil {
				t.Fatal(err)
			}
			record, err := readNodeRecord(stands)
			if err != nil {
				t.Fatal(err)
			}
			change(&record)
			if stands.Data, err = record.encode(); err != nil {
				t.Fatal(err)
			}
			if _, err = nodes.Put(ctx, stands); err == nil {
				return
			} else if !errors.Is(err, store.ErrConflict) {
				t.Fatal(err)
			}
		}
	}
	f.squat("held", "http://127.0.0.1:9", squatProof)
	says("held", func(n *nodeRecord) { n.AdminState = AdminDisabled })
	if err := f.app.LeaveNode(ctx, "held"); code(err) != CodeNotPermitted {
		t.Errorf("a disabled node leaves: %v", err)
	}
	if _, err := f.app.Register(ctx, Registration{Name: "held", URL: "http://127.0.0.1:9", OwnerProof: squatProof}, enrollSecret, nil); code(err) != CodeNodeDisabled {
		t.Errorf("a disabled node registers: %v", err)
	}
	for i, capabilities := range [][]string{{"search"}, {"search", "actions"}, {"search"}, {"actions"}} {
		slug := "limited" + string(rune('a'+i))
		f.squat(slug, "http://127.0.0.1:9", squatProof)
		says(slug, func(n *nodeRecord) { n.Capabilities, n.Limit = capabilities, capabilities })
		r, err := f.app.Register(ctx, Registration{Name: slug, URL: "http://127.0.0.1:9", OwnerProof: squatProof, Capabilities: []string{"search", "actions"}}, enrollSecret, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(r.Node.Capabilities, capabilities) {
			t.Errorf("%s may do %v, expected %v", slug, r.Node.Capabilities, capabilities)
		}
	}
	if _, err := f.app.UpdateNode(ctx, "held", map[string]json.RawMessage{"admin_state": json.RawMessage(`"enabled"`)}, ByOperator); err != nil {
		t.Fatal(err)
	}
	if err := f.app.LeaveNode(ctx, "held"); err != nil {
		t.Errorf("an enabled node cannot leave: %v", err)
	}
}
