package fleet

import "testing"

// TestAProofIsKeptWhileTheCaddyfileHasTheNode: it counts for nothing meanwhile,
// and alone gives the identity back once the name has left the file.
func TestAProofIsKeptWhileTheCaddyfileHasTheNode(t *testing.T) {
	for _, enrolled := range []string{openEnrollment, "enrollment approval\nnode_urls 127.0.0.0/8"} {
		t.Run(enrolled, func(t *testing.T) {
			f := run(t, openEnrollment+"\n"+twoNodes)
			mill := Registration{Name: "mill", URL: "http://127.0.0.1:9", OwnerProof: squatProof}
			f.squat("mill", mill.URL, squatProof)
			id := f.node("mill").ID
			for range 2 { // it comes and goes
				if err := f.reload(openEnrollment+"\n"+twoNodes+"node mill http://127.0.0.1:9", nil); err != nil {
					t.Fatal(err)
				}
				for _, proof := range []string{squatProof, "", "another proof of another node"} { // known by its place
					r := mill
					r.OwnerProof = proof
					if back, err := f.app.Register(t.Context(), r, enrollSecret, nil); err != nil || back.Node.ID != id {
						t.Errorf("while the file has it, with proof %q: %v", proof, err)
					}
				}
				if err := f.reload(enrolled+"\n"+twoNodes, nil); err != nil {
					t.Fatal(err)
				}
				for _, proof := range []string{"", "another proof of another node"} {
					r := mill
					r.OwnerProof = proof
					if back, err := f.app.Register(t.Context(), r, enrollSecret, nil); code(err) != CodeNodeExists {
						t.Errorf("after it left the file, with proof %q: %+v, %v", proof, back, err)
					}
				}
				moved := mill
				moved.URL = "http://127.0.0.1:10"
				for _, r := range []Registration{moved, mill} {
					if back, err := f.app.Register(t.Context(), r, enrollSecret, nil); err != nil || back.Created || back.Node.ID != id {
						t.Errorf("after it left the file, at %s with its proof: %+v, %v", r.URL, back, err)
					}
				}
			}
		})
	}
}
