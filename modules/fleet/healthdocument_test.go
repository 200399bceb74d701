package fleet

import "testing"

// TestWhyNodesAreNotAvailable: those that are out on an operator's word are
// counted as such, and not named as unwell.
func TestWhyNodesAreNotAvailable(t *testing.T) {
	f := run(t, "health off\nnode a http://127.0.0.1:1\nnode b http://127.0.0.1:2\nnode c http://127.0.0.1:3 {\n admin_state maintenance\n}")
	if d := f.app.Examine(true); d.Status != HealthWarn || d.Output != "1 of 3 nodes are not available, 1 of them by the word of an operator" || d.Checks["node:c"] != nil {
		t.Errorf("%+v", d)
	}
	if err := f.node("b").Gate().Force("open", "a test", "", 0); err != nil {
		t.Fatal(err)
	}
	if d := f.app.Examine(true); d.Output != "2 of 3 nodes are not available, 1 of them by the word of an operator" || len(d.Checks["node:b"]) != 1 {
		t.Errorf("%+v", d)
	}
	if err := f.node("a").Gate().Force("open", "a test", "", 0); err != nil {
		t.Fatal(err)
	}
	if d := f.app.Examine(true); d.Status != HealthFail || d.Output != "no node is available" {
		t.Errorf("%+v", d)
	}
}
