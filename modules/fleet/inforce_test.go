package fleet

import (
	"testing"
	"time"
)

// TestARefusedConfigTakesNothing: a config of which another app fails to start
// was never an operator's word.
func TestARefusedConfigTakesNothing(t *testing.T) {
	base := openEnrollment + "\n" + twoNodes
	f := run(t, base)
	a := f.adopt(base + "node mill http://127.0.0.1:9")
	gate := f.squat("gate", "http://127.0.0.1:9", squatProof)
	number, milling := f.node("gate").ID, f.node("mill").ID
	f.refused.Store(true)
	if err := f.reload(base+`
		node gate http://127.0.0.1:10
		node mill http://127.0.0.1:9 {
			capabilities search tokens
		}`, nil); err != nil {
		t.Fatal(err)
	}
	if id := f.node("gate").ID; id != 0 {
		t.Errorf("the number %d is not the operator's node's yet", id)
	}
	gate.out()                                                                // of this config, not in the store
	if err := f.app.registry.read(t.Context(), f.store.Nodes()); err != nil { // as after a change
		t.Fatal(err)
	}
	f.refused.Store(false)
	if err := f.reload(base+"node mill http://127.0.0.1:9", nil); err != nil {
		t.Fatal(err)
	}
	if f.node("gate").ID != number || f.node("mill").ID != milling {
		t.Errorf("the numbers are %d and %d, and were %d and %d", f.node("gate").ID, f.node("mill").ID, number, milling)
	}
	f.authenticates(gate.pair.AccessToken, "gate")
	f.authenticates(gate.key, "gate")
	f.authenticates(a.pair.AccessToken, "mill")
	f.authenticates(a.squatter.key, "mill")
	if back, err := f.app.Register(t.Context(), Registration{Name: "gate", URL: "http://127.0.0.1:10", OwnerProof: squatProof}, enrollSecret, nil); err != nil || back.Created {
		t.Errorf("by its proof: %+v, %v", back, err)
	}
	events, err := f.store.Events().Since(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range events {
		if event.Kind == "node_replaced" {
			t.Errorf("the event %+v", event)
		}
	}
}

// TestAConfigTakesItsNamesOnceItIsInForce, which is after its start.
func TestAConfigTakesItsNamesOnceItIsInForce(t *testing.T) {
	base := openEnrollment + "\n" + twoNodes
	f := run(t, base)
	gate := f.squat("gate", "http://127.0.0.1:9", squatProof)
	f.refused.Store(true)
	if err := f.reload(base+"node gate http://127.0.0.1:10", nil); err != nil {
		t.Fatal(err)
	}
	f.refused.Store(false)
	f.happened("node_replaced", "gate")
	for deadline := time.Now().Add(10 * time.Second); f.node("gate").ID == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the operator's node gets no number")
		}
	}
	f.warned("gate")
	gate.out()
}

// TestANodeThatRegistersAfterItLeftTheFile is one that registered again: what an
// operator gave it meanwhile is no node's that the file has elsewhere later.
func TestANodeThatRegistersAfterItLeftTheFile(t *testing.T) {
	base := openEnrollment + "\n" + twoNodes
	for what, block := range map[string]string{
		"elsewhere":  base + "node mill http://127.0.0.1:10",
		"with power": base + "node mill http://127.0.0.1:9 {\ncapabilities search tokens\n}",
	} {
		t.Run(what, func(t *testing.T) {
			f := run(t, base)
			a := f.adopt(base + "node mill http://127.0.0.1:9")
			id := f.node("mill").ID
			if err := f.reload(base, nil); err != nil {
				t.Fatal(err)
			}
			if back, err := f.app.Register(t.Context(), Registration{Name: "mill", URL: "http://127.0.0.1:9", OwnerProof: squatProof}, enrollSecret, nil); err != nil || back.Node.ID != id {
				t.Fatalf("it does not come back: %+v, %v", back, err)
			}
			f.authenticates(a.key, "mill")
			issued := f.issue("mill")
			if err := f.reload(block, nil); err != nil {
				t.Fatal(err)
			}
			if f.node("mill").ID == id {
				t.Error("it has the number of who registered")
			}
			a.out()
			for what, raw := range map[string]string{"key of an operator": a.key, "token of an operator": a.byOperator.AccessToken, "later token": issued.AccessToken} {
				if as, err := f.app.Authenticate(f.Context(), raw, DefaultMethods, AuthPolicy{}); err == nil {
					t.Errorf("the %s is good for %+v", what, as)
				}
			}
		})
	}
}

// TestWhoWaitsForApprovalHoldsNoName: the Caddyfile is an operator's word.
func TestWhoWaitsForApprovalHoldsNoName(t *testing.T) {
	approval := "enrollment approval\nnode_urls 127.0.0.0/8\n" + twoNodes
	f := run(t, approval)
	asked, err := f.app.Register(t.Context(), Registration{Name: "mill", URL: "http://127.0.0.1:9", OwnerProof: squatProof}, "", nil)
	if err != nil || !asked.Pending {
		t.Fatalf("%+v, %v", asked, err)
	}
	if err := f.reload(approval+"node mill http://127.0.0.1:9", nil); err != nil {
		t.Fatal(err)
	}
	if node := f.node("mill"); node.AdminState != AdminEnabled || node.ID == asked.Node.ID || node.ID == 0 {
		t.Errorf("the operator's node is %s and has the number %d of who asked, %d", node.AdminState, node.ID, asked.Node.ID)
	}
	if err := f.reload(approval, nil); err != nil {
		t.Fatal(err)
	}
	if again, err := f.app.Register(t.Context(), Registration{Name: "mill", URL: "http://127.0.0.1:9", OwnerProof: "another proof of another node"}, "", nil); err != nil || !again.Created {
		t.Errorf("the proof of who waited counts: %+v, %v", again, err)
	}
}
