package fleet

import (
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// TestWhatIsSentToANodeLetsNobodyIn: a node that is shown the gateway's token
// cannot come in with it, revoked or not. Another federation takes it.
func TestWhatIsSentToANodeLetsNobodyIn(t *testing.T) {
	f := run(t, twoNodes)
	header := make(http.Header)
	if err := f.node("shop").credential.apply(header, TokenXNodeToken, f.node("shop")); err != nil {
		t.Fatal(err)
	}
	raw := header.Get("X-Node-Token")
	if _, err := f.app.Authenticate(f.Context(), raw, MethodJWT, AuthPolicy{Legacy: true}); err == nil || err.Reason != "outbound" {
		t.Fatalf("shown as the node's own: %v", err)
	}
	if said := f.app.InspectToken(t.Context(), raw); said.Accepted || said.Compatible || !strings.Contains(said.Verdict, "this federation sends to the node") {
		t.Errorf("inspected: %+v", said)
	}
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(raw, claims); err != nil || claims["azp"] != f.app.Identity() {
		t.Fatalf("it is %v: %v", claims, err)
	}
	other := mint(t, "main", testSecret, func(c jwt.MapClaims) { c["azp"] = strings.Repeat("0", 32) })
	f.authenticates(other, "shop")

	// the identity that this process had before it knew the store's counts too
	f.app.shared.store.identify(strings.Repeat("f", 32))
	if _, err := f.app.Authenticate(f.Context(), raw+"", MethodJWT, AuthPolicy{Legacy: true}); err == nil || err.Reason != "outbound" {
		t.Errorf("after the identity changed: %v", err)
	}
	next := make(http.Header)
	if err := f.node("shop").credential.apply(next, TokenXNodeToken, f.node("shop")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.app.Authenticate(f.Context(), next.Get("X-Node-Token"), MethodJWT, AuthPolicy{Legacy: true}); err == nil || err.Reason != "outbound" {
		t.Errorf("signed under the new identity: %v", err)
	}
}
