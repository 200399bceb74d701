package fleet

import (
	"context"
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
	got, err := f.app.Authenticate(f.Context(), raw, DefaultMethods, AuthPolicy{})
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
	got, err := f.app.Authenticate(f.Context(), raw, DefaultMethods, AuthPolicy{})
	if err == nil || err.Reason != reason || got != nil {
		f.Fatalf("it is %+v: %v, expected to be refused as %s", got, err, reason)
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
	if id, err := f.app.Authenticate(f.Context(), pair.AccessToken, MethodAPIKey, AuthPolicy{}); err == nil || err.Reason != "method_not_allowed" {
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
	id, err := f.app.Authenticate(f.Context(), raw, DefaultMethods, AuthPolicy{Legacy: true})
	if err != nil || id.ID != "shop" || !strings.HasPrefix(id.TokenID, "sha256-") {
		t.Fatalf("%+v, %v", id, err)
	}
	f.refuses(raw, "no_kid") // also when it is among the good ones
	// a token without an id can be revoked as well
	if err := f.app.RevokeToken(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	if id, err := f.app.Authenticate(f.Context(), raw, DefaultMethods, AuthPolicy{Legacy: true}); err == nil || err.Reason != "revoked" {
		t.Errorf("%+v, %v", id, err)
	}
	id, err = f.app.Authenticate(f.Context(), testSecret, DefaultMethods|MethodSharedSecret, AuthPolicy{})
	if err != nil || id.ID != FederatedID || id.NodeID != 0 || id.Method != "shared_secret" || !id.Has("search") || id.Has("nodes:read") {
		t.Errorf("the shared secret: %+v, %v", id, err)
	}
	if _, err := f.app.Authenticate(f.Context(), testSecret[1:], DefaultMethods|MethodSharedSecret, AuthPolicy{}); err == nil {
		t.Error("another secret was taken")
	}
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
		_, err := f.app.Authenticate(f.Context(), pair.AccessToken, DefaultMethods, AuthPolicy{})
		return err != nil && err.Reason == "revoked"
	})
	key, id := token.NewAPIKey()
	if err := f.store.Tokens().PutKey(t.Context(), store.APIKey{Grantee: store.Grantee{Node: "docs", NodeID: f.node("docs").ID}, Hash: token.Hash(key), ID: id, Data: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() bool {
		id, _ := f.app.Authenticate(f.Context(), key, DefaultMethods, AuthPolicy{})
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
		_, err := f.app.authority.caller(t.Context(), good, keys, g, time.Now().Add(at), AuthPolicy{})
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

// deafStore is one that others write to and that never tells of it.
type deafStore struct{ store.Store }

func (deafStore) Shared() bool { return true }

// TestPoll: where nobody tells of a change, it is seen all the same.
func TestPoll(t *testing.T) {
	f := run(t, twoNodes)
	pair := f.issue("shop")
	auth, err := newAuthority(f.app)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { auth.watch(ctx, deafStore{f.store}, make(chan struct{})) })
	defer running.Wait()
	defer cancel()
	if err := f.store.Tokens().RevokeNode(t.Context(), "shop", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	f.eventually(func() bool {
		g := auth.grants.Load()
		if g == nil {
			return false
		}
		_, err := auth.token(t.Context(), pair.AccessToken, AuthPolicy{}, g)
		return err != nil && err.Reason == "revoked"
	})
}
