package redis

import (
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// TestTheDocumentedPermissionsSuffice holds what docs/stores.md asks for.
func TestTheDocumentedPermissionsSuffice(t *testing.T) {
	server := redistest.Start(t)
	server.Do(append([]string{"ACL", "SETUSER", "fleet", "on", ">secret"}, documentedPermissions...)...)
	s := must(t, settings{Addresses: []string{server.Addr}, Username: "fleet", Password: "secret"})
	if err := useAll(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if heard := changeHeard(t, s, must(t, settings{Addresses: []string{server.Addr}})); heard > pollInterval/2 {
		t.Errorf("a change was heard after %v", heard)
	}

	// without channels a change is found by polling, and nothing fails
	server.Do("ACL", "SETUSER", "fleet", "resetchannels", "-publish", "-subscribe")
	quiet := settings{Addresses: []string{server.Addr}, Username: "fleet", Password: "secret"}
	changeHeard(t, must(t, quiet), must(t, quiet))
}

// changeHeard changes a node through one store, and returns how long it took
// until the other was told.
func changeHeard(t *testing.T, listens, changes *Store) time.Duration {
	t.Helper()
	heard, err := listens.Nodes().Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "nothing is left to hear", func() bool {
		select {
		case <-heard:
			return false
		default:
			return true
		}
	})
	start := time.Now()
	if _, err := changes.Nodes().Put(t.Context(), store.NodeRecord{Slug: "n" + start.Format("150405.000000000")}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-heard:
		return time.Since(start)
	case <-time.After(unhurried):
		t.Fatalf("not told of a change within %v", unhurried)
		return 0
	}
}
