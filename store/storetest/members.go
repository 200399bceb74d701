package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

func members(t *testing.T, b Backend) {
	ctx, s := t.Context(), open(t, b)
	m := s.Members()
	beat := func(id, data string, ttl time.Duration) (alive []store.Member, clock time.Time) {
		t.Helper()
		alive, clock, err := m.Beat(ctx, store.Member{ID: id, Data: []byte(data)}, ttl)
		ok(t, err)
		return alive, clock
	}
	before := now(t, s)
	alive, clock := beat("b", `{"n":1}`, time.Minute)
	if len(alive) != 1 || alive[0].ID != "b" || string(alive[0].Data) != `{"n":1}` || !alive[0].Beat.Equal(clock) {
		t.Fatalf("alive are %+v at %v", alive, clock)
	}
	if clock.Before(before) || clock.After(now(t, s)) {
		t.Fatalf("the clock is %v, between %v and %v it should be", clock, before, now(t, s))
	}
	if won := together(t, 30, nil, func(i int) error {
		_, _, err := m.Beat(ctx, store.Member{ID: fmt.Sprintf("many-%02d", i)}, 10*time.Second)
		return err
	}); won != 30 {
		t.Fatalf("%d of 30 joined", won)
	}
	alive, _ = beat("a", "{}", 10*time.Minute)
	if len(alive) != 32 || alive[0].ID != "a" || alive[1].ID != "b" || alive[31].ID != "many-29" {
		t.Fatalf("%d are alive: %+v", len(alive), alive)
	}
	if !alive[1].Beat.Before(alive[0].Beat) {
		t.Fatalf("b beat at %v, a at %v", alive[1].Beat, alive[0].Beat)
	}

	b.Advance(20 * time.Second)
	alive, _ = beat("b", `{"n":2}`, time.Minute)
	if len(alive) != 2 || string(alive[1].Data) != `{"n":2}` {
		t.Fatalf("alive after 20s are %+v", alive)
	}
	b.Advance(50 * time.Second) // renewed, b outlives its first minute
	if alive, _ = beat("a", "{}", time.Minute); len(alive) != 2 {
		t.Fatalf("alive after 70s are %+v", alive)
	}
	sweep(t, b, s)
	ok(t, m.Leave(ctx, "b"))
	ok(t, m.Leave(ctx, "b"))
	ok(t, m.Leave(ctx, "nobody"))
	if alive, _ = beat("a", "{}", time.Minute); len(alive) != 1 || alive[0].ID != "a" {
		t.Fatalf("alive after b left are %+v", alive)
	}
	_, _, err := m.Beat(ctx, store.Member{}, time.Minute)
	fails(t, err, store.ErrNotFound)
}
