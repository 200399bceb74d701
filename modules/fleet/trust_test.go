package fleet

import (
	"encoding/json"
	"strings"
	"testing"
)

// A setting that makes no node is refused before it is written: what is stored
// and cannot be built would be in no snapshot, and nobody could mend it.
func TestASettingThatMakesNoNodeIsNotWritten(t *testing.T) {
	f := run(t, "node fixed http://127.0.0.1:1")
	ctx := t.Context()
	wrong := json.RawMessage(`{"dialect":"nope"}`)
	if _, err := f.app.AddNode(ctx, NodeConfig{Slug: "shop", URL: "http://127.0.0.1:9", DialectRaw: wrong}); code(err) != CodeInvalid {
		t.Errorf("added: %v", err)
	}
	if records, err := f.store.Nodes().List(ctx); err != nil || len(records) != 0 {
		t.Fatalf("written: %v, %v", records, err)
	}
	if _, err := f.app.AddNode(ctx, NodeConfig{Slug: "shop", URL: "http://127.0.0.1:9"}); err != nil {
		t.Fatal(err)
	}
	for change, says := range map[string]string{
		`{"dialect":{"dialect":"nope"}}`:                "dialect: there is no dialect nope, expected one of ",
		`{"credentials":{"type":"nope"}}`:               "credentials",
		`{"credentials":{"type":"jwt"}}`:                "credentials jwt: the federation has no key that may sign",
		`{"dialect":{"dialect":"json","colour":"red"}}`: "its settings do not fit the dialect",
	} {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(change), &members); err != nil {
			t.Fatal(err)
		}
		for _, slug := range []string{"shop", "fixed"} {
			_, err := f.app.UpdateNode(ctx, slug, members, ByOperator)
			if code(err) != CodeInvalid || !strings.Contains(err.Error(), says) {
				t.Errorf("%s of %s: %v", change, slug, err)
			}
			if f.app.Snapshot().Node(slug) == nil {
				t.Fatalf("%s of %s: the node is gone", change, slug)
			}
		}
	}
	if err := f.app.DeleteNode(ctx, "shop"); err != nil {
		t.Error(err)
	}
}

func TestAURLStandsForNoPowerOverOthers(t *testing.T) {
	f := run(t, openEnrollment+"\nnode fixed http://127.0.0.1:1 {\ncapabilities search nodes:write\n}\nnode plain http://127.0.0.1:2")
	ctx := t.Context()
	for slug, capabilities := range map[string][]string{"shop": {"search", "tokens"}, "mill": {"search"}} {
		if _, err := f.app.AddNode(ctx, NodeConfig{Slug: slug, URL: "http://127.0.0.1:9", Capabilities: capabilities}); err != nil {
			t.Fatal(err)
		}
	}
	const proof = "a proof of sixteen bytes or more"
	for slug, url := range map[string]string{"shop": "http://127.0.0.1:9", "fixed": "http://127.0.0.1:1"} {
		r := Registration{Name: "Evil", Slug: slug, URL: url, OwnerProof: proof}
		if _, err := f.app.Register(ctx, r, enrollSecret, nil); code(err) != CodeNodeExists {
			t.Errorf("%s was taken over: %v", slug, err)
		}
		itself := &Identity{ID: slug, NodeID: f.app.Snapshot().Node(slug).ID}
		if again, err := f.app.Register(ctx, r, enrollSecret, itself); err != nil || again.Created {
			t.Errorf("%s did not get in with its own token: %v", slug, err)
		}
	}
	// a node that an operator placed registers by its place, for good
	for slug, url := range map[string]string{"mill": "http://127.0.0.1:9", "plain": "http://127.0.0.1:2"} {
		r := Registration{Name: "Placed", Slug: slug, URL: url, OwnerProof: proof}
		if _, err := f.app.Register(ctx, r, enrollSecret, nil); err != nil {
			t.Fatal(slug, err)
		}
		r.OwnerProof = ""
		if _, err := f.app.Register(ctx, r, enrollSecret, nil); err != nil {
			t.Errorf("%s was shut out by a proof: %v", slug, err)
		}
		r.URL = "http://127.0.0.1:99"
		itself := &Identity{ID: slug, NodeID: f.app.Snapshot().Node(slug).ID}
		if _, err := f.app.Register(ctx, r, enrollSecret, itself); slug == "mill" && code(err) != CodeNotPermitted {
			t.Errorf("%s moved: %v", slug, err)
		}
		if _, err := f.app.UpdateNode(ctx, slug, map[string]json.RawMessage{"url": json.RawMessage(`"http://127.0.0.1:99"`)}, ByNode); code(err) != CodeNotPermitted && code(err) != CodeNodeFixed {
			t.Errorf("%s moved: %v", slug, err)
		}
		if node := f.app.Snapshot().Node(slug); node.URL.String() != url {
			t.Errorf("%s is at %s", slug, node.URL)
		}
	}
	r := Registration{Name: "Path", URL: "http://127.0.0.1:9/Tenant-A"}
	if _, err := f.app.Register(ctx, r, enrollSecret, nil); err != nil {
		t.Fatal(err)
	}
	r.URL = "http://127.0.0.1:9/tenant-a"
	if _, err := f.app.Register(ctx, r, enrollSecret, nil); code(err) != CodeNodeExists {
		t.Errorf("a path in another case is another url: %v", err)
	}
}

func TestSecretsOfAnOperatorDoNotMoveAlong(t *testing.T) {
	f := run(t, openEnrollment)
	ctx := t.Context()
	r := Registration{Name: "Shop", URL: "http://127.0.0.1:9", OwnerProof: "a proof of sixteen bytes or more"}
	given := map[string]json.RawMessage{
		"credentials": json.RawMessage(`{"type":"bearer","value":"the secret of the operator"}`),
		"header_up":   json.RawMessage(`{"X-Secret":["another"]}`),
	}
	for name, move := range map[string]func(url string) error{
		"registration": func(url string) error {
			r.URL = url
			_, err := f.app.Register(ctx, r, enrollSecret, nil)
			return err
		},
		"update": func(url string) error {
			_, err := f.app.UpdateNode(ctx, "shop", map[string]json.RawMessage{"url": json.RawMessage(`"` + url + `"`)}, ByNode)
			return err
		},
	} {
		if err := move("http://127.0.0.1:9"); err != nil && code(err) != CodeNodeUnknown {
			t.Fatal(name, err)
		}
		if f.app.Snapshot().Node("shop") == nil {
			r.URL = "http://127.0.0.1:9"
			if _, err := f.app.Register(ctx, r, enrollSecret, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.app.UpdateNode(ctx, "shop", given, ByOperator); err != nil {
			t.Fatal(err)
		}
		if node := f.app.Snapshot().Node("shop"); len(node.headers) != 1 {
			t.Fatal("the operator's word did not count")
		}
		if err := move("http://127.0.0.1:10"); err != nil {
			t.Fatal(name, err)
		}
		node := f.app.Snapshot().Node("shop")
		if settings := node.Settings(); len(node.headers) != 0 || settings.Credentials != nil || settings.HeaderUp != nil {
			t.Errorf("%s: the node took %+v along", name, settings)
		}
	}
}

func TestANodeHasABoundedNumberOfKeys(t *testing.T) {
	f := run(t, twoNodes)
	for range maxKeys {
		if _, _, err := f.app.NewAPIKey(t.Context(), f.node("shop"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.app.NewAPIKey(t.Context(), f.node("shop"), nil); code(err) != CodeNodeConflict {
		t.Errorf("one more: %v", err)
	}
	if _, _, err := f.app.NewAPIKey(t.Context(), f.node("docs"), nil); err != nil {
		t.Errorf("another node: %v", err)
	}
}
