package fleet

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

func TestAPIKeys(t *testing.T) {
	f := run(t, twoNodes)
	ctx := t.Context()
	key, id, err := f.app.NewAPIKey(ctx, f.node("shop"), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := f.authenticates(key, "shop")
	if got.Method != "api_key" || got.TokenID != id || got.NodeID != f.node("shop").ID || !slices.Equal(got.Capabilities, []string{"actions", "search"}) {
		t.Errorf("it is %+v", got)
	}
	if again := f.authenticates(key, "shop"); again != got {
		t.Error("the key was resolved again")
	}
	f.refuses(key[:len(key)-1]+"_", "unknown_key")
	other, _ := token.NewAPIKey()
	f.refuses(other, "unknown_key")
	if _, err := f.app.Authenticate(f.Context(), key, MethodJWT, AuthPolicy{}); err == nil || err.Reason != "method_not_allowed" {
		t.Errorf("a key where only tokens are allowed: %v", err)
	}

	expires := time.Now().Add(time.Hour)
	client, clientID, err := f.app.NewClientKey(ctx, "reporting", []string{"search", "nodes:read", "search"}, expires)
	if err != nil {
		t.Fatal(err)
	}
	got = f.authenticates(client, "reporting")
	if got.Type != TypeClient || got.NodeID != 0 || got.FederationID != "" || !got.Has("nodes:read") || len(got.Capabilities) != 2 || got.Expires.IsZero() {
		t.Errorf("it is %+v", got)
	}
	for _, name := range []string{"shop", "Bad Name", "", FederatedID} {
		if _, _, err := f.app.NewClientKey(ctx, name, nil, time.Time{}); !errors.Is(err, ErrBadKey) {
			t.Errorf("%q: %v", name, err)
		}
	}

	const old = "orchardkey00000000000000000000000000000000000000000000000000000a1"
	f.refuses(old, "unknown_key")
	for range 2 {
		if err := f.app.ImportAPIKey(ctx, f.node("docs"), old); err != nil {
			t.Fatal(err)
		}
	}
	f.authenticates(old, "docs")
	if err := f.app.ImportAPIKey(ctx, f.node("shop"), old); !errors.Is(err, ErrKeyExists) {
		t.Errorf("somebody else's key: %v", err)
	}
	if err := f.app.ImportAPIKey(ctx, f.node("shop"), "short"); !errors.Is(err, ErrBadKey) {
		t.Errorf("a short key: %v", err)
	}

	list := f.app.APIKeys("")
	if text, err := json.Marshal(list); err != nil || len(list) != 3 || strings.Contains(string(text), key) || strings.Contains(string(text), old) ||
		strings.Contains(string(text), token.Hash(key)) {
		t.Errorf("keys are %s, %v", text, err)
	}
	if list := f.app.APIKeys("shop"); len(list) != 1 || list[0].ID != id {
		t.Errorf("the shop's keys are %+v", list)
	}
	if err := f.app.DeleteAPIKey(ctx, clientID); err != nil {
		t.Fatal(err)
	}
	f.refuses(client, "unknown_key")
	f.happened("api_key_revoked", "")
	if err := f.app.DeleteAPIKey(ctx, clientID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("once more: %v", err)
	}
	if err := f.app.RevokeToken(ctx, key); err != nil {
		t.Fatal(err)
	}
	f.refuses(key, "unknown_key")
}
