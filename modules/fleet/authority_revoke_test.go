package fleet

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

// TestRevocationsOfOneSecond: each one kills what was given after the one
// before, and what is given right after it is good at once, whatever the leeway.
func TestRevocationsOfOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := run(t, twoNodes+"leeway off\n")
		for range 3 {
			pair := f.issue("shop")
			f.authenticates(pair.AccessToken, "shop")
			if err := f.app.RevokeNode(t.Context(), "shop"); err != nil {
				t.Fatal(err)
			}
			f.refuses(pair.AccessToken, "revoked")
			if said := f.app.InspectToken(t.Context(), pair.AccessToken); said.Accepted {
				t.Errorf("inspected: %+v", said)
			}
		}
		pair := f.issue("shop")
		refreshed, err := f.app.RefreshTokens(t.Context(), pair.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		f.authenticates(pair.AccessToken, "shop")
		f.authenticates(refreshed.AccessToken, "shop")
	})
}

// meddled is a store in which something happens around what gives credentials.
type meddled struct {
	store.Store
	before, after func()
	rotated       func() // after a rotation only
}

func (m *meddled) Tokens() store.Tokens { return meddledTokens{m.Store.Tokens(), m} }

func (m *meddled) once(what *func()) {
	if do := *what; do != nil {
		*what = nil
		do()
	}
}

type meddledTokens struct {
	store.Tokens
	m *meddled
}

func (m meddledTokens) PutKey(ctx context.Context, key store.APIKey) error {
	m.m.once(&m.m.before)
	return m.Tokens.PutKey(ctx, key)
}

func (m meddledTokens) Issue(ctx context.Context, token store.RefreshToken) error {
	m.m.once(&m.m.before)
	return m.Tokens.Issue(ctx, token)
}

func (m meddledTokens) Rotate(ctx context.Context, rotation store.Rotation) (store.Rotated, error) {
	m.m.once(&m.m.before)
	rotated, err := m.Tokens.Rotate(ctx, rotation)
	m.m.once(&m.m.after)
	m.m.once(&m.m.rotated)
	return rotated, err
}

func (m meddledTokens) Present(ctx context.Context, hash string) (store.Rotated, error) {
	m.m.once(&m.m.before)
	rotated, err := m.Tokens.Present(ctx, hash)
	m.m.once(&m.m.after)
	return rotated, err
}

// TestARevocationOnTheWay: whatever was asked for before a revocation and is
// given after it is dead, and so is what is asked for afterwards by who was let
// in before.
func TestARevocationOnTheWay(t *testing.T) {
	const proof = "a proof of sixteen bytes or more"
	self := Registration{Name: "Mill", URL: "http://127.0.0.1:9", OwnerProof: proof}
	given := map[string]func(f *federated, as *Identity, pair TokenPair) (string, error){
		"api key": func(f *federated, as *Identity, _ TokenPair) (string, error) {
			key, _, err := f.app.NewAPIKey(f.Context(), f.node("mill"), as)
			return key, err
		},
		"registration": func(f *federated, as *Identity, _ TokenPair) (string, error) {
			r, err := f.app.Register(f.Context(), Registration{Name: "Mill", URL: "http://127.0.0.1:9"}, enrollSecret, as)
			if err != nil {
				return "", err
			}
			pair, err := f.app.IssueRegistered(f.Context(), r)
			return pair.AccessToken, err
		},
		"rotation": func(f *federated, _ *Identity, pair TokenPair) (string, error) {
			pair, err := f.app.RefreshTokens(f.Context(), pair.RefreshToken)
			return pair.AccessToken, err
		},
		"refresh": func(f *federated, _ *Identity, pair TokenPair) (string, error) {
			pair, err := f.app.RefreshAccess(f.Context(), pair.RefreshToken)
			return pair.AccessToken, err
		},
	}
	for name, give := range given {
		for _, when := range []string{"first", "before", "after", "rotated"} {
			t.Run(name+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // all within one second
					m := new(meddled)
					f := &federated{TB: t, through: func(s store.Store) store.Store { m.Store = s; return m }}
					f.start(openEnrollment + "\n" + twoNodes)
					r, err := f.app.Register(t.Context(), self, enrollSecret, nil)
					if err != nil {
						t.Fatal(err)
					}
					pair, err := f.app.IssueRegistered(t.Context(), r)
					if err != nil {
						t.Fatal(err)
					}
					as := f.authenticates(pair.AccessToken, "mill")
					if !f.app.Stands(as, "search") || f.app.Stands(as, "tokens") {
						t.Error("who was let in does not stand as it should")
					}
					revoke := func() {
						if err := f.app.RevokeNode(t.Context(), "mill"); err != nil {
							t.Error(err)
						}
					}
					switch when {
					case "first":
						revoke()
					case "before":
						m.before = revoke
					case "rotated":
						m.rotated = revoke
					default:
						m.after = revoke
					}
					raw, err := give(f, as, pair)
					m.once(&m.before)
					m.once(&m.after)
					m.once(&m.rotated)
					if err == nil {
						if _, refused := f.app.Authenticate(f.Context(), raw, DefaultMethods, AuthPolicy{}); refused == nil {
							t.Error("what was given lives")
						}
					}
					if f.app.Stands(as, "") {
						t.Error("who was revoked stands")
					}
					if keys, err := f.store.Tokens().Keys(t.Context(), ""); err != nil || len(keys) != 0 || len(f.app.APIKeys("")) != 0 {
						t.Errorf("keys are left: %+v, %v", keys, err)
					}
					if _, err := f.app.RefreshTokens(t.Context(), pair.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
						t.Errorf("the family lives: %v", err)
					}
				})
			})
		}
	}
}

// TestAnEarlierNodeOfTheName: nothing that it was given, or is given too late,
// speaks for the next one.
func TestAnEarlierNodeOfTheName(t *testing.T) {
	m := new(meddled)
	f := &federated{TB: t, through: func(s store.Store) store.Store { m.Store = s; return m }}
	f.start(openEnrollment + "\n" + twoNodes)
	ctx := t.Context()
	r, err := f.app.Register(ctx, Registration{Name: "Mill", URL: "http://127.0.0.1:9", OwnerProof: "a proof of the first one"}, enrollSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	old := r.Node
	pair, err := f.app.IssueRegistered(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	as := f.authenticates(pair.AccessToken, "mill")
	if err := f.app.DeleteNode(ctx, "mill"); err != nil {
		t.Fatal(err)
	}
	next, err := f.app.Register(ctx, Registration{Name: "Mill", URL: "http://127.0.0.1:10", OwnerProof: "a proof of the second one"}, enrollSecret, nil)
	if err != nil || !next.Created || next.Node.ID == old.ID {
		t.Fatalf("%+v: %v", next, err)
	}
	if f.app.Stands(as, "") {
		t.Error("the earlier node stands")
	}
	for name, late := range map[string]func() error{
		"key":    func() error { _, _, err := f.app.NewAPIKey(ctx, old, as); return err },
		"family": func() error { _, err := f.app.IssueRegistered(ctx, r); return err },
	} {
		if err := late(); code(err) != CodeNodeConflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	// and those that a server has because it forgot the revocation
	grantee := store.Grantee{Node: "mill", NodeID: old.ID, Epoch: 1 << 40}
	late := "a-key-of-thirty-two-characters-or-more"
	if err := f.app.putKey(ctx, store.APIKey{Grantee: grantee, Hash: token.Hash(late), ID: "late"}, apiKeyData{Imported: true}); err != nil {
		t.Fatal(err)
	}
	f.refuses(late, "revoked")
	if keys := f.app.APIKeys(""); len(keys) != 0 {
		t.Errorf("dead keys are listed: %+v", keys)
	}
	lateFamily, err := f.app.issue(ctx, grantee, old)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.app.RefreshTokens(ctx, lateFamily.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
			t.Errorf("a late family: %v", err)
		}
	}
	if _, err := f.app.RefreshAccess(ctx, lateFamily.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
		t.Errorf("a late family: %v", err)
	}
}

// TestAReplacedRefreshTokenOfAnOldClient: within the grace it gets the same
// successor as anywhere else, and nothing is revoked.
func TestAReplacedRefreshTokenOfAnOldClient(t *testing.T) {
	f := run(t, twoNodes)
	first := f.issue("shop")
	second, err := f.app.RefreshTokens(t.Context(), first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.app.RefreshAccess(t.Context(), first.RefreshToken)
	if err != nil || again.RefreshToken != second.RefreshToken {
		t.Fatalf("within the grace %+v: %v", again, err)
	}
	f.authenticates(again.AccessToken, "shop")
	f.authenticates(second.AccessToken, "shop")
	if kept, err := f.app.RefreshAccess(t.Context(), second.RefreshToken); err != nil || kept.RefreshToken != "" {
		t.Errorf("the successor %+v: %v", kept, err)
	}
	// who revokes it means the family
	if err := f.app.RevokeToken(t.Context(), first.RefreshToken); err != nil {
		t.Fatal(err)
	}
	f.refuses(second.AccessToken, "revoked")
}
