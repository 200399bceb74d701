package fleet

import (
	"testing"

	"github.com/caddy-federation/caddy-federation/store"
)

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

// adopted are credentials of a node that registered and that the Caddyfile has
// now, at the same URL, by when and from whom it has them.
type adopted struct {
	*squatter
	byOperator TokenPair // after the Caddyfile had it
	key        string
	byItself   map[string]string // what it asked for after that, showing what it had before
}

func (f *federated) adopt(block string) *adopted {
	f.Helper()
	a := &adopted{squatter: f.squat("mill", "http://127.0.0.1:9", squatProof)}
	if err := f.reload(block, nil); err != nil {
		f.Fatal(err)
	}
	ctx, node := f.Context(), f.node("mill")
	a.byOperator = f.issue("mill")
	var err error
	if a.key, _, err = f.app.NewAPIKey(ctx, node, nil); err != nil {
		f.Fatal(err)
	}
	a.byItself = make(map[string]string)
	for what, raw := range map[string]string{"access token": a.pair.AccessToken, "key": a.squatter.key} {
		as := f.authenticates(raw, "mill")
		if a.byItself["key by its "+what], _, err = f.app.NewAPIKey(ctx, node, as); err != nil {
			f.Fatal(err)
		}
		r, err := f.app.Register(ctx, Registration{Name: "mill", URL: "http://127.0.0.1:9"}, enrollSecret, as)
		if err != nil {
			f.Fatal(err)
		}
		pair, err := f.app.IssueRegistered(ctx, r)
		if err != nil {
			f.Fatal(err)
		}
		a.byItself["token by its "+what] = pair.AccessToken
	}
	renewed, err := f.app.RefreshTokens(ctx, a.pair.RefreshToken)
	if err != nil {
		f.Fatal(err)
	}
	a.byItself["renewed token"], a.pair.RefreshToken = renewed.AccessToken, renewed.RefreshToken
	return a
}

// TestAnAdoptedNodeIsTheOperators: once the Caddyfile has a node, an edit of its
// URL, or power that the file gives it, ends what it had from before, with all
// that this got it, and nothing of what an operator gave it.
func TestAnAdoptedNodeIsTheOperators(t *testing.T) {
	base := openEnrollment + "\n" + twoNodes
	for what, edited := range map[string]string{
		"another url":  base + "node mill http://127.0.0.1:10",
		"power":        base + "node mill http://127.0.0.1:9 {\ncapabilities search tokens\n}",
		"another both": base + "node mill http://127.0.0.1:10 {\ncapabilities search tokens\n}",
	} {
		t.Run(what, func(t *testing.T) {
			f := run(t, base)
			a := f.adopt(base + "node mill http://127.0.0.1:9")
			id := f.node("mill").ID
			for range 2 { // the second finds it written
				if err := f.reload(edited, nil); err != nil {
					t.Fatal(err)
				}
				a.out()
				for what, raw := range a.byItself {
					if as, err := f.app.Authenticate(f.Context(), raw, DefaultMethods, AuthPolicy{}); err == nil {
						t.Errorf("its %s is good for %+v", what, as)
					}
				}
				f.authenticates(a.byOperator.AccessToken, "mill")
				f.authenticates(a.key, "mill")
				renewed, err := f.app.RefreshTokens(t.Context(), a.byOperator.RefreshToken)
				if err != nil {
					t.Fatal(err)
				}
				a.byOperator = renewed
				f.authenticates(renewed.AccessToken, "mill")
			}
			if f.node("mill").ID != id {
				t.Errorf("it was %d and is %d", id, f.node("mill").ID)
			}
			// from now on it is as one that was always in the file
			key, _, err := f.app.NewAPIKey(t.Context(), f.node("mill"), f.authenticates(a.key, "mill"))
			if err != nil {
				t.Fatal(err)
			}
			if what == "another url" {
				r, err := f.app.Register(t.Context(), Registration{Name: "mill", URL: "http://127.0.0.1:10"}, enrollSecret, nil)
				if err != nil {
					t.Fatal(err)
				}
				if a.byOperator, err = f.app.IssueRegistered(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				f.authenticates(a.byOperator.AccessToken, "mill")
			}
			if err := f.reload(base+"node mill http://127.0.0.1:11", nil); err != nil {
				t.Fatal(err)
			}
			f.authenticates(a.key, "mill")
			f.authenticates(key, "mill")
			f.authenticates(a.byOperator.AccessToken, "mill")
			a.out()
		})
	}
}

// TestAnAdoptedNodeThatMovedByItself is another's once the Caddyfile has its
// name for a place where it does not live: it is its own again in between.
func TestAnAdoptedNodeThatMovedByItself(t *testing.T) {
	base := openEnrollment + "\n" + twoNodes
	f := run(t, base)
	a := f.adopt(base + "node mill http://127.0.0.1:9")
	if err := f.reload(base, nil); err != nil {
		t.Fatal(err)
	}
	f.authenticates(a.key, "mill")
	if _, err := f.app.Register(t.Context(), Registration{Name: "mill", URL: "http://127.0.0.1:10", OwnerProof: squatProof}, enrollSecret, nil); err != nil {
		t.Fatal(err)
	}
	if err := f.reload(base+"node mill http://127.0.0.1:9", nil); err != nil {
		t.Fatal(err)
	}
	a.out()
	if as, err := f.app.Authenticate(f.Context(), a.key, DefaultMethods, AuthPolicy{}); err == nil {
		t.Errorf("the key that an operator gave it is good for %+v", as)
	}
	f.warned("mill")
}

// TestAnEditOfAnAdoptedNodeWhileTheStoreIsLost counts at once, too.
func TestAnEditOfAnAdoptedNodeWhileTheStoreIsLost(t *testing.T) {
	base := openEnrollment + "\n" + twoNodes
	f := run(t, base)
	a := f.adopt(base + "node mill http://127.0.0.1:9")
	if _, err := loadShared(f.name); err != nil { // see TestAPlacedNodeWhileTheStoreIsLost
		t.Fatal(err)
	}
	defer func() { _, _ = pool.Delete(f.name) }()
	block := base + "node mill http://127.0.0.1:10 {\ncapabilities search tokens\n}"
	if err := f.reload(block, func(n store.Nodes) store.Nodes { return lostNodes{n} }); err != nil {
		t.Fatal(err)
	}
	a.out()
	if as := f.authenticates(a.key, "mill"); !as.Has("tokens") {
		t.Errorf("the operator's key is good for %+v", as)
	}
}
