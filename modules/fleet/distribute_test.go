package fleet

import (
	"errors"
	"math"
	"testing"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// TestDistribute: the shares sum to what is shared out, among the nodes that
// can be called, whatever is wrong with the others.
func TestDistribute(t *testing.T) {
	f := run(t, `
		node heavy http://127.0.0.1:1 {
			weight 3
		}
		node light http://127.0.0.1:2
		node reader http://127.0.0.1:3 {
			capabilities search
		}
		node leaving http://127.0.0.1:4 {
			admin_state draining
		}
		node broken http://127.0.0.1:5`)
	if err := f.node("broken").Gate().Force("open", "", "", 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		n            int
		capabilities []string
		counts       map[string]int
		leftOut      map[string]string
	}{
		{10, nil, map[string]int{"heavy": 6, "light": 2, "reader": 2}, map[string]string{"leaving": "draining", "broken": "open"}},
		{1, nil, map[string]int{"heavy": 1, "light": 0, "reader": 0}, map[string]string{"leaving": "draining", "broken": "open"}},
		{11, []string{"search", "actions"}, map[string]int{"heavy": 8, "light": 3}, map[string]string{"leaving": "draining", "broken": "open", "reader": "capability"}},
	} {
		d, sum := f.app.Distribute(c.n, c.capabilities...), 0
		for _, node := range d.Nodes {
			if expected, there := c.counts[node.Node]; !there || node.Count != expected || node.Weight != f.node(node.Node).Weight {
				t.Errorf("of %d: %+v, expected %v", c.n, node, c.counts)
			}
			sum += node.Count
		}
		for _, node := range d.LeftOut {
			if c.leftOut[node.Node] != node.Reason {
				t.Errorf("of %d: %+v, expected %v", c.n, node, c.leftOut)
			}
		}
		if sum != c.n || d.Count != c.n || len(d.Nodes) != len(c.counts) || len(d.LeftOut) != len(c.leftOut) {
			t.Errorf("%d were shared out as %+v", c.n, d)
		}
	}
	if d := f.app.Distribute(5, "nobody"); d.Count != 0 || len(d.Nodes) != 0 || len(d.LeftOut) != 5 {
		t.Errorf("nobody can have any: %+v", d)
	}
	// a budget that all paths share, and nothing is left of it
	f2 := run(t, "node limited http://127.0.0.1:1 {\n budget 1 1h\n}\nnode paths http://127.0.0.1:2 {\n budget 1 1h per_path\n}")
	for _, slug := range []string{"limited", "paths"} {
		if err := errors.Join(f2.node(slug).Spend(t.Context(), "/x"), f2.node(slug).Spend(t.Context(), "/x")); err == nil {
			t.Errorf("%s: nothing is used up", slug)
		}
	}
	if d := f2.app.Distribute(4); len(d.LeftOut) != 1 || d.LeftOut[0] != (LeftOutNode{"limited", ReasonBudget}) || d.Count != 4 {
		t.Errorf("without budget: %+v", d)
	}
	// from open through trial calls, which are no place for a batch
	if err := f.node("broken").Gate().Force("auto", "", "", 0); err != nil {
		t.Fatal(err)
	}
	if state := f.node("broken").Breaker().State; state != breaker.HalfOpen {
		t.Fatalf("the breaker is %s", state)
	}
	for _, node := range f.app.Distribute(5).LeftOut {
		if node.Node == "broken" && node.Reason != "half_open" {
			t.Errorf("a node that is tried is left out as %q", node.Reason)
		}
	}
}

func FuzzDistribute(f *testing.F) {
	f.Add(10, 1.0, 1.0, 1.0)
	f.Add(100, 0.1, 1000.0, 3.0)
	f.Add(7, 0.0, -1.0, 5.0)
	f.Add(math.MaxInt32, 1e-300, 1e300, math.MaxFloat64)
	f.Add(3, math.Inf(1), math.NaN(), 1.0)
	f.Add(-1, 1.0, 1.0, 1.0)
	f.Fuzz(func(t *testing.T, n int, a, b, c float64) {
		if n > math.MaxInt32 {
			n %= math.MaxInt32
		}
		weights := []float64{a, b, c}
		total, sum := 0.0, 0
		for _, w := range weights {
			if weighs(w) {
				total += w
			}
		}
		for i, share := range Distribute(n, weights) {
			sum += share
			if share < 0 || share > 0 && !weighs(weights[i]) {
				t.Fatalf("%v get %d of %d", weights[i], share, n)
			}
			if due := float64(n) * (weights[i] / total); weighs(weights[i]) && n > 0 && !math.IsInf(total, 1) && math.Abs(float64(share)-due) >= 1+due*1e-9 {
				t.Fatalf("a weight of %v gets %d of %d, due are %v", weights[i], share, n, due)
			}
		}
		if n > 0 && total > 0 && !math.IsInf(total, 1) && sum != n {
			t.Fatalf("%d were shared out by %v as %d", n, weights, sum)
		}
	})
}
