package policy

import (
	"math"
	"slices"
)

// Distribute shares n things out by weight, so that the shares sum to n: each
// gets its whole part, and what is left goes to the largest remainders, the
// earlier first among equals (the largest remainder method, also Hamilton's).
// A weight that is not above 0 gets nothing; when none is, all shares are 0.
func Distribute(n int, weights []float64) []int {
	shares := make([]int, len(weights))
	total := 0.0
	for _, w := range weights {
		if valid(w) {
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
		if !valid(w) {
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

func valid(weight float64) bool { return weight > 0 && !math.IsInf(weight, 1) }
