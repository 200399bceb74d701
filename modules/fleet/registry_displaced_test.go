package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

const squatProof = "a proof of who came first"

// squatter registers a name and takes everything that it can get.
type squatter struct {
	*federated
	name string
	pair TokenPair
	key  string
}

func (f *federated) squat(name, url, proof string) *squatter {
	f.Helper()
	s := &squatter{federated: f, name: name}
	r, err := f.app.Register(f.Context(), Registration{Name: name, URL: url, OwnerProof: proof}, enrollSecret, nil)
	if err != nil {
		f.Fatal(err)
	}
	if s.pair, err = f.app.IssueRegistered(f.Context(), r); err != nil {
		f.Fatal(err)
	}
	if s.key, _, err = f.app.NewAPIKey(f.Context(), r.Node, f.authenticates(s.pair.AccessToken, name)); err != nil {
		f.Fatal(err)
	}
	return s
}

// out expects that nothing the squatter has is good any more.
func (s *squatter) out() {
	s.Helper()
	for what, raw := range map[string]string{"access token": s.pair.AccessToken, "key": s.key} {
		if as, err := s.app.Authenticate(s.Context(), raw, DefaultMethods, AuthPolicy{}); err == nil {
			s.Errorf("the %s of who registered %s is good for %+v", what, s.name, as)
		}
	}
	if _, err := s.app.RefreshTokens(s.Context(), s.pair.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
		s.Errorf("the refresh token of who registered %s: %v", s.name, err)
	}
}

func (f *federated) warned(slug string) {
	f.Helper()
	if len(f.said.FilterLevelExact(zap.WarnLevel).FilterMessageSnippet("lost its name").FilterField(zap.String("node", slug)).All()) != 1 {
		f.Errorf("%s: expected one warning, the log has %v", slug, f.said.All())
	}
	f.happened("node_replaced", slug)
}

// TestAPlacedNodeIsNotWhoRegisteredItsName: what an operator puts into the
// Caddyfile is known by its place only, and so is what an operator moves.
func TestAPlacedNodeIsNotWhoRegisteredItsName(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	ctx := t.Context()
	proved, bare, same, moved := f.squat("gate", "http://127.0.0.1:9", squatProof), f.squat("desk", "http://127.0.0.1:9", ""),
		f.squat("mill", "http://127.0.0.1:11", squatProof), f.squat("barn", "http://127.0.0.1:9", squatProof)
	before := map[string]int64{}
	for _, slug := range []string{"gate", "desk", "mill"} {
		before[slug] = f.node(slug).ID
	}
	if _, err := f.app.UpdateNode(ctx, "gate", map[string]json.RawMessage{"description": json.RawMessage(`"squatted"`)}, ByNode); err != nil {
		t.Fatal(err)
	}
	if err := f.reload(openEnrollment+"\n"+twoNodes+`
		node gate http://127.0.0.1:10 {
			capabilities search nodes:write tokens
		}
		node desk http://127.0.0.1:10
		node mill http://127.0.0.1:11`, nil); err != nil {
		t.Fatal(err)
	}
	proved.out()
	bare.out()
	for _, slug := range []string{"gate", "desk"} {
		if node := f.node(slug); node.ID == before[slug] || node.ID == 0 || node.Description != "" {
			t.Errorf("%s is %+v, and was %d", slug, node, before[slug])
		}
		f.warned(slug)
	}
	for name, r := range map[string]Registration{
		"the proof":                  {Name: "gate", URL: "http://127.0.0.1:9", OwnerProof: squatProof},
		"the proof at the new place": {Name: "gate", URL: "http://127.0.0.1:10", OwnerProof: squatProof},
		"the old place":              {Name: "desk", URL: "http://127.0.0.1:9"},
		"the proof elsewhere":        {Name: "mill", URL: "http://127.0.0.1:9", OwnerProof: squatProof},
	} {
		if _, err := f.app.Register(ctx, r, enrollSecret, nil); code(err) != CodeNodeExists {
			t.Errorf("%s: %v", name, err)
		}
	}
	// the true ones are known by their place, whatever proof they bring
	for _, proof := range []string{"", "another proof of another node"} {
		for slug, url := range map[string]string{"desk": "http://127.0.0.1:10", "mill": "http://127.0.0.1:11"} {
			if _, err := f.app.Register(ctx, Registration{Name: slug, URL: url, OwnerProof: proof}, enrollSecret, nil); err != nil {
				t.Errorf("%s with proof %q: %v", slug, proof, err)
			}
		}
	}
	// at the same url it is the same node
	f.authenticates(same.pair.AccessToken, "mill")
	f.authenticates(same.key, "mill")
	if f.node("mill").ID != before["mill"] {
		t.Error("the same node has another number")
	}

	if _, err := f.app.UpdateNode(ctx, "barn", map[string]json.RawMessage{"url": json.RawMessage(`"http://127.0.0.1:12"`)}, ByOperator); err != nil {
		t.Fatal(err)
	}
	moved.out()
	f.warned("barn")
	for _, url := range []string{"http://127.0.0.1:9", "http://127.0.0.1:99"} {
		if _, err := f.app.Register(ctx, Registration{Name: "barn", URL: url, OwnerProof: squatProof}, enrollSecret, nil); code(err) != CodeNodeExists {
			t.Errorf("barn at %s: %v", url, err)
		}
	}
	if _, err := f.app.Register(ctx, Registration{Name: "barn", URL: "http://127.0.0.1:12"}, enrollSecret, nil); err != nil {
		t.Errorf("barn at its place: %v", err)
	}
}

// TestAURLStandsForNoNodeWithPower: whoever had the name, at the same URL too,
// has nothing of what the Caddyfile gives it, and who has it by right keeps it.
func TestAURLStandsForNoNodeWithPower(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	ops, keyed := f.squat("ops", "http://127.0.0.1:9", ""), f.squat("keyed", "http://127.0.0.1:10", squatProof)
	placed := openEnrollment + "\n" + twoNodes + `
		node ops http://127.0.0.1:9 {
			capabilities search nodes:write tokens
		}
		node keyed http://127.0.0.1:10 {
			key keyed-1 hs256 a-secret-of-more-than-thirty-two-bytes-of-it
		}`
	if err := f.reload(placed, nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*squatter{ops, keyed} {
		s.out()
		f.warned(s.name)
		if _, err := f.app.Register(t.Context(), Registration{Name: s.name, URL: f.node(s.name).URL.String(), OwnerProof: squatProof}, enrollSecret, nil); code(err) != CodeNodeExists {
			t.Errorf("%s registers again: %v", s.name, err)
		}
	}
	key, _, err := f.app.NewAPIKey(t.Context(), f.node("ops"), nil)
	if err != nil {
		t.Fatal(err)
	}
	as := f.authenticates(key, "ops")
	if _, err := f.app.Register(t.Context(), Registration{Name: "ops", URL: "http://127.0.0.1:9"}, enrollSecret, as); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it was its own registration, which nobody takes for another's
		if err := f.reload(placed, nil); err != nil {
			t.Fatal(err)
		}
		f.authenticates(key, "ops")
	}
}

// TestPowerOverOthersHoldsANodeInPlace: a node that registered itself and is
// given power over others is known by its tokens and keys alone from then on.
func TestPowerOverOthersHoldsANodeInPlace(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	ctx := t.Context()
	s := f.squat("mill", "http://127.0.0.1:9", squatProof)
	if _, err := f.app.UpdateNode(ctx, "mill", map[string]json.RawMessage{"capabilities": json.RawMessage(`["search","tokens"]`)}, ByOperator); err != nil {
		t.Fatal(err)
	}
	as := f.authenticates(s.key, "mill")
	if !as.Has("tokens") || !f.node("mill").guarded {
		t.Errorf("it is %+v, guarded %v", as, f.node("mill").guarded)
	}
	for _, url := range []string{"http://127.0.0.1:9", "http://127.0.0.1:10"} {
		if _, err := f.app.Register(ctx, Registration{Name: "mill", URL: url, OwnerProof: squatProof}, enrollSecret, nil); code(err) != CodeNodeExists {
			t.Errorf("by its proof from %s: %v", url, err)
		}
	}
	if _, err := f.app.Register(ctx, Registration{Name: "mill", URL: "http://127.0.0.1:9"}, enrollSecret, as); err != nil {
		t.Errorf("by its key: %v", err)
	}
	if _, err := f.app.Register(ctx, Registration{Name: "mill", URL: "http://127.0.0.1:10"}, enrollSecret, as); code(err) != CodeNotPermitted {
		t.Errorf("it moved: %v", err)
	}
}

// lostNodes are the nodes of a store that went away.
type lostNodes struct{ store.Nodes }

func (lostNodes) List(context.Context) ([]store.NodeRecord, error) { return nil, store.ErrUnavailable }

// TestAPlacedNodeWhileTheStoreIsLost: what cannot be revoked in the store yet
// has no power all the same.
func TestAPlacedNodeWhileTheStoreIsLost(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	s := f.squat("gate", "http://127.0.0.1:9", squatProof)
	// as in Caddy, where the next config is there before the one before ends
	if _, err := loadShared(f.name); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = pool.Delete(f.name) }()
	block := openEnrollment + "\n" + twoNodes + "node gate http://127.0.0.1:10 {\n capabilities search tokens\n}"
	if err := f.reload(block, func(n store.Nodes) store.Nodes { return lostNodes{n} }); err != nil {
		t.Fatal(err)
	}
	if node := f.node("gate"); !slices.Contains(node.Capabilities, "tokens") {
		t.Fatalf("gate is %+v", node)
	}
	for what, raw := range map[string]string{"access token": s.pair.AccessToken, "key": s.key} {
		if as, err := f.app.Authenticate(f.Context(), raw, DefaultMethods, AuthPolicy{}); err == nil {
			t.Errorf("the %s is good for %+v", what, as)
		}
	}
	if err := f.reload(block, nil); err != nil {
		t.Fatal(err)
	}
	s.out()
}

// TestANameThatLeftTheCaddyfile is free: who takes it is another node, with
// nothing of the old one's. Until then an operator can still revoke it, and it
// comes back as it was.
func TestANameThatLeftTheCaddyfile(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	ctx := t.Context()
	without := openEnrollment + "\nkey main hs256 \"" + testSecret + "\"\nnode shop http://127.0.0.1:1"
	old := f.node("docs").ID
	take := func() *squatter {
		t.Helper()
		s := &squatter{federated: f, name: "docs", pair: f.issue("docs")}
		var err error
		if s.key, _, err = f.app.NewAPIKey(ctx, f.node("docs"), nil); err != nil {
			t.Fatal(err)
		}
		return s
	}
	reload := func(block string) {
		t.Helper()
		if err := f.reload(block, nil); err != nil {
			t.Fatal(err)
		}
	}
	named := func(want bool) {
		t.Helper()
		if named, err := f.app.Named(ctx, "docs"); err != nil || named != want {
			t.Errorf("named %v: %v", named, err)
		}
	}
	had := take()
	// it said something of itself, which leaves a record of no node
	if _, err := f.app.Register(ctx, Registration{Name: "docs", URL: "http://127.0.0.1:2"}, enrollSecret, nil); err != nil {
		t.Fatal(err)
	}
	reload(without)
	f.refuses(had.key, "unknown_node")
	f.refuses(had.pair.AccessToken, "unknown_node")
	named(true)
	if keys := f.app.APIKeys("docs"); len(keys) != 1 {
		t.Errorf("its keys are %+v", keys)
	}
	if said := f.errors(); said != nil {
		t.Errorf("the log says %q", said)
	}
	reload(openEnrollment + "\n" + twoNodes)
	f.authenticates(had.key, "docs")
	f.authenticates(had.pair.AccessToken, "docs")
	if f.node("docs").ID != old {
		t.Errorf("it came back as %d, and was %d", f.node("docs").ID, old)
	}

	reload(without)
	newcomer := f.squat("docs", "http://127.0.0.1:9", squatProof)
	if id := f.node("docs").ID; id == old {
		t.Errorf("a newcomer has the number %d of another", id)
	}
	had.out()
	if keys, err := f.store.Tokens().Keys(ctx, "docs"); err != nil || len(keys) != 1 {
		t.Errorf("the store has the keys %+v: %v", keys, err)
	}
	f.authenticates(newcomer.key, "docs")
	f.authenticates(newcomer.pair.AccessToken, "docs")

	// and again, cleaned up by an operator in between
	reload(openEnrollment + "\n" + twoNodes)
	had = take()
	reload(without)
	if err := f.app.RevokeNode(ctx, "docs"); err != nil || len(f.app.APIKeys("docs")) != 0 {
		t.Errorf("revoked: %v, and there are %+v", err, f.app.APIKeys("docs"))
	}
	if err := f.app.DeleteNode(ctx, "docs"); err != nil {
		t.Error(err)
	}
	named(false)
	if err := f.app.DeleteNode(ctx, "docs"); code(err) != CodeNodeUnknown {
		t.Errorf("deleted twice: %v", err)
	}
	reload(openEnrollment + "\n" + twoNodes)
	had.out()

	// an operator who adds it by name adds another, too
	had = take()
	reload(without)
	if _, err := f.app.AddNode(ctx, NodeConfig{Slug: "docs", URL: "http://127.0.0.1:9"}); err != nil {
		t.Fatal(err)
	}
	had.out()
}
