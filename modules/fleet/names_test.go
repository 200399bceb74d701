package fleet

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

// stands expects that a node has its number and its key, and that nothing was
// said of it.
func (f *federated) stands(slug string, id int64, key string) {
	f.Helper()
	f.authenticates(key, slug)
	if stored, err := f.store.Nodes().ID(f.Context(), slug); err != nil || stored != id || f.node(slug).ID != id {
		f.Errorf("%s was %d, is %d here and %d in the store: %v", slug, id, f.node(slug).ID, stored, err)
	}
	events, err := f.store.Events().Since(f.Context(), 0, 1000)
	if err != nil {
		f.Fatal(err)
	}
	for _, event := range events {
		if event.Node == slug && (event.Kind == "node_replaced" || event.Kind == "node_unregistered") {
			f.Errorf("%s: there is an event %s", slug, event.Kind)
		}
	}
	revoked, err := f.store.Tokens().Revocations(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range revoked {
		if r.Subject == revokedNode+slug {
			f.Errorf("%s was revoked", slug)
		}
	}
}

// TestANameInTheCaddyfileOfAnotherGateway is an operator's on every gateway,
// until its file has it no more.
func TestANameInTheCaddyfileOfAnotherGateway(t *testing.T) {
	server := sharedRedis(t)
	without := openEnrollment + "\n" + twoNodes
	with := without + "node mill http://127.0.0.1:9\nnode gate http://127.0.0.1:8"
	a, b := gatewayOn(t, server, 1, "", without), gatewayOn(t, server, 2, "", without)
	ctx := t.Context()
	registered := b.squat("mill", "http://127.0.0.1:9", squatProof)
	as := b.authenticates(registered.key, "mill")
	if err := a.reload(with, nil); err != nil {
		t.Fatal(err)
	}
	a.store = a.app.Store()
	keys, ids := map[string]string{}, map[string]int64{}
	for _, slug := range []string{"mill", "gate"} {
		var err error
		if keys[slug], _, err = a.app.NewAPIKey(ctx, a.node(slug), nil); err != nil {
			t.Fatal(err)
		}
		ids[slug] = a.node(slug).ID
	}
	for what, r := range map[string]Registration{
		"the url":                   {Name: "gate", URL: "http://127.0.0.1:8"},
		"the url and a proof":       {Name: "gate", URL: "http://127.0.0.1:8", OwnerProof: squatProof},
		"another url":               {Name: "gate", URL: "http://127.0.0.1:7"},
		"its own url and proof":     {Name: "mill", URL: "http://127.0.0.1:9", OwnerProof: squatProof},
		"another url and its proof": {Name: "mill", URL: "http://127.0.0.1:7", OwnerProof: squatProof},
	} {
		for _, who := range []*Identity{nil, as} {
			if got, err := b.app.Register(ctx, r, enrollSecret, who); code(err) != CodeNodeExists {
				t.Errorf("%s with %s: %+v, %v", r.Name, what, got, err)
			}
		}
	}
	if _, err := b.app.UpdateNode(ctx, "mill", map[string]json.RawMessage{"url": json.RawMessage(`"http://127.0.0.1:7"`)}, ByNode); code(err) != CodeNodeFixed {
		t.Errorf("moved by itself: %v", err)
	}
	for _, slug := range []string{"mill", "gate"} {
		if err := b.app.LeaveNode(ctx, slug); code(err) != CodeNodeFixed {
			t.Errorf("%s left: %v", slug, err)
		}
		if err := b.app.DeleteNode(ctx, slug); code(err) != CodeNodeFixed {
			t.Errorf("%s was removed: %v", slug, err)
		}
		if err := b.app.EnableName(ctx, slug); code(err) != CodeNodeFixed {
			t.Errorf("%s was enabled where no file has it: %v", slug, err)
		}
		if _, err := b.app.AddNode(ctx, NodeConfig{Slug: slug, URL: "http://127.0.0.1:7"}); code(err) != CodeNodeExists {
			t.Errorf("%s was added: %v", slug, err)
		}
		a.stands(slug, ids[slug], keys[slug])
	}
	// at its own gateway it is known by its place
	if _, err := a.app.Register(ctx, Registration{Name: "gate", URL: "http://127.0.0.1:8"}, enrollSecret, nil); err != nil {
		t.Errorf("where the file has it: %v", err)
	}

	if err := a.reload(without, nil); err != nil { // which stops it first, so the name is free a little later
		t.Fatal(err)
	}
	b.eventually(func() bool {
		return b.app.heldElsewhere(ctx, b.app.Store(), "gate", CodeNodeExists) == nil
	})
	if got, err := b.app.Register(ctx, Registration{Name: "gate", URL: "http://127.0.0.1:7"}, enrollSecret, nil); err != nil || !got.Created || got.Node.ID == ids["gate"] {
		t.Errorf("after it left the file: %+v, %v", got, err)
	}
	if got, err := b.app.Register(ctx, Registration{Name: "mill", URL: "http://127.0.0.1:7", OwnerProof: squatProof}, enrollSecret, nil); err != nil || got.Node.ID != ids["mill"] {
		t.Errorf("who had it before: %+v, %v", got, err)
	}
}

// TestTheFileOfAGatewayThatIsGone holds no name for longer than the gateway is
// taken for alive.
func TestTheFileOfAGatewayThatIsGone(t *testing.T) {
	f := gatewayOn(t, sharedRedis(t), 1, "", openEnrollment+"\n"+twoNodes)
	word := []byte(`{"gateway":{"id":"gone"},"names":["mill"]}`)
	if _, _, err := f.store.Members().Beat(t.Context(), store.Member{ID: "gone", Data: word}, 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	join := func() error {
		_, err := f.app.Register(t.Context(), Registration{Name: "mill", URL: "http://127.0.0.1:9"}, enrollSecret, nil)
		return err
	}
	if err := join(); code(err) != CodeNodeExists {
		t.Errorf("while it lives: %v", err)
	}
	f.eventually(func() bool { return join() == nil })
}

// TestTheConfigThatComes has its names before the one that goes is stopped, and
// one that fails leaves none behind.
func TestTheConfigThatComes(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	mill := Registration{Name: "mill", URL: "http://127.0.0.1:9"}
	next := &federated{TB: t, name: f.name, opener: f.opener}
	if err := next.reload(openEnrollment+"\n"+twoNodes+"node mill http://127.0.0.1:9", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.app.Register(t.Context(), mill, enrollSecret, nil); code(err) != CodeNodeExists {
		t.Errorf("on the config that goes: %v", err)
	}
	next.halt()
	if _, err := f.app.Register(t.Context(), mill, enrollSecret, nil); err != nil {
		t.Errorf("once the next config has ended: %v", err)
	}
}

// overtaken runs a function once, when the number of a name was asked for.
type overtaken struct {
	store.Nodes
	once  *sync.Once
	other func()
}

func (o overtaken) ID(ctx context.Context, slug string) (int64, error) {
	id, err := o.Nodes.ID(ctx, slug)
	o.once.Do(o.other)
	return id, err
}

// TestWhoLosesTheRaceForANameRevokesNothing: a name that left the Caddyfile is
// taken on two gateways at once.
func TestWhoLosesTheRaceForANameRevokesNothing(t *testing.T) {
	for what, take := range map[string]func(*federated) error{
		"registers": func(f *federated) error {
			_, err := f.app.Register(f.Context(), Registration{Name: "docs", URL: "http://127.0.0.1:9"}, enrollSecret, nil)
			return err
		},
		"is added": func(f *federated) error {
			_, err := f.app.AddNode(f.Context(), NodeConfig{Slug: "docs", URL: "http://127.0.0.1:9"})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := run(t, openEnrollment+"\n"+twoNodes)
			o := overtaken{once: new(sync.Once), other: func() {
				record, err := f.store.Nodes().Put(t.Context(), store.NodeRecord{Slug: "docs", Data: []byte(`{"url":"http://127.0.0.1:7"}`)})
				if err != nil {
					t.Error(err)
				}
				err = f.store.Tokens().PutKey(t.Context(), store.APIKey{
					Grantee: store.Grantee{Node: "docs", NodeID: record.ID}, Hash: token.Hash("its key"), ID: "k", Data: []byte("{}"),
				})
				if err != nil {
					t.Error(err)
				}
			}}
			wrap := func(n store.Nodes) store.Nodes { o.Nodes = n; return o }
			if err := f.reload(openEnrollment+"\nkey main hs256 \""+testSecret+"\"\nnode shop http://127.0.0.1:1", wrap); err != nil {
				t.Fatal(err)
			}
			if err := take(f); code(err) != CodeNodeExists {
				t.Errorf("refused with %v", err)
			}
			if keys, err := f.store.Tokens().Keys(t.Context(), "docs"); err != nil || len(keys) != 1 {
				t.Errorf("who was faster has the keys %v: %v", keys, err)
			}
		})
	}
}
