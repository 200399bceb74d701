package fleet

import "testing"

// TestStrangersHearNothingOfNames: where anybody may ask to be a node, a refusal
// does not tell which names exist inside.
func TestStrangersHearNothingOfNames(t *testing.T) {
	f := run(t, "enrollment approval\nnode_urls 10.0.0.0/8")
	said := make(map[string]string)
	for _, url := range []string{"http://no-such-host.invalid", "http://localhost", "http://127.0.0.1"} {
		_, err := f.app.Register(t.Context(), Registration{Name: "Seeds", URL: url, OwnerProof: "a proof of sixteen bytes or more"}, "", nil)
		if code(err) != CodeURLRefused {
			t.Fatalf("%s: %v", url, err)
		}
		said[err.Error()] = url
	}
	if len(said) != 1 {
		t.Errorf("the refusals differ: %v", said)
	}
	if _, err := f.app.Register(t.Context(), Registration{Name: "Seeds", URL: "http://10.0.0.1", OwnerProof: "a proof of sixteen bytes or more"}, "", nil); err != nil {
		t.Error(err)
	}
}
