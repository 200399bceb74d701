package fleet

import (
	"testing"
	"time"
)

// BenchmarkAuthenticate is a verification of a token that is known: at most
// 300 ns and one allocation.
func BenchmarkAuthenticate(b *testing.B) {
	a, raw := benched(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), raw, DefaultMethods, AuthPolicy{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateParallel(b *testing.B) {
	a, raw := benched(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Authenticate(b.Context(), raw, DefaultMethods, AuthPolicy{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStands is the second look at a caller, when its body has come: at
// most 200 ns and no allocation.
func BenchmarkStands(b *testing.B) {
	a, raw := benched(b)
	id, err := a.Authenticate(b.Context(), raw, DefaultMethods, AuthPolicy{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !a.Stands(id, "search") {
			b.Fatal("it does not stand")
		}
	}
}

func benched(b testing.TB) (*App, string) {
	b.Helper()
	node := &Node{ID: 7, Slug: "shop", Name: "Shop", Type: TypeChild, AdminState: AdminEnabled, Capabilities: []string{"search", "actions"}}
	a := &App{
		Name: "bench", Issuer: "caddy-federation", Keys: []KeyConfig{{ID: "main", Algorithm: "HS256", Secret: testSecret}},
		shared: &shared{}, logger: root().Logger(),
	}
	a.registry = &registry{app: a}
	a.registry.current.Store(&Snapshot{Nodes: []*Node{node}, bySlug: map[string]*Node{"shop": node}, byID: map[int64]*Node{7: node}})
	if err := a.loadKeys(); err != nil {
		b.Fatal(err)
	}
	if err := a.defaultTokens(); err != nil {
		b.Fatal(err)
	}
	var err error
	if a.authority, err = newAuthority(a); err != nil {
		b.Fatal(err)
	}
	a.authority.grants.Store(new(grants))
	raw, err := a.sign(node, "family", time.Now(), 0)
	if err != nil {
		b.Fatal(err)
	}
	return a, raw
}

// TestCachedCost: no allocation, and far from what the signature costs, on a
// busy machine too.
func TestCachedCost(t *testing.T) {
	a, raw := benched(t)
	authenticate := func() {
		if _, err := a.Authenticate(t.Context(), raw, DefaultMethods, AuthPolicy{}); err != nil {
			t.Fatal(err)
		}
	}
	authenticate()
	if n := testing.AllocsPerRun(1000, authenticate); n > 1 {
		t.Errorf("%v allocations", n)
	}
	verifier := a.authority.verifier(a.keys, a.authority.current())
	best := 1.0
	for range 5 { // one calm round is enough
		start := time.Now()
		for range 2000 {
			authenticate()
		}
		middle := time.Now()
		for range 2000 {
			if _, refusal := verifier.Verify(raw, start, false); refusal != nil {
				t.Fatal(refusal)
			}
		}
		cached, whole := middle.Sub(start), time.Since(middle)
		if best = min(best, float64(cached)/float64(whole)); best < 0.1 {
			t.Logf("%v of %v", cached/2000, whole/2000)
			return
		}
	}
	t.Errorf("a known token costs %.2f of a new one, expected less than 0.1", best)
}
