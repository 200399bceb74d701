package auth

import (
	"context"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// TestTheLastToAuthenticateIsTheUser, whoever set the placeholders before: we, or
// another handler such as basic_auth.
func TestTheLastToAuthenticateIsTheUser(t *testing.T) {
	for name, before := range map[string]func(*http.Request, *caddy.Replacer){
		"nobody":          func(*http.Request, *caddy.Replacer) {},
		"another handler": func(_ *http.Request, repl *caddy.Replacer) { repl.Set("http.auth.user.id", "bob") },
		"we": func(r *http.Request, _ *caddy.Replacer) {
			accept(r, &fleet.Identity{ID: "docs", Name: "Docs", Capabilities: []string{"search"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			repl := caddy.NewEmptyReplacer()
			ctx := context.WithValue(t.Context(), caddy.ReplacerCtxKey, repl)
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			before(r, repl)
			accept(r, &fleet.Identity{ID: "shop", FederationID: "7", Name: "Shop", Capabilities: []string{"actions", "search"}})
			if got := repl.ReplaceAll("{http.auth.user.id} {http.auth.user.name} {http.auth.user.capabilities}", "?"); got != "shop Shop actions search" {
				t.Errorf("the user is %q", got)
			}
			if _, known := repl.Get("http.auth.user.password"); known {
				t.Error("a placeholder that nobody set is known")
			}
			repl.Set("http.auth.user.id", "bob") // another handler behind us
			if got, _ := repl.GetString("http.auth.user.id"); got != "bob" {
				t.Errorf("after another handler the user is %q", got)
			}
		})
	}
}
