package fleet

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestInspect says in words why a token is refused.
func TestInspect(t *testing.T) {
	f := run(t, twoNodes+"audience gateway\n")
	pair := f.issue("shop")
	key, _, err := f.app.NewAPIKey(t.Context(), f.node("docs"), nil)
	if err != nil {
		t.Fatal(err)
	}
	revoked := f.issue("shop")
	if err := f.app.RevokeToken(t.Context(), revoked.AccessToken); err != nil {
		t.Fatal(err)
	}
	aud := func(c jwt.MapClaims) { c["aud"] = "gateway" }
	old, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "shop", "exp": time.Now().Add(-time.Second).Unix(), "type": "child"}).SignedString([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	tampered := mint(t, "main", shopSecret, aud)
	for name, c := range map[string]struct {
		raw, verdict         string
		accepted, compatible bool
	}{
		"good":         {pair.AccessToken, "accepted as shop", true, true},
		"with spaces":  {" " + pair.AccessToken + "\n", "accepted as shop", true, true},
		"tampered":     {tampered, "the signature does not belong", false, false},
		"revoked":      {revoked.AccessToken, "it was revoked", false, false},
		"no aud":       {mint(t, "main", testSecret, func(jwt.MapClaims) {}), "accepted as shop under compat laravel only: the token does not say whom it is for", false, true},
		"wrong aud":    {mint(t, "main", testSecret, func(c jwt.MapClaims) { c["aud"] = "x" }), "for somebody else", false, false},
		"expired":      {mint(t, "main", testSecret, func(c jwt.MapClaims) { aud(c); c["exp"] = time.Now().Add(-time.Second).Unix() }), "has expired", false, false},
		"old, expired": {old, "refused: the token has expired", false, false},
		"unknown kid":  {mint(t, "other", testSecret, aud), "no key of the federation", false, false},
		"unknown node": {mint(t, "main", testSecret, func(c jwt.MapClaims) { aud(c); c["sub"] = "gone" }), "no node of the registry", false, false},
		"api key":      {key, "accepted as docs", true, true},
		"mistyped key": {key[:len(key)-1] + "~", "its checksum does not fit", false, false},
		"secret":       {testSecret, "accepted where shared_secret is allowed", true, true},
		"refresh":      {pair.RefreshToken, "good for refreshing only", false, false},
		"nothing":      {"", "nothing to look at", false, false},
		"nonsense":     {"nonsense", "there is no such api key", false, false},
		"dots":         {"a.b.c", "refused", false, false},
	} {
		got := f.app.InspectToken(t.Context(), c.raw)
		if !strings.Contains(got.Verdict, c.verdict) || got.Accepted != c.accepted || got.Compatible != c.compatible {
			t.Errorf("%s: %+v", name, got)
		}
		if !got.Compatible && strings.Contains(got.Verdict, "laravel") {
			t.Errorf("%s: %s", name, got.Verdict)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{strings.TrimSpace(c.raw), testSecret} {
			if len(secret) > 10 && strings.Contains(string(text), secret) {
				t.Errorf("%s: the credential is in %s", name, text)
			}
		}
	}
	if got := f.app.InspectToken(t.Context(), pair.AccessToken); len(got.Checks) < 10 || got.Identity == nil || !strings.Contains(string(got.Claims), `"node_slug":"shop"`) {
		t.Errorf("got %+v", got)
	}
}
