package fleet

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestRefresh: one of a hundred at once makes the successor, all get it.
func TestRefresh(t *testing.T) {
	f := run(t, twoNodes+"refresh_grace 10m\n")
	first := f.issue("shop")
	var mu sync.Mutex
	refreshes, accesses := make(map[string]int), make(map[string]bool)
	var running sync.WaitGroup
	for range 100 {
		running.Go(func() {
			pair, err := f.app.RefreshTokens(t.Context(), first.RefreshToken)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			refreshes[pair.RefreshToken]++
			accesses[pair.AccessToken] = true
		})
	}
	running.Wait()
	if len(refreshes) != 1 {
		t.Fatalf("%d successors", len(refreshes))
	}
	for raw := range accesses {
		f.authenticates(raw, "shop")
	}
	f.authenticates(first.AccessToken, "shop")
	for successor := range refreshes {
		if successor == first.RefreshToken {
			t.Error("the successor is the same token")
		}
		if _, err := f.app.RefreshTokens(t.Context(), successor); err != nil {
			t.Errorf("the successor is no good: %v", err)
		}
	}
	for _, raw := range []string{"", "nonsense", first.AccessToken, strings.Repeat("0", 64), strings.Repeat("F", 64)} {
		if _, err := f.app.RefreshTokens(t.Context(), raw); !errors.Is(err, ErrInvalidRefresh) {
			t.Errorf("%.10s: %v", raw, err)
		}
		if _, err := f.app.RefreshAccess(t.Context(), raw); !errors.Is(err, ErrInvalidRefresh) {
			t.Errorf("%.10s: %v", raw, err)
		}
	}
}

// TestReplay: after the grace the family is dead, its access tokens with it.
func TestReplay(t *testing.T) {
	for name, replay := range map[string]func(a *App, refresh string) error{
		"rotating": func(a *App, refresh string) error { _, err := a.RefreshTokens(t.Context(), refresh); return err },
		"keeping":  func(a *App, refresh string) error { _, err := a.RefreshAccess(t.Context(), refresh); return err },
	} {
		t.Run(name, func(t *testing.T) {
			f := run(t, twoNodes+"refresh_grace off\n")
			other := f.issue("shop")
			first := f.issue("shop")
			second, err := f.app.RefreshTokens(t.Context(), first.RefreshToken)
			if err != nil {
				t.Fatal(err)
			}
			f.authenticates(second.AccessToken, "shop")
			f.eventually(func() bool { return errors.Is(replay(f.app, first.RefreshToken), ErrInvalidRefresh) }) // the clock went on
			if _, err := f.app.RefreshTokens(t.Context(), second.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
				t.Errorf("the successor lives: %v", err)
			}
			f.refuses(first.AccessToken, "revoked")
			f.refuses(second.AccessToken, "revoked")
			f.happened("refresh_replayed", "shop")
			f.authenticates(other.AccessToken, "shop") // another family
		})
	}
}

// TestRefreshAccess: the token of an old client stays as it is.
func TestRefreshAccess(t *testing.T) {
	f := run(t, twoNodes)
	first := f.issue("shop")
	for range 3 {
		pair, err := f.app.RefreshAccess(t.Context(), first.RefreshToken)
		if err != nil || pair.RefreshToken != "" || pair.Node.Slug != "shop" || pair.ExpiresIn != time.Hour {
			t.Fatalf("%+v, %v", pair, err)
		}
		f.authenticates(pair.AccessToken, "shop")
	}
}

// TestRevoke: a node, a token, a family: dead with the next request.
func TestRevoke(t *testing.T) {
	f := run(t, twoNodes)
	ctx := t.Context()
	first, second, docs := f.issue("shop"), f.issue("shop"), f.issue("docs")
	f.authenticates(first.AccessToken, "shop")
	if err := f.app.RevokeToken(ctx, first.AccessToken); err != nil {
		t.Fatal(err)
	}
	f.refuses(first.AccessToken, "revoked")
	f.happened("token_revoked", "shop")
	f.authenticates(second.AccessToken, "shop")
	if err := f.app.RevokeToken(ctx, second.RefreshToken); err != nil {
		t.Fatal(err)
	}
	f.refuses(second.AccessToken, "revoked")
	if _, err := f.app.RefreshTokens(ctx, second.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
		t.Errorf("a revoked refresh token: %v", err)
	}
	for _, unknown := range []string{"", "x", "a.b.c", strings.Repeat("0", 64), strings.Repeat("x", 1<<16), second.RefreshToken} {
		if err := f.app.RevokeToken(ctx, unknown); err != nil {
			t.Errorf("%.10s: %v", unknown, err)
		}
	}

	third := f.issue("shop")
	key, _, err := f.app.NewAPIKey(ctx, f.node("shop"), nil)
	if err != nil {
		t.Fatal(err)
	}
	f.authenticates(third.AccessToken, "shop")
	f.authenticates(key, "shop")
	if err := f.app.RevokeNode(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if err := f.refuses(third.AccessToken, "revoked"); err.Status != http.StatusUnauthorized {
		t.Errorf("status %d", err.Status)
	}
	f.refuses(key, "unknown_key")
	if _, err := f.app.RefreshTokens(ctx, third.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
		t.Errorf("a refresh token of a revoked node: %v", err)
	}
	f.happened("node_revoked", "shop")
	f.authenticates(docs.AccessToken, "docs")
	// what is given afterwards is good, also within the same second
	f.authenticates(f.issue("shop").AccessToken, "shop")
	// a token that the same secret signed for an earlier time is not
	f.refuses(mint(t, "main", testSecret, func(c jwt.MapClaims) { c["iat"] = time.Now().Add(-time.Minute).Unix() }), "revoked")
	// and all of that is so after a reload
	if err := f.reload(twoNodes, nil); err != nil {
		t.Fatal(err)
	}
	f.refuses(third.AccessToken, "revoked")
	f.refuses(first.AccessToken, "revoked")
	f.authenticates(docs.AccessToken, "docs")
}
