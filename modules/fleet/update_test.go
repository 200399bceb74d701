package fleet

import (
	"encoding/json"
	"testing"

	"github.com/caddy-federation/caddy-federation/store"
)

func TestUpdateNode(t *testing.T) {
	f := run(t, openEnrollment+"\nnode fixed http://127.0.0.1:1 {\nname Fixed\nweight 2\n}")
	ctx := t.Context()
	if _, err := f.app.Register(ctx, Registration{Name: "Shop", URL: "http://127.0.0.1:9", Capabilities: []string{"search", "rag"}}, enrollSecret, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		slug, change string
		self         bool
		code         string
	}{
		{"shop", `{"description":"Trees"}`, true, ""},
		{"shop", `{"capabilities":["search"]}`, true, ""},
		{"shop", `{"capabilities":["search","rag"]}`, true, CodeNotPermitted}, // it had it, and gave it up
		{"shop", `{"capabilities":null}`, true, CodeInvalid},
		{"shop", `{"capabilities":[]}`, true, CodeInvalid},
		{"shop", `{"name":""}`, true, CodeInvalid},
		{"shop", `{"name":null}`, true, ""},
		{"shop", `{"weight":900}`, true, CodeNotPermitted},
		{"shop", `{"admin_state":"enabled"}`, true, CodeNotPermitted},
		{"shop", `{"url":"http://10.0.0.1"}`, true, CodeURLRefused},
		{"shop", `{"url":"http://127.0.0.1:10"}`, true, ""},
		{"shop", `{"url":null}`, true, CodeInvalid},
		{"shop", `{"url":"http://127.0.0.1/{env.HOME}"}`, false, CodeInvalid},
		{"shop", `{"header_up":{"X-Key":["{env.HOME}"]}}`, false, CodeInvalid},
		{"shop", `{"transport":{"protocol":"http"}}`, false, CodeInvalid},
		{"shop", `{"owner":"x"}`, false, CodeInvalid},
		{"shop", `{"slug":"other"}`, false, CodeInvalid},
		{"shop", `{"weight":"heavy"}`, false, CodeInvalid},
		{"shop", `{"weight":-1}`, false, CodeInvalid},
		{"shop", `{"weight":3,"capabilities":["search","nodes:write"],"timeout":"3s"}`, false, ""},
		{"shop", `{"url":"http://10.0.0.1"}`, false, ""}, // an operator knows
		{"fixed", `{"weight":3}`, false, CodeNodeFixed},
		{"fixed", `{"url":"http://127.0.0.1:2"}`, false, CodeNodeFixed},
		{"fixed", `{"description":"Trees"}`, true, ""},
		{"fixed", `{"admin_state":"draining"}`, false, ""},
		{"nobody", `{"weight":3}`, false, CodeNodeUnknown},
	} {
		var change map[string]json.RawMessage
		if err := json.Unmarshal([]byte(c.change), &change); err != nil {
			t.Fatal(err)
		}
		if _, err := f.app.UpdateNode(ctx, c.slug, change, c.self); code(err) != c.code || c.code == "" && err != nil {
			t.Errorf("%s %s (self %v): %v, expected %q", c.slug, c.change, c.self, err, c.code)
		}
	}
	shop := f.node("shop")
	if shop.Weight != 3 || shop.URL.Host != "10.0.0.1" || shop.guarded || shop.Timeout.Seconds() != 3 || shop.Description != "Trees" {
		t.Errorf("the node is %+v", shop)
	}
	if fixed := f.node("fixed"); fixed.AdminState != AdminDraining || fixed.Description != "Trees" || fixed.Weight != 2 {
		t.Errorf("the node is %+v", fixed)
	}
	if view := shop.View(); view.Weight != 3 || view.Health != HealthUnknown || !view.Available || view.Domains == nil {
		t.Errorf("the view is %+v", view)
	}
	if s := f.app.Statistics(); s.Nodes.Total != 2 || s.Nodes.Available != 1 || s.Nodes.ByAdminState[AdminDraining] != 1 {
		t.Errorf("the statistics are %+v", s)
	}
}

func TestDeleteNode(t *testing.T) {
	f := run(t, openEnrollment+"\nnode fixed http://127.0.0.1:1")
	ctx := t.Context()
	r := Registration{Name: "Shop", URL: "http://127.0.0.1:9"}
	first, err := f.app.Register(ctx, r, enrollSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.store.Requests().Append(ctx, []store.RequestRecord{{Node: "shop"}}); err != nil {
		t.Fatal(err)
	}
	f.app.shared.log.add(store.RequestRecord{Node: "shop"}) // not yet written
	f.app.shared.log.add(store.RequestRecord{Node: "fixed"})
	if err := f.app.DeleteNode(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	for _, queued := range f.app.shared.log.take() {
		if queued.Node == "shop" {
			t.Error("a line of the node is still queued")
		}
	}
	if f.app.Snapshot().Node("shop") != nil {
		t.Error("the node stands")
	}
	if last, err := f.store.Requests().Last(ctx, "shop", 1); err != nil || len(last) != 0 {
		t.Errorf("its calls are still kept: %v %v", last, err)
	}
	if err := f.app.DeleteNode(ctx, "shop"); code(err) != CodeNodeUnknown {
		t.Errorf("deleted twice: %v", err)
	}
	if err := f.app.DeleteNode(ctx, "fixed"); code(err) != CodeNodeFixed {
		t.Errorf("deleted a node of the file: %v", err)
	}
	r.URL = "http://127.0.0.1:10" // the name is free for anybody
	if second, err := f.app.Register(ctx, r, enrollSecret, nil); err != nil || !second.Created || second.Node.ID <= first.Node.ID {
		t.Errorf("registered %+v after id %d: %v", second, first.Node.ID, err)
	}
}

func TestAddNode(t *testing.T) {
	f := run(t, "node fixed http://127.0.0.1:1")
	ctx := t.Context()
	node, err := f.app.AddNode(ctx, NodeConfig{Slug: "shop", URL: "http://10.0.0.1", Capabilities: []string{"search", "nodes:read"}})
	if err != nil || node.guarded || node.ID == 0 {
		t.Fatalf("added %+v: %v", node, err)
	}
	for slug, expected := range map[string]string{"shop": CodeNodeExists, "fixed": CodeNodeExists, "No": CodeInvalid} {
		if _, err := f.app.AddNode(ctx, NodeConfig{Slug: slug, URL: "http://10.0.0.2"}); code(err) != expected {
			t.Errorf("%s: %v", slug, err)
		}
	}
	if _, err := f.app.AddNode(ctx, NodeConfig{Slug: "x", URL: "http://{env.HOME}"}); code(err) != CodeInvalid {
		t.Errorf("a placeholder: %v", err)
	}
}

func TestSlugOf(t *testing.T) {
	for name, slug := range map[string]string{
		"Orchard Shop": "orchard-shop", "Größe & Maß": "grosse-mass", "  Trim  me ": "trim-me", "A_b-c": "a-b-c",
		"Café@Home": "cafe-at-home", "123": "123", "мир": "mir", "---": "", "Node #1 (EU)": "node-1-eu", "UPPER lower": "upper-lower",
	} {
		if got := SlugOf(name); got != slug {
			t.Errorf("%q became %q, expected %q", name, got, slug)
		}
	}
}
