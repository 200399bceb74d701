package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	_ "github.com/caddy-federation/caddy-federation/store/redis"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// What gateways of one federation hear of each other over a real Redis. Each
// gateway here has its own connections, though all are in this process.

// quiet is a user of the server who may neither publish nor subscribe: what is
// heard is polled for then.
const quiet = "quiet"

// sharedRedis starts a server for gateways.
func sharedRedis(t testing.TB) *redistest.Server {
	t.Helper()
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", quiet, "on", ">"+quiet, "resetchannels", "~*", "+@all", "-publish", "-subscribe")
	return server
}

// redisOpener opens the store of one federation, whatever the federation that
// asks is called.
type redisOpener struct {
	store.Opener
	federation string
}

func (r redisOpener) Open(ctx context.Context, _ string, logger *zap.Logger) (store.Store, error) {
	return r.Opener.Open(ctx, r.federation, logger)
}

// openerOn is the store of gateway n, as Caddy loads it. Its timeout is one that
// no busy machine exceeds, and another for each, so that none share connections.
func openerOn(t testing.TB, server *redistest.Server, n int, user string) store.Opener {
	t.Helper()
	credentials := ""
	if user != "" {
		credentials = fmt.Sprintf(`,"username":%q,"password":%q`, user, user)
	}
	module, err := root().LoadModuleByID("federation.stores.redis",
		fmt.Appendf(nil, `{"urls":[%q],"timeout":%d%s}`, server.URL(), 10*time.Second+time.Duration(n), credentials))
	if err != nil {
		t.Fatal(err)
	}
	return redisOpener{module.(store.Opener), t.Name()}
}

// gatewayOn starts gateway n of a federation on a server.
func gatewayOn(t testing.TB, server *redistest.Server, n int, user, block string) *federated {
	t.Helper()
	f := &federated{TB: t, name: fmt.Sprint(t.Name(), " ", n), opener: openerOn(t, server, n, user)}
	if err := f.reload(block, nil); err != nil {
		t.Fatal(err)
	}
	f.store = f.app.Store()
	return f
}

// withAndWithoutPush runs a test with pub/sub, and without it.
func withAndWithoutPush(t *testing.T, test func(t *testing.T, user string)) {
	for name, user := range map[string]string{"pushed": "", "polled": quiet} {
		t.Run(name, func(t *testing.T) { test(t, user) })
	}
}

// within waits until something is so, and fails when it took longer than a
// second, which is what the documentation says of every gateway.
func within(t *testing.T, what string, so func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !so() {
		if time.Since(start) > 30*time.Second {
			t.Fatalf("not after 30s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(start)
	if took > time.Second {
		t.Errorf("%s: after %v, expected within 1s", what, took)
	}
	return took
}

func (f *federated) refusesAs(raw, reason string) bool {
	_, err := f.app.Authenticate(f.Context(), raw, DefaultMethods, AuthPolicy{})
	return err != nil && err.Reason == reason
}

// TestARevocationReachesTheOtherGateway: of a token, and of a node with all it
// was given.
func TestARevocationReachesTheOtherGateway(t *testing.T) {
	withAndWithoutPush(t, func(t *testing.T, user string) {
		server := sharedRedis(t)
		a, b := gatewayOn(t, server, 1, user, twoNodes), gatewayOn(t, server, 2, user, twoNodes)
		var token, node []time.Duration
		for range 10 {
			pair := a.issue("shop")
			b.authenticates(pair.AccessToken, "shop")
			if err := a.app.RevokeToken(t.Context(), pair.AccessToken); err != nil {
				t.Fatal(err)
			}
			a.refuses(pair.AccessToken, "revoked") // here at once
			token = append(token, within(t, "a token is revoked", func() bool { return b.refusesAs(pair.AccessToken, "revoked") }))

			pair, other := a.issue("docs"), a.issue("shop")
			b.authenticates(pair.AccessToken, "docs")
			if err := a.app.RevokeNode(t.Context(), "docs"); err != nil {
				t.Fatal(err)
			}
			a.refuses(pair.AccessToken, "revoked")
			node = append(node, within(t, "a node is revoked", func() bool { return b.refusesAs(pair.AccessToken, "revoked") }))
			b.authenticates(other.AccessToken, "shop")
			if _, err := b.app.RefreshTokens(t.Context(), pair.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
				t.Errorf("a revoked node's refresh token: %v", err)
			}
		}
		slices.Sort(token)
		slices.Sort(node)
		t.Logf("of a token after %v (median), %v (at most); of a node after %v, %v", token[5], token[9], node[5], node[9])
	})
}

// TestAReplayOnOneGatewayKillsTheFamilyOnTheOther: a refresh token that was
// replaced long ago is shown to B.
func TestAReplayOnOneGatewayKillsTheFamilyOnTheOther(t *testing.T) {
	withAndWithoutPush(t, func(t *testing.T, user string) {
		server := sharedRedis(t)
		block := twoNodes + "refresh_grace off\n"
		a, b := gatewayOn(t, server, 1, user, block), gatewayOn(t, server, 2, user, block)
		other, first := a.issue("shop"), a.issue("shop")
		second, err := a.app.RefreshTokens(t.Context(), first.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		a.authenticates(second.AccessToken, "shop")
		b.eventually(func() bool { // the server's clock goes on
			_, err := b.app.RefreshTokens(t.Context(), first.RefreshToken)
			return errors.Is(err, ErrInvalidRefresh)
		})
		took := within(t, "the family is dead", func() bool { return a.refusesAs(second.AccessToken, "revoked") })
		t.Logf("after %v", took)
		b.refuses(second.AccessToken, "revoked")
		for name, f := range map[string]*federated{"a": a, "b": b} {
			if _, err := f.app.RefreshTokens(t.Context(), second.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
				t.Errorf("the successor lives on %s: %v", name, err)
			}
			f.authenticates(other.AccessToken, "shop") // another family
		}
		b.happened("refresh_replayed", "shop")
	})
}

// TestARevocationOnOneGatewayBindsTheOther: B gives nothing under what it let
// in before A's revocation, whether or not it has heard of it.
func TestARevocationOnOneGatewayBindsTheOther(t *testing.T) {
	server := sharedRedis(t)
	a, b := gatewayOn(t, server, 1, "", twoNodes), gatewayOn(t, server, 2, "", twoNodes)
	for range 5 {
		pair := b.issue("shop")
		as := b.authenticates(pair.AccessToken, "shop")
		if err := a.app.RevokeNode(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.app.NewAPIKey(t.Context(), b.node("shop"), as); code(err) != CodeNodeConflict {
			t.Errorf("an API key: %v", err)
		}
		b.refuses(pair.AccessToken, "revoked") // it has heard of it by being refused
		if _, err := b.app.RefreshAccess(t.Context(), pair.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
			t.Errorf("a new token: %v", err)
		}
		if keys, err := a.app.Store().Tokens().Keys(t.Context(), ""); err != nil || len(keys) != 0 {
			t.Errorf("keys are %+v: %v", keys, err)
		}
	}
	// what is given afterwards is good on both
	pair := b.issue("shop")
	a.authenticates(pair.AccessToken, "shop")
	b.authenticates(pair.AccessToken, "shop")
}
