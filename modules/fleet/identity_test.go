package fleet

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestIdentityOfRequest(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
	if id := IdentityOf(r); id != nil || id.Has("search") {
		t.Fatalf("nobody called, and it is %+v", id)
	}
	SetIdentity(r, &Identity{ID: "shop", Capabilities: []string{"search"}})
	if id := IdentityOf(r); id == nil || id.ID != "shop" || !id.Has("search") || id.Has("actions") {
		t.Fatalf("it is %+v", id)
	}
}

func TestParseMethods(t *testing.T) {
	for names, expected := range map[string]string{"": "jwt api_key", "shared_secret": "shared_secret", "api_key": "api_key"} {
		var list []string
		if names != "" {
			list = []string{names}
		}
		set, err := ParseMethods(list)
		if err != nil || set.String() != expected {
			t.Errorf("%s: %v, %v", names, set, err)
		}
	}
	if _, err := ParseMethods([]string{"jwt", "password"}); err == nil {
		t.Error("an unknown method was taken")
	}
}
