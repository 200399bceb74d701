package fleet

import (
	"math"
	"slices"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// Distribution is how a number of things are shared out among nodes.
type Distribution struct {
	// Count is how many are shared out: the sum of the nodes' counts, or 0 when
	// no node can have any.
	Count int               `json:"count"`
	Nodes []DistributedNode `json:"nodes"`
	// LeftOut are the nodes that get none now.
	LeftOut []LeftOutNode `json:"left_out"`
}

// DistributedNode is what one node gets.
type DistributedNode struct {
	Node   string  `json:"node"`
	Weight float64 `json:"weight"`
	Count  int     `json:"count"`
}

// LeftOutNode is a node that gets nothing, and why: one of the reasons of a
// [RefusalError], half_open (trial calls alone go there) or capability.
type LeftOutNode struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// Distribute shares n things, such as the jobs of a batch, out among the nodes
// that have all the capabilities and can be called now, by their weights. It
// takes no place anywhere: what is done with it is the caller's.
func (a *App) Distribute(n int, capabilities ...string) Distribution {
	d := Distribution{Nodes: []DistributedNode{}, LeftOut: []LeftOutNode{}}
	var weights []float64
	for _, node := range a.Snapshot().Nodes {
		reason := node.Refusal()
		switch {
		case slices.ContainsFunc(capabilities, func(c string) bool { return !slices.Contains(node.Capabilities, c) }):
			reason = "capability"
		case reason == errRefusedBulkhead.Reason: // busy for a moment
			reason = ""
		case reason == "" && node.UsedUp("") > 0: // a budget that all paths share
			reason = ReasonBudget
		case reason == "" && node.Breaker().State == breaker.HalfOpen && node.Breaker().Share == 0:
			reason = string(breaker.HalfOpen)
		}
		if reason != "" {
			d.LeftOut = append(d.LeftOut, LeftOutNode{node.Slug, reason})
			continue
		}
		d.Nodes = append(d.Nodes, DistributedNode{Node: node.Slug, Weight: node.Weight})
		weights = append(weights, node.Weight)
	}
	for i, share := range Distribute(n, weights) {
		d.Nodes[i].Count = share
		d.Count += share
	}
	return d
}

// Distribute shares n things out by weight, so that the shares sum to n: each
// gets its whole part, and what is left goes to the largest remainders, the
// earlier first among equals (the largest remainder method, also Hamilton's).
// A weight that is not above 0 gets nothing; when none is, all shares are 0.
func Distribute(n int, weights []float64) []int {
	shares := make([]int, len(weights))
	total := 0.0
	for _, w := range weights {
		if weighs(w) {
			total += w
		}
	}
	if n <= 0 || total == 0 || math.IsInf(total, 1) {
		return shares
	}
	left := n
	remainders := make([]float64, len(weights))
	var order []int
	for i, w := range weights {
		if !weighs(w) {
			continue
		}
		whole, part := math.Modf(float64(n) * (w / total))
		shares[i], remainders[i] = int(whole), part
		left -= shares[i]
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case remainders[a] > remainders[b]:
			return -1
		case remainders[a] < remainders[b]:
			return 1
		default:
			return 0
		}
	})
	for k := 0; left > 0; k++ {
		shares[order[k%len(order)]]++
		left--
	}
	// rounding of huge n may have given one too many
	for k := len(order) - 1; left < 0; k = (k - 1 + len(order)) % len(order) {
		if shares[order[k]] > 0 {
			shares[order[k]]--
			left++
		}
	}
	return shares
}

func weighs(weight float64) bool { return weight > 0 && !math.IsInf(weight, 1) }
