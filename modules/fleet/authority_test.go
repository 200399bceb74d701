package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

const (
	testSecret = "a secret of more than thirty-two bytes"
	shopSecret = "the shop's own secret, as long as it should be"
)

// twoNodes are a federation with a key, and nodes shop and docs.
const twoNodes = "key main hs256 \"" + testSecret + "\"\n" +
	"node shop http://127.0.0.1:1 {\n name Shop\n capabilities search actions\n}\n" +
	"node docs http://127.0.0.1:2 {\n capabilities search\n}\n"

// issue gives a node its tokens.
func (f *federated) issue(slug string) TokenPair {
	f.Helper()
	pair, err := f.app.IssueTokens(f.Context(), f.node(slug))
	if err != nil {
		f.Fatal(err)
	}
	return pair
}

// authenticates expects a credential to be somebody's.
func (f *federated) authenticates(raw, id string) *Identity {
	f.Helper()
	got, err := f.app.Authenticate(raw, DefaultMethods, AuthPolicy{})
	if err != nil {
		f.Fatalf("refused: %v", err)
	}
	if got.ID != id {
		f.Fatalf("it is %+v, expected %s", got, id)
	}
	return got
}

// refuses expects a credential to be refused for a reason.
func (f *federated) refuses(raw, reason string) *AuthError {
	f.Helper()
	got, err := f.app.Authenticate(raw, DefaultMethods, AuthPolicy{})
	if err == nil {
		f.Fatalf("it is %+v, expected to be refused as %s", got, reason)
	}
	if err.Reason != reason || got != nil {
		f.Fatalf("refused: %v, expected %s", err, reason)
	}
	return err
}

// happened waits until an event was stored.
func (f *federated) happened(kind, node string) {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		events, err := f.store.Events().Since(f.Context(), 0, 1000)
		if err != nil {
			f.Fatal(err)
		}
		for _, event := range events {
			if event.Kind == kind && event.Node == node {
				return
			}
		}
		if time.Now().After(deadline) {
			f.Fatalf("there is no event %s of %s: %v", kind, node, events)
		}
	}
}

func TestIssuedTokens(t *testing.T) {
	f := run(t, twoNodes)
	pair := f.issue("shop")
	if pair.ExpiresIn != time.Hour || pair.Node.Slug != "shop" || !token.LooksLikeRefresh(pair.RefreshToken) {
		t.Errorf("got %+v", pair)
	}
	id := f.authenticates(pair.AccessToken, "shop")
	node := f.node("shop")
	if id.NodeID != node.ID || id.FederationID != fmt.Sprint(node.ID) || id.Name != "Shop" || id.Type != TypeChild || id.Method != "jwt" ||
		!slices.Equal(id.Capabilities, []string{"actions", "search"}) || id.TokenID == "" || !id.Has("search") || id.Has("nodes:write") {
		t.Errorf("it is %+v", id)
	}
	if again := f.authenticates(pair.AccessToken, "shop"); again != id {
		t.Error("the good token was resolved again")
	}
	f.refuses("", "missing")
	f.refuses(pair.RefreshToken, "unknown_key")
	f.refuses(testSecret, "unknown_key")
	f.refuses(pair.AccessToken+"A", "bad_signature")
	if err := f.refuses(strings.Repeat("a", 1<<20), "too_long"); err.Status != http.StatusUnauthorized {
		t.Errorf("status %d", err.Status)
	}
	if id, err := f.app.Authenticate(pair.AccessToken, MethodAPIKey, AuthPolicy{}); err == nil || err.Reason != "method_not_allowed" {
		t.Errorf("a token where only keys are allowed: %+v, %v", id, err)
	}
}

// TestCapabilities: what a token may is what it and the registry both say.
func TestCapabilities(t *testing.T) {
	f := run(t, "key main hs256 \""+testSecret+"\"")
	f.put("mill", `{"url":"http://127.0.0.1:3","capabilities":["search","actions"]}`)
	f.eventually(func() bool { return f.app.Snapshot().Node("mill") != nil })
	raw := f.issue("mill").AccessToken
	if id := f.authenticates(raw, "mill"); !slices.Equal(id.Capabilities, []string{"actions", "search"}) {
		t.Errorf("capabilities are %v", id.Capabilities)
	}
	f.put("mill", `{"url":"http://127.0.0.1:3","capabilities":["search","nodes:write"]}`)
	f.eventually(func() bool { return len(f.authenticates(raw, "mill").Capabilities) == 1 })
	if id := f.authenticates(raw, "mill"); !slices.Equal(id.Capabilities, []string{"search"}) {
		t.Errorf("capabilities are %v", id.Capabilities)
	}
	for state, reason := range map[string]string{"maintenance": "node_maintenance", "disabled": "node_disabled", "pending": "node_pending"} {
		f.put("mill", `{"url":"http://127.0.0.1:3","admin_state":"`+state+`"}`)
		f.eventually(func() bool { return string(f.node("mill").AdminState) == state })
		if err := f.refuses(raw, reason); err.Status != http.StatusForbidden || err.NodeStatus != state {
			t.Errorf("%s: %+v", state, err)
		}
	}
	f.put("mill", `{"url":"http://127.0.0.1:3","admin_state":"draining"}`)
	f.eventually(func() bool { return f.node("mill").AdminState == AdminDraining })
	f.authenticates(raw, "mill")
	f.delete("mill")
	f.eventually(func() bool { return f.app.Snapshot().Node("mill") == nil })
	if err := f.refuses(raw, "unknown_node"); !err.Unknown {
		t.Errorf("got %+v", err)
	}
}

func (f *federated) eventually(holds func() bool) {
	f.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatal("it does not come about")
		}
	}
}

// mint signs claims that a test changes.
func mint(t testing.TB, id, secret string, change func(jwt.MapClaims)) string {
	t.Helper()
	key, err := token.NewSecret(id, secret)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": "caddy-federation", "sub": "shop", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": token.ID(), "type": "child",
		"capabilities": []string{"search"},
	}
	change(claims)
	raw, err := key.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestKeyOfANode: it speaks for its node only, and nothing shared speaks for it.
func TestKeyOfANode(t *testing.T) {
	f := run(t, "key main hs256 \""+testSecret+"\"\n"+
		"node shop http://127.0.0.1:1 {\n key shop-1 hs256 \""+shopSecret+"\"\n}\nnode docs http://127.0.0.1:2\n")
	same := func(jwt.MapClaims) {}
	forDocs := func(c jwt.MapClaims) { c["sub"] = "docs" }
	f.authenticates(mint(t, "shop-1", shopSecret, same), "shop")
	f.refuses(mint(t, "shop-1", shopSecret, forDocs), "wrong_key")
	f.authenticates(mint(t, "main", testSecret, forDocs), "docs")
	f.refuses(mint(t, "main", testSecret, same), "wrong_key")
	f.refuses(mint(t, "main", testSecret, func(c jwt.MapClaims) { c["sub"], c["node_slug"] = "docs", "shop" }), "wrong_node")
	f.authenticates(f.issue("shop").AccessToken, "shop") // signed with its own
	f.authenticates(f.issue("docs").AccessToken, "docs")

	header := make(http.Header)
	if err := f.node("shop").credential.apply(header, TokenAuthorization, f.node("shop")); err != nil {
		t.Fatal(err)
	}
	if parsed, _, err := jwt.NewParser().ParseUnverified(strings.TrimPrefix(header.Get("Authorization"), "Bearer "), jwt.MapClaims{}); err != nil || parsed.Header["kid"] != "shop-1" {
		t.Errorf("what is sent to the node is signed by %v, %v", parsed.Header, err)
	}
}

// TestLegacy: what the old fleet sends is good for the compatible face only.
func TestLegacy(t *testing.T) {
	f := run(t, twoNodes)
	sign := func(claims jwt.MapClaims) string {
		raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(testSecret))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	now := time.Now()
	raw := sign(jwt.MapClaims{
		"iss": "http://app.test", "sub": f.node("shop").ID, "node_slug": "shop", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"capabilities": []string{"search"}, "type": "child",
	})
	f.refuses(raw, "no_kid")
	id, err := f.app.Authenticate(raw, DefaultMethods, AuthPolicy{Legacy: true})
	if err != nil || id.ID != "shop" || !strings.HasPrefix(id.TokenID, "sha256-") {
		t.Fatalf("%+v, %v", id, err)
	}
	f.refuses(raw, "no_kid") // also when it is among the good ones
	// a token without an id can be revoked as well
	if err := f.app.RevokeToken(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	if id, err := f.app.Authenticate(raw, DefaultMethods, AuthPolicy{Legacy: true}); err == nil || err.Reason != "revoked" {
		t.Errorf("%+v, %v", id, err)
	}
	id, err = f.app.Authenticate(testSecret, DefaultMethods|MethodSharedSecret, AuthPolicy{})
	if err != nil || id.ID != FederatedID || id.NodeID != 0 || id.Method != "shared_secret" || !id.Has("search") || id.Has("nodes:read") {
		t.Errorf("the shared secret: %+v, %v", id, err)
	}
	if _, err := f.app.Authenticate(testSecret[1:], DefaultMethods|MethodSharedSecret, AuthPolicy{}); err == nil {
		t.Error("another secret was taken")
	}
}

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
	key, _, err := f.app.NewAPIKey(ctx, f.node("shop"))
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

func TestAPIKeys(t *testing.T) {
	f := run(t, twoNodes)
	ctx := t.Context()
	key, id, err := f.app.NewAPIKey(ctx, f.node("shop"))
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
	if _, err := f.app.Authenticate(key, MethodJWT, AuthPolicy{}); err == nil || err.Reason != "method_not_allowed" {
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

// TestOtherGateway: what another gateway of the same store does is seen here.
func TestOtherGateway(t *testing.T) {
	f := run(t, twoNodes)
	pair := f.issue("shop")
	f.authenticates(pair.AccessToken, "shop")
	if err := f.store.Tokens().RevokeNode(t.Context(), "shop", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() bool {
		_, err := f.app.Authenticate(pair.AccessToken, DefaultMethods, AuthPolicy{})
		return err != nil && err.Reason == "revoked"
	})
	key, id := token.NewAPIKey()
	if err := f.store.Tokens().PutKey(t.Context(), store.APIKey{Hash: token.Hash(key), ID: id, Node: "docs", Data: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() bool {
		id, _ := f.app.Authenticate(key, DefaultMethods, AuthPolicy{})
		return id != nil && id.ID == "docs"
	})
}

// TestRotatingKeys: a new key signs, the old one verifies until it is gone.
func TestRotatingKeys(t *testing.T) {
	nodes := "node shop http://127.0.0.1:1\n"
	f := run(t, "key old hs256 \""+testSecret+"\"\n"+nodes)
	before := f.issue("shop").AccessToken
	f.authenticates(before, "shop")
	if err := f.reload("key new hs256 \""+shopSecret+"\"\nkey old hs256 \""+testSecret+"\" verify_only\n"+nodes, nil); err != nil {
		t.Fatal(err)
	}
	f.authenticates(before, "shop")
	after := f.issue("shop").AccessToken
	f.authenticates(after, "shop")
	if err := f.reload("key new hs256 \""+shopSecret+"\"\n"+nodes, nil); err != nil {
		t.Fatal(err)
	}
	f.refuses(before, "unknown_kid")
	f.authenticates(after, "shop")
	if err := f.reload("key new hs256 \""+shopSecret+"\" verify_only\n"+nodes, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.app.IssueTokens(t.Context(), f.node("shop")); !errors.Is(err, ErrCannotSign) {
		t.Errorf("signed without a key: %v", err)
	}
}

// TestLifeOfTokens goes through the hours of a token.
func TestLifeOfTokens(t *testing.T) {
	f := run(t, twoNodes+"access_ttl 10m\nleeway off\n")
	good := &goodToken{claims: token.Claims{Subject: "shop", Expires: time.Now().Add(time.Minute).Unix(), IssuedAt: time.Now().Unix()}}
	key, err := token.NewSecret("main", testSecret)
	if err != nil {
		t.Fatal(err)
	}
	good.key = key
	keys, g := f.app.authority.keys.Load(), f.app.authority.current()
	for at, reason := range map[time.Duration]string{0: "", 58 * time.Second: "", 61 * time.Second: "expired"} {
		_, err := f.app.authority.caller(good, keys, g, time.Now().Add(at), AuthPolicy{})
		if (err == nil) != (reason == "") || err != nil && err.Reason != reason {
			t.Errorf("after %v: %v, expected %q", at, err, reason)
		}
	}
	f.refuses(mint(t, "main", testSecret, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(11 * time.Minute).Unix() }), "lifetime")
}

// TestBeforeStart: nobody is let in before the revocations were read.
func TestBeforeStart(t *testing.T) {
	f := run(t, twoNodes)
	raw := f.issue("shop").AccessToken
	f.app.authority.grants.Store(nil)
	f.authenticates(raw, "shop") // with what the config before knew
	f.app.shared.grants.Store(nil)
	if err := f.refuses(raw, "starting"); err.Status != http.StatusServiceUnavailable {
		t.Errorf("status %d", err.Status)
	}
}

// TestStoreGone: without its store the gateway goes on with what it knows.
func TestStoreGone(t *testing.T) {
	broken := &brokenTokens{}
	auth := &authority{app: &App{shared: &shared{}}}
	if err := auth.read(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	known := auth.current()
	broken.err = errors.New("gone")
	if err := auth.read(t.Context(), broken); err == nil || auth.current() != known {
		t.Errorf("%v, and it is known what was known: %v", err, auth.current() == known)
	}
	broken.err = nil
	if err := auth.read(t.Context(), broken); err != nil || auth.current() != known {
		t.Error("nothing has changed, and what is known is new")
	}
}
