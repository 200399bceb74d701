package fleet

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/caddy-federation/caddy-federation/store"
)

// TestARestartWithoutTheStoreKeepsNodesAndNumbers: a process that knows
// nothing takes the copy that the one before it kept.
func TestARestartWithoutTheStoreKeepsNodesAndNumbers(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	var down atomic.Bool
	f := run(t, "")
	f.through = func(s store.Store) store.Store { return fickle{s, &down} }
	block := `key main hs256 "a secret of more than thirty-two bytes"
node fixed http://127.0.0.1:1 {
	credentials jwt
}`
	if err := f.reload(block, nil); err != nil {
		t.Fatal(err)
	}
	f.put("shop", `{"url":"http://127.0.0.1:2"}`)
	if err := f.app.registry.read(t.Context(), f.app.store.Nodes()); err != nil {
		t.Fatal(err)
	}
	fixed, shop := f.node("fixed").ID, f.node("shop").ID
	identity := f.app.Identity()
	path := f.app.lastKnownPath()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the copy is %v: %v", info, err)
	}

	down.Store(true)
	if err := f.reload(block, nil); err != nil { // nothing is left in memory between the two
		t.Fatal(err)
	}
	if f.node("fixed").ID != fixed || f.node("shop").ID != shop {
		t.Errorf("the nodes were %d and %d, and are %d and %d", fixed, shop, f.node("fixed").ID, f.node("shop").ID)
	}
	if f.app.Identity() != identity {
		t.Errorf("the federation was %s, and is %s", identity, f.app.Identity())
	}
	// a copy that cannot be read is none: a token could not name the node
	if err := os.WriteFile(path, []byte(`{"numbers":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.reload(block+"\nnode open http://127.0.0.1:3 {\n credentials none\n}", nil); err != nil {
		t.Fatal(err)
	}
	if len(f.errors()) == 0 || f.errors()[0] != "the copy of the nodes cannot be read " {
		t.Errorf("said %v", f.errors())
	}
	var refused *RefusalError
	if _, err := f.app.ready(t.Context(), f.node("fixed")); !errors.As(err, &refused) || refused.Reason != "unnumbered" {
		t.Errorf("a node without a number: %v", err)
	}
	if n, err := f.app.ready(t.Context(), f.node("open")); err != nil || n.Slug != "open" {
		t.Errorf("a node that needs no number: %v", err)
	}
	// written again as soon as the store is read, and nothing left beside it
	down.Store(false)
	if err := f.app.registry.read(t.Context(), f.app.store.Nodes()); err != nil {
		t.Fatal(err)
	}
	if known := f.app.lastKnown(); known == nil || known.ids["fixed"] != fixed || len(known.records) != 1 {
		t.Errorf("the copy is %+v", known)
	}
	if files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(files) != 1 {
		t.Errorf("files are %v: %v", files, err)
	}
}
