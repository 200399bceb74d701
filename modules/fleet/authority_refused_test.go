package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// deaf are nodes of a store that says nothing of their changes: who has them
// lags for as long as nothing makes it read.
type deaf struct{ store.Nodes }

func (deaf) Watch(ctx context.Context) (<-chan struct{}, error) {
	changes := make(chan struct{})
	context.AfterFunc(ctx, func() { close(changes) })
	return changes, nil
}

// refreshers are both ways to refresh; a token that was used up by the first
// is a replay at once under `refresh_grace off`.
var refreshers = map[string]func(*App, context.Context, string) (TokenPair, error){
	"rotating": (*App).RefreshTokens, "keeping": (*App).RefreshAccess,
}

// unharmed expects a pair to be good on a gateway, and nothing to have been stolen.
func (f *federated) unharmed(pair TokenPair, slug string) {
	f.Helper()
	f.authenticates(pair.AccessToken, slug)
	next, err := f.app.RefreshTokens(f.Context(), pair.RefreshToken)
	if err != nil {
		f.Fatalf("the refresh token is no good after it was refused: %v", err)
	}
	f.authenticates(next.AccessToken, slug)
	events, err := f.store.Events().Since(f.Context(), 0, 1000)
	if err != nil {
		f.Fatal(err)
	}
	if slices.ContainsFunc(events, func(e store.Event) bool { return e.Kind == "refresh_replayed" }) {
		f.Error("the client's next try counts as theft")
	}
}

// setState lets a node act, or not.
func (f *federated) setState(slug string, state AdminState) {
	f.Helper()
	word, err := json.Marshal(state)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := f.app.UpdateNode(f.Context(), slug, map[string]json.RawMessage{"admin_state": word}, ByOperator); err != nil {
		f.Fatal(err)
	}
}

// TestARefusedRefreshChangesNothing: of a node that may not act for a while,
// however often it asks; a draining one may.
func TestARefusedRefreshChangesNothing(t *testing.T) {
	for _, state := range []AdminState{AdminMaintenance, AdminDisabled} {
		for name, refresh := range refreshers {
			t.Run(string(state)+" "+name, func(t *testing.T) {
				f := run(t, twoNodes+"refresh_grace off\n")
				pair := f.issue("shop")
				f.setState("shop", state)
				for range 3 {
					_, err := refresh(f.app, t.Context(), pair.RefreshToken)
					var refused *AuthError
					if !errors.As(err, &refused) || refused.Status != http.StatusForbidden || refused.NodeStatus != string(state) {
						t.Fatalf("%v, expected 403 and the state", err)
					}
				}
				f.setState("shop", AdminDraining)
				if _, err := f.app.RefreshAccess(t.Context(), pair.RefreshToken); err != nil {
					t.Errorf("draining: %v", err)
				}
				f.setState("shop", AdminEnabled)
				f.unharmed(pair, "shop")
			})
		}
	}
}

// TestARefreshThatCannotBeSignedChangesNothing: until there is a key again.
func TestARefreshThatCannotBeSignedChangesNothing(t *testing.T) {
	block := twoNodes + "refresh_grace off\n"
	f := run(t, block)
	pair := f.issue("shop")
	if err := f.reload(strings.Replace(block, testSecret+`"`, testSecret+`" verify_only`, 1), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.app.RefreshTokens(t.Context(), pair.RefreshToken); !errors.Is(err, ErrCannotSign) {
		t.Fatal(err)
	}
	if err := f.reload(block, nil); err != nil {
		t.Fatal(err)
	}
	f.unharmed(pair, "shop")
}

// TestARefreshAtAGatewayThatDoesNotHaveTheNode: it stands in the Caddyfile of
// another one, which takes the token afterwards.
func TestARefreshAtAGatewayThatDoesNotHaveTheNode(t *testing.T) {
	for name, refresh := range refreshers {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			block := twoNodes + "refresh_grace off\n"
			a := gatewayOn(t, server, 1, "", block+"node mill http://127.0.0.1:3\n")
			b := gatewayOn(t, server, 2, "", block)
			pair := a.issue("mill")
			for range 2 {
				if _, err := refresh(b.app, t.Context(), pair.RefreshToken); !errors.Is(err, ErrInvalidRefresh) {
					t.Fatal(err)
				}
			}
			a.unharmed(pair, "mill")
		})
	}
}

// registers lets a node register, and gives it its tokens.
func (f *federated) registers(name, url string) TokenPair {
	f.Helper()
	r, err := f.app.Register(f.Context(), Registration{Name: name, URL: url}, enrollSecret, nil)
	if err != nil {
		f.Fatal(err)
	}
	pair, err := f.app.IssueRegistered(f.Context(), r)
	if err != nil {
		f.Fatal(err)
	}
	return pair
}

// TestARefreshAtAGatewayThatLags: it has not heard of the node, or knows
// an earlier one of the name, and reads the registry before it judges.
func TestARefreshAtAGatewayThatLags(t *testing.T) {
	for name, refresh := range refreshers {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			block := openEnrollment + "\n" + twoNodes
			a := gatewayOn(t, server, 1, "", block)
			b, _ := laggingCounted(t, server, block)
			pair := a.registers("Mill", "http://127.0.0.1:9")
			if b.app.Snapshot().Node("mill") != nil {
				t.Fatal("the gateway does not lag")
			}
			next, err := refresh(b.app, t.Context(), pair.RefreshToken)
			if err != nil {
				t.Fatalf("a new node: %v", err)
			}
			b.authenticates(next.AccessToken, "mill")
			number := b.node("mill").ID

			if err := a.app.DeleteNode(t.Context(), "mill"); err != nil {
				t.Fatal(err)
			}
			pair = a.registers("Mill", "http://127.0.0.1:10")
			if b.node("mill").ID != number {
				t.Fatal("the gateway does not lag")
			}
			if next, err = refresh(b.app, t.Context(), pair.RefreshToken); err != nil {
				t.Fatalf("a new node of a name that it knows: %v", err)
			}
			b.authenticates(next.AccessToken, "mill")
			a.unharmed(pair, "mill")
		})
	}
}

// TestARefreshWhileTheRegistryCannotBeRead is neither good nor a reason to
// revoke anything.
func TestARefreshWhileTheRegistryCannotBeRead(t *testing.T) {
	server := redistest.Start(t)
	block := openEnrollment + "\n" + twoNodes
	a := gatewayOn(t, server, 1, "", block)
	old := a.registers("Mill", "http://127.0.0.1:9")
	broken := &unlisted{}
	b := &federated{TB: t, name: t.Name() + " b", opener: openerOn(t, server, 2, "")}
	if err := b.reload(block, func(nodes store.Nodes) store.Nodes { broken.Nodes = deaf{nodes}; return broken }); err != nil {
		t.Fatal(err)
	}
	b.authenticates(old.AccessToken, "mill")
	if err := a.app.DeleteNode(t.Context(), "mill"); err != nil {
		t.Fatal(err)
	}
	pair := a.registers("Mill", "http://127.0.0.1:10")
	broken.err = store.ErrUnavailable
	for _, refresh := range refreshers {
		if _, err := refresh(b.app, t.Context(), pair.RefreshToken); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%v, expected that the store cannot be used", err)
		}
	}
	a.unharmed(pair, "mill")
}

// unlisted are nodes that cannot be listed once err is set.
type unlisted struct {
	store.Nodes
	err error
}

func (u *unlisted) List(ctx context.Context) ([]store.NodeRecord, error) {
	if u.err != nil {
		return nil, u.err
	}
	return u.Nodes.List(ctx)
}

// TestOneSuccessorOnAllGateways: of a hundred refreshes at once on two of them.
func TestOneSuccessorOnAllGateways(t *testing.T) {
	server := redistest.Start(t)
	a, b := gatewayOn(t, server, 1, "", twoNodes), gatewayOn(t, server, 2, "", twoNodes)
	first := a.issue("shop")
	var mu sync.Mutex
	var pairs []TokenPair
	var running sync.WaitGroup
	for i := range 100 {
		running.Go(func() {
			pair, err := []*federated{a, b}[i%2].app.RefreshTokens(t.Context(), first.RefreshToken)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			pairs = append(pairs, pair)
		})
	}
	running.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, pair := range pairs {
		if pair.RefreshToken != pairs[0].RefreshToken {
			t.Fatal("there are two successors")
		}
		a.authenticates(pair.AccessToken, "shop")
		b.authenticates(pair.AccessToken, "shop")
	}
	a.unharmed(pairs[0], "shop")
}
