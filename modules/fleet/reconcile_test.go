package fleet

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

func TestAStoreThatCameBackEmptyGetsBackWhatIsKnown(t *testing.T) {
	f := run(t, "node fixed http://127.0.0.1:1")
	f.put("shop", `{"url":"http://127.0.0.1:2"}`)
	revoked := store.Revocation{Subject: revokedToken + "1", At: time.Now(), Until: time.Now().Add(time.Hour)}
	if err := f.store.Tokens().Revoke(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	if err := f.app.readStore(t.Context(), f.store); err != nil {
		t.Fatal(err)
	}
	fixed, shop := f.node("fixed").ID, f.node("shop").ID

	empty, err := memory.New(time.Now, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	// revocations may be read while the nodes are not yet back
	if err := f.app.authority.read(t.Context(), empty.Tokens()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		if err := f.app.registry.read(t.Context(), empty.Nodes()); err != nil {
			t.Fatal(err)
		}
		if err := f.app.authority.read(t.Context(), empty.Tokens()); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := empty.Nodes().AssignIDs(t.Context(), []string{"fixed", "shop", "new"})
	if err != nil || ids["fixed"] != fixed || ids["shop"] != shop || ids["new"] <= max(fixed, shop) {
		t.Errorf("ids are %v, expected %d and %d: %v", ids, fixed, shop, err)
	}
	if list, err := empty.Nodes().List(t.Context()); err != nil || len(list) != 1 || list[0].Slug != "shop" {
		t.Errorf("nodes are %+v: %v", list, err)
	}
	list, err := empty.Tokens().Revocations(t.Context())
	if err != nil || len(list) != 1 || list[0].Subject != revoked.Subject || !list[0].Until.Equal(revoked.Until) {
		t.Errorf("revocations are %+v: %v", list, err)
	}
	if f.node("shop").ID != shop || !f.app.authority.current().tokens["1"] {
		t.Error("the federation forgot what it knew")
	}
	for message, times := range map[string]int{
		"the store is empty: nodes and their numbers were put back as they were last read": 1,
		"the store was empty: revocations were put back":                                   1,
	} {
		if got := f.said.FilterMessage(message).Len(); got != times {
			t.Errorf("%q was logged %d times, expected %d", message, got, times)
		}
	}
}
