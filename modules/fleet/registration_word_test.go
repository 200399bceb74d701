package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// TestAnOperatorsWordStaysWithTheName over every way in which a name changes
// hands, until an operator frees it.
func TestAnOperatorsWordStaysWithTheName(t *testing.T) {
	without := openEnrollment + "\n" + twoNodes
	for way, c := range map[string]struct {
		registered bool
		while      string // the Caddyfile between the operator's word and the registration
	}{
		"a registered node loses its name to the Caddyfile": {true, without + "node mill http://127.0.0.1:10"},
		"a registered node is in the Caddyfile":             {true, without + "node mill http://127.0.0.1:9"},
		"one of the Caddyfile leaves it":                    {false, without + "node mill http://127.0.0.1:10"},
	} {
		for _, state := range []AdminState{AdminDisabled, AdminMaintenance, AdminDraining, AdminEnabled} {
			t.Run(way+", "+string(state), func(t *testing.T) {
				f := run(t, without)
				ctx := t.Context()
				reload := func(block string) {
					t.Helper()
					if err := f.reload(block, nil); err != nil {
						t.Fatal(err)
					}
				}
				join := func(proof string) (*Registered, error) {
					return f.app.Register(ctx, Registration{Name: "mill", URL: "http://127.0.0.1:9", OwnerProof: proof,
						Capabilities: []string{"search", "actions", "billing"}}, enrollSecret, nil)
				}
				if c.registered {
					f.squat("mill", "http://127.0.0.1:9", squatProof)
				} else {
					reload(c.while)
				}
				if _, err := f.app.UpdateNode(ctx, "mill", map[string]json.RawMessage{"capabilities": json.RawMessage(`["search"]`)}, ByOperator); err != nil {
					t.Fatal(err)
				}
				if _, err := f.app.SetAdminState(ctx, "mill", state); err != nil {
					t.Fatal(err)
				}
				reload(c.while)
				if got := f.node("mill").AdminState; got != state {
					t.Errorf("in the Caddyfile it is %s", got)
				}
				reload(without)
				for range 2 {
					back, err := join(squatProof)
					if state == AdminDisabled {
						if code(err) != CodeNodeDisabled {
							t.Errorf("registered while the name is disabled: %+v, %v", back, err)
						}
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					if back.Node.AdminState != state || !slices.Equal(back.Node.Capabilities, []string{"search"}) {
						t.Errorf("registered it is %s and may do %v", back.Node.AdminState, back.Node.Capabilities)
					}
				}
				if err := f.app.DeleteNode(ctx, "mill"); err != nil {
					t.Fatal(err)
				}
				if back, err := join("another proof of another node"); err != nil || back.Node.AdminState != AdminEnabled || len(back.Node.Capabilities) != 3 {
					t.Errorf("after an operator freed the name: %+v, %v", back, err)
				}
			})
		}
	}
}

// TestANameIsEnabled that no node has: what held back its next node ends, and
// what it may do at most stays.
func TestANameIsEnabled(t *testing.T) {
	without := openEnrollment + "\n" + twoNodes
	f := run(t, without+"node mill http://127.0.0.1:10")
	ctx := t.Context()
	if err := f.app.EnableName(ctx, "mill"); code(err) != CodeNodeFixed {
		t.Errorf("while a node has the name: %v", err)
	}
	for _, state := range []AdminState{AdminDisabled, AdminDraining} {
		if _, err := f.app.UpdateNode(ctx, "mill", map[string]json.RawMessage{"capabilities": json.RawMessage(`["search"]`)}, ByOperator); err != nil {
			t.Fatal(err)
		}
		if _, err := f.app.SetAdminState(ctx, "mill", state); err != nil {
			t.Fatal(err)
		}
		if err := f.reload(without, nil); err != nil {
			t.Fatal(err)
		}
		if word, err := f.app.WordOnName(ctx, "mill"); err != nil || word == nil || word.State != state || !slices.Equal(word.Limit, []string{"search"}) {
			t.Errorf("the word is %+v, %v", word, err)
		}
		for range 2 { // the second finds nothing to do
			if err := f.app.EnableName(ctx, "mill"); err != nil {
				t.Fatal(err)
			}
		}
		if word, err := f.app.WordOnName(ctx, "mill"); err != nil || word == nil || word.State != "" || !slices.Equal(word.Limit, []string{"search"}) {
			t.Errorf("the word that is left is %+v, %v", word, err)
		}
		back, err := f.app.Register(ctx, Registration{Name: "mill", URL: "http://127.0.0.1:9", OwnerProof: squatProof, Capabilities: []string{"search", "billing"}}, enrollSecret, nil)
		if err != nil || back.Node.AdminState != AdminEnabled || !slices.Equal(back.Node.Capabilities, []string{"search"}) {
			t.Errorf("the next node: %+v, %v", back, err)
		}
		if err := f.reload(without+"node mill http://127.0.0.1:10", nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, unknown := range []string{"nobody", "No Slug"} {
		if err := f.app.EnableName(ctx, unknown); code(err) != CodeNodeUnknown {
			t.Errorf("%q: %v", unknown, err)
		}
	}
}

// TestAnApprovalIsForOneNode: that an operator let one node in, or
// that one waits, says nothing of who has its name later.
func TestAnApprovalIsForOneNode(t *testing.T) {
	approval := "enrollment approval\nnode_urls 127.0.0.0/8\n" + twoNodes
	for _, approved := range []bool{true, false} {
		t.Run(fmt.Sprint("approved ", approved), func(t *testing.T) {
			f := run(t, approval)
			mill := Registration{Name: "mill", URL: "http://127.0.0.1:9", OwnerProof: squatProof}
			if asked, err := f.app.Register(t.Context(), mill, "", nil); err != nil || !asked.Pending {
				t.Fatal(err)
			}
			if approved {
				if _, err := f.app.SetAdminState(t.Context(), "mill", AdminEnabled); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.reload(approval+"node mill http://127.0.0.1:10", nil); err != nil {
				t.Fatal(err)
			}
			if got := f.node("mill").AdminState; got != AdminEnabled {
				t.Errorf("the operator's own is %s", got)
			}
			if err := f.reload(approval, nil); err != nil {
				t.Fatal(err)
			}
			if asked, err := f.app.Register(t.Context(), mill, "", nil); err != nil || !asked.Created || !asked.Pending {
				t.Errorf("who comes then: %+v, %v", asked, err)
			}
		})
	}
}
