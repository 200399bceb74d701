package fleet

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// TestANodeWithItsOwnKeyShowsIt: the enrollment secret, which all nodes know,
// is not enough to be one that has a key of its own.
func TestANodeWithItsOwnKeyShowsIt(t *testing.T) {
	f := run(t, openEnrollment+"\nkey main hs256 \""+testSecret+"\"\nnode shop http://127.0.0.1:9 {\nkey shop-1 hs256 \""+shopSecret+"\"\n}")
	r := Registration{Name: "Shop", URL: "http://127.0.0.1:9"}
	if _, err := f.app.Register(t.Context(), r, enrollSecret, nil); code(err) != CodeNodeExists {
		t.Errorf("by the enrollment secret alone: %v", err)
	}
	as := f.authenticates(mint(t, "shop-1", shopSecret, func(jwt.MapClaims) {}), "shop")
	registered, err := f.app.Register(t.Context(), r, enrollSecret, as)
	if err != nil || registered.Created {
		t.Fatalf("by its own key: %v", err)
	}
	pair, err := f.app.IssueRegistered(t.Context(), registered)
	if err != nil {
		t.Fatal(err)
	}
	f.authenticates(pair.AccessToken, "shop")
}

// TestAURLAddsNoProof: who shows the URL alone cannot lock out a node that came
// without a proof. The node itself can take one.
func TestAURLAddsNoProof(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	ctx := t.Context()
	bare := Registration{Name: "Mill", URL: "http://127.0.0.1:9"}
	first, err := f.app.Register(ctx, bare, enrollSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	proved := bare
	proved.OwnerProof = squatProof
	if _, err := f.app.Register(ctx, proved, enrollSecret, nil); err != nil {
		t.Fatal(err)
	}
	if again, err := f.app.Register(ctx, bare, enrollSecret, nil); err != nil || again.Node.ID != first.Node.ID {
		t.Errorf("after a crash: %v", err)
	}
	pair, err := f.app.IssueRegistered(ctx, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.app.Register(ctx, proved, enrollSecret, f.authenticates(pair.AccessToken, "mill")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.app.Register(ctx, bare, enrollSecret, nil); code(err) != CodeNodeExists {
		t.Errorf("without the proof that it took: %v", err)
	}
	if _, err := f.app.Register(ctx, proved, enrollSecret, nil); err != nil {
		t.Errorf("with it: %v", err)
	}
}

// TestALimitStaysWithTheName: a node does not get rid of what an operator said
// by leaving, until the operator removes the name.
func TestALimitStaysWithTheName(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	ctx := t.Context()
	join := func(proof string, capabilities ...string) (*Registered, error) {
		return f.app.Register(ctx, Registration{Name: "Mill", URL: "http://127.0.0.1:9", OwnerProof: proof, Capabilities: capabilities}, enrollSecret, nil)
	}
	first, err := join(squatProof)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.app.UpdateNode(ctx, "mill", map[string]json.RawMessage{"capabilities": json.RawMessage(`["search"]`)}, ByOperator); err != nil {
		t.Fatal(err)
	}
	last := first.Node.ID
	for range 2 {
		if err := f.app.LeaveNode(ctx, "mill"); err != nil {
			t.Fatal(err)
		}
		if f.app.Snapshot().Node("mill") != nil {
			t.Fatal("it is still there")
		}
		if err := f.reload(openEnrollment+"\n"+twoNodes, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := join("another proof of somebody else", "billing"); code(err) != CodeNotPermitted {
			t.Errorf("beyond the limit: %v", err)
		}
		if _, err := f.app.UpdateNode(ctx, "mill", map[string]json.RawMessage{"weight": json.RawMessage(`2`)}, ByOperator); code(err) != CodeNodeUnknown {
			t.Errorf("changed a node that has left: %v", err)
		}
		for _, wish := range [][]string{{"search", "actions", "billing"}, nil} {
			back, err := join(squatProof, wish...)
			if err != nil || !slices.Equal(back.Node.Capabilities, []string{"search"}) {
				t.Fatalf("it came back as %+v: %v", back, err)
			}
			if back.Created && back.Node.ID == last {
				t.Error("it has its old number")
			}
			last = back.Node.ID
		}
	}
	if said := f.errors(); said != nil {
		t.Errorf("the log says %q", said)
	}
	// the operator's word ends it, before or after the node left
	if err := f.app.LeaveNode(ctx, "mill"); err != nil {
		t.Fatal(err)
	}
	if err := f.app.DeleteNode(ctx, "mill"); err != nil {
		t.Fatal(err)
	}
	if back, err := join(squatProof, "search", "billing"); err != nil || len(back.Node.Capabilities) != 2 {
		t.Errorf("after its removal %+v: %v", back, err)
	}
	// one that nobody limited leaves nothing
	if err := f.app.LeaveNode(ctx, "mill"); err != nil {
		t.Fatal(err)
	}
	if named, err := f.app.Named(ctx, "mill"); err != nil || named {
		t.Errorf("it left its name behind: %v", err)
	}
	if _, err := f.app.AddNode(ctx, NodeConfig{Slug: "mill", URL: "http://127.0.0.1:9"}); err != nil {
		t.Errorf("an operator adds it: %v", err)
	}
}
