package fleet

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
)

// storedBreakers are the records by node.
func storedBreakers(t *testing.T, s *brittle) map[string]store.BreakerRecord {
	t.Helper()
	records, err := s.Breakers().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byNode := make(map[string]store.BreakerRecord, len(records))
	for _, r := range records {
		byNode[r.Node] = r
	}
	return byNode
}

// pass lets time pass, in which the gateways look at the store every
// minute, and sweep every hour.
func pass(t *testing.T, d time.Duration, sharers ...*sharer) {
	t.Helper()
	swept := make(map[*sharer]time.Time)
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Minute) {
		for _, s := range sharers {
			s.step(t.Context(), true)
			if time.Since(swept[s]) >= breakerSweep {
				swept[s] = time.Now()
				s.tidy(t.Context())
			}
		}
	}
}

// A node that left the Caddyfile of all gateways leaves nothing in the store
// in the end; one that comes back within a week has its breaker again.
func TestTheBreakerOfANodeThatIsGoneIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		first, sharing := attachedPeer(t, s, nil, "http://", "a", "b")
		for i := range 2 {
			if err := first.gates[i].Force("open", "it burns", "ops", 0); err != nil {
				t.Fatal(err)
			}
		}
		pass(t, time.Minute, sharing)
		without, rest := attachedPeer(t, s, nil, "http://", "b") // a was taken out
		pass(t, 6*24*time.Hour, rest)
		if shared, err := decodeShared(storedBreakers(t, s)["a"]); err != nil || !shared.Abandoned {
			t.Fatalf("nobody says that the node is gone: %+v, %v", shared, err)
		}
		back, again := attachedPeer(t, s, nil, "http://", "a", "b") // and is put back
		if state := back.gates[0].Breaker(); state.State != breaker.ForcedOpen || state.Actor != "ops" {
			t.Fatalf("the node that came back within a week is %+v", state)
		}
		pass(t, 2*time.Minute, rest, again)
		pass(t, 7*24*time.Hour+12*time.Hour, rest) // a day until it is marked anew
		if _, there := storedBreakers(t, s)["a"]; !there {
			t.Fatal("the week does not begin anew with the return of the node")
		}
		pass(t, 13*time.Hour, rest)
		stored := storedBreakers(t, s)
		if _, there := stored["a"]; there {
			t.Errorf("the breaker of a node that nobody has is still stored: %+v", stored["a"])
		}
		if without.phase(0) != breaker.ForcedOpen || stored["b"].State != string(breaker.ForcedOpen) || stored["b"].Generation != 1 {
			t.Errorf("the breaker of a node that stayed is %s, stored %+v", without.phase(0), stored["b"])
		}
	})
}

// While one gateway has a node, the others' configs do not matter, for however
// long they differ.
func TestABreakerStaysWhileOneGatewayHasTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		with, has := attachedPeer(t, s, nil, "http://", "a", "b")
		_, lacks := attachedPeer(t, s, nil, "http://", "b")
		told := 0
		has.written = func(_ string, from, to breaker.State) {
			if from.Phase != to.Phase {
				told++
			}
		}
		if err := with.gates[0].Force("open", "it burns", "ops", 0); err != nil {
			t.Fatal(err)
		}
		pass(t, 30*24*time.Hour, has, lacks)
		record := storedBreakers(t, s)["a"]
		shared, err := decodeShared(record)
		if err != nil || shared.Phase != breaker.ForcedOpen || shared.Actor != "ops" || len(shared.History) != 1 {
			t.Fatalf("stored is %+v, %v", shared, err)
		}
		if state := with.gates[0].Breaker(); state.State != breaker.ForcedOpen || len(state.History) != 1 {
			t.Errorf("the breaker is %+v", state)
		}
		if told != 1 {
			t.Errorf("the opening was told %d times", told)
		}
		// a mark and its end each day, and not more
		if record.Generation > 1+2*31 {
			t.Errorf("the record was written %d times in a month", record.Generation)
		}
	})
}

// A pass changes a bounded number of records, those of registered nodes stay,
// and what cannot be read is deleted too.
func TestManyAbandonedBreakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sharedStore(t)
		for i := range 3 * sweepMost {
			record := store.BreakerRecord{Node: fmt.Sprintf("gone-%d", i), State: "open", Data: []byte(`{"state":"open"}`)}
			if i == 0 {
				record.Data = []byte("no JSON")
			}
			if _, err := s.Breakers().Transition(t.Context(), record); err != nil {
				t.Fatal(err)
			}
		}
		// in the store, where this gateway has not read it yet
		if _, err := s.Nodes().Put(t.Context(), store.NodeRecord{Slug: "gone-7", Data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		_, sharer := attachedPeer(t, s, nil, "http://", "a")
		marked := func() (n int) {
			for _, r := range storedBreakers(t, s) {
				if shared, err := decodeShared(r); err == nil && shared.Abandoned {
					n++
				}
			}
			return n
		}
		sweep := func() {
			t.Helper()
			if _, err := sharer.sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(markAfter - time.Minute)
		sweep()
		if n := marked(); n != 0 {
			t.Fatalf("%d records are marked after less than a day", n)
		}
		time.Sleep(time.Minute)
		for pass := range 4 {
			sweep()
			if n, most := marked(), min((pass+1)*sweepMost, 3*sweepMost-2); n != most {
				t.Errorf("%d records are marked after pass %d, expected %d", n, pass, most)
			}
		}
		time.Sleep(forgetAfter)
		for range 3 {
			sweep()
		}
		if left := storedBreakers(t, s); len(left) != 1 || left["gone-7"].Node == "" {
			t.Errorf("%d records are left, expected that of the registered node", len(left))
		}
	})
}
