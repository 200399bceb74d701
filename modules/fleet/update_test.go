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
		by           Author
		code         string
	}{
		{"shop", `{"description":"Trees"}`, ByNode, ""},
		{"shop", `{"capabilities":["search"]}`, ByNode, ""},
		{"shop", `{"capabilities":["search","rag"]}`, ByNode, CodeNotPermitted}, // it had it, and gave it up
		{"shop", `{"capabilities":null}`, ByNode, CodeInvalid},
		{"shop", `{"capabilities":[]}`, ByNode, CodeInvalid},
		{"shop", `{"name":""}`, ByNode, CodeInvalid},
		{"shop", `{"name":null}`, ByNode, ""},
		{"shop", `{"weight":900}`, ByNode, CodeNotPermitted},
		{"shop", `{"admin_state":"enabled"}`, ByNode, CodeNotPermitted},
		{"shop", `{"url":"http://10.0.0.1"}`, ByNode, CodeURLRefused},
		{"shop", `{"url":"http://127.0.0.1:10"}`, ByNode, ""},
		{"shop", `{"url":null}`, ByNode, CodeInvalid},
		{"shop", `{"url":"http://127.0.0.1/{env.HOME}"}`, ByOperator, CodeInvalid},
		{"shop", `{"header_up":{"X-Key":["{env.HOME}"]}}`, ByOperator, CodeInvalid},
		{"shop", `{"transport":{"protocol":"http"}}`, ByOperator, CodeInvalid},
		{"shop", `{"owner":"x"}`, ByOperator, CodeInvalid},
		{"shop", `{"slug":"other"}`, ByOperator, CodeInvalid},
		{"shop", `{"weight":"heavy"}`, ByOperator, CodeInvalid},
		{"shop", `{"weight":-1}`, ByOperator, CodeInvalid},
		{"shop", `{"weight":3,"capabilities":["search","nodes:write"],"timeout":"3s"}`, ByOperator, ""},
		{"shop", `{"url":"http://10.0.0.1"}`, ByOperator, ""}, // an operator knows
		{"fixed", `{"weight":3}`, ByOperator, CodeNodeFixed},
		{"fixed", `{"url":"http://127.0.0.1:2"}`, ByOperator, CodeNodeFixed},
		{"fixed", `{"description":"Trees"}`, ByNode, ""},
		{"fixed", `{"admin_state":"draining"}`, ByOperator, ""},
		{"nobody", `{"weight":3}`, ByOperator, CodeNodeUnknown},
	} {
		var change map[string]json.RawMessage
		if err := json.Unmarshal([]byte(c.change), &change); err != nil {
			t.Fatal(err)
		}
		if _, err := f.app.UpdateNode(ctx, c.slug, change, c.by); code(err) != c.code || c.code == "" && err != nil {
			t.Errorf("%s %s (by %v): %v, expected %q", c.slug, c.change, c.by, err, c.code)
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

// TestAManagerGetsAtNoNodeWithPower: a caller with nodes:write that could have
// such a node called elsewhere would be sent what proves the gateway to it, and
// with that be the node.
func TestAManagerGetsAtNoNodeWithPower(t *testing.T) {
	f := run(t, openEnrollment+"\nnode fixed http://127.0.0.1:1 {\ncapabilities search tokens\n}\nnode_defaults {\ncapabilities search nodes:read\n}")
	ctx := t.Context()
	for slug, capabilities := range map[string][]string{"vault": {"search", "tokens"}, "shop": {"search"}} {
		if _, err := f.app.AddNode(ctx, NodeConfig{Slug: slug, URL: "http://10.0.0.1", Capabilities: capabilities}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ slug, change, code string }{
		{"vault", `{"url":"http://10.0.0.2"}`, CodeNotPermitted},
		{"vault", `{"name":"Vault"}`, CodeNotPermitted},
		{"vault", `{"dialect":{"dialect":"gateway"}}`, CodeNotPermitted},
		{"vault", `{"credentials":{"type":"none"}}`, CodeNotPermitted},
		{"vault", `{"subject":"7"}`, CodeNotPermitted},
		{"vault", `{"header_up":{"Host":["10.0.0.2"]}}`, CodeNotPermitted},
		{"vault", `{"capabilities":["search"],"url":"http://10.0.0.2"}`, CodeNotPermitted},
		{"vault", `{"capabilities":["search","tokens","nodes:write"]}`, CodeNotPermitted},
		{"fixed", `{"dialect":{"dialect":"gateway"}}`, CodeNotPermitted},
		{"fixed", `{"url":"http://10.0.0.2"}`, CodeNodeFixed},
		{"vault", `{"weight":2,"capabilities":["search","tokens"]}`, ""},
		{"shop", `{"url":"http://10.0.0.2","name":"Shop","dialect":{"dialect":"gateway"},"credentials":{"type":"none"}}`, ""},
		{"shop", `{"capabilities":["tokens"]}`, CodeNotPermitted},
		{"shop", `{"capabilities":null}`, CodeNotPermitted}, // the default has power here
		{"vault", `{"capabilities":["search"]}`, ""},
		{"vault", `{"url":"http://10.0.0.2"}`, ""}, // it has no power any more
		{"vault", `{"capabilities":["search","tokens"]}`, CodeNotPermitted},
	} {
		var change map[string]json.RawMessage
		if err := json.Unmarshal([]byte(c.change), &change); err != nil {
			t.Fatal(err)
		}
		if _, err := f.app.UpdateNode(ctx, c.slug, change, ByManager); code(err) != c.code || c.code == "" && err != nil {
			t.Errorf("%s %s: %v, expected %q", c.slug, c.change, err, c.code)
		}
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
