package redis

import (
	"errors"
	"testing"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// TestNothingTakesTheNumberOfAForgottenNode: what is written between the
// moment a server comes back empty and the moment nodes are put back would get
// the numbers of nodes that are only forgotten, and tokens name nodes by number.
func TestNothingTakesTheNumberOfAForgottenNode(t *testing.T) {
	server := redistest.Start(t)
	s := must(t, settings{Addresses: []string{server.Addr}})
	put := func(slug string, revision uint64) (store.NodeRecord, error) {
		return s.Nodes().Put(t.Context(), store.NodeRecord{Slug: slug, Revision: revision, Data: []byte("{}")})
	}
	old, err := put("old", 0)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := s.Nodes().Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Do("FLUSHALL")
	for name, step := range map[string]func() error{
		"a new node":    func() error { _, err := put("new", 0); return err },
		"a look":        func() error { _, err := s.Nodes().Get(t.Context(), "old"); return err },
		"a change":      func() error { _, err := put("old", 1); return err },
		"a deletion":    func() error { return s.Nodes().Delete(t.Context(), "old", 0) },
		"numbers":       func() error { _, err := s.Nodes().AssignIDs(t.Context(), []string{"fixed"}); return err },
		"no numbers":    func() error { _, err := s.Nodes().AssignIDs(t.Context(), nil); return err },
		"a static node": func() error { _, err := s.Nodes().AssignIDs(t.Context(), []string{"old"}); return err },
	} {
		if err := step(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	<-changes // whoever knows is told
	if err := s.Nodes().Restore(t.Context(), map[string]int64{"old": old.ID}, []store.NodeRecord{old}); err != nil {
		t.Fatal(err)
	}
	if new, err := put("new", 0); err != nil || new.ID != old.ID+1 {
		t.Errorf("a new node is %+v: %v", new, err)
	}

	// a failover that lost the last number
	server.Do("SET", s.key(nodesAt, ":last_id"), "1")
	if newer, err := put("newer", 0); err != nil || newer.ID != old.ID+2 {
		t.Errorf("a newer node is %+v: %v", newer, err)
	}

	// with nothing to put back
	server.Do("FLUSHALL")
	if err := s.Nodes().Restore(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	if newest, err := put("newest", 0); err != nil || newest.ID != old.ID+3 {
		t.Errorf("the newest node is %+v: %v", newest, err)
	}
}
