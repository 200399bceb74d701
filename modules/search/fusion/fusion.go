// Package fusion merges ranked lists into one: pure functions over ranks and
// scores, without a server. The same lists give the same result in whatever
// order the nodes answered, as long as the lists are handed over in one order.
package fusion

import "math"

// List is what one node returned, best first.
type List struct {
	// Weight is the node's share, above 0.
	Weight float64
	Items  []Item
}

// Item is one hit of a list.
type Item struct {
	// Document numbers the document from 0; copies share a number.
	Document int
	// Score is the node's own. HasScore tells a missing one from 0.
	Score    float64
	HasScore bool
}

// Method gives every document its score; documents is how many there are. In
// each list only the first copy of a document counts. Scores are finite.
type Method func(lists []List, documents int) []float64

// Methods are the methods by their names.
var Methods = map[string]Method{"rrf": RRF, "relative": Relative, "raw": Raw}

// K is the constant of reciprocal rank fusion.
const K = 60

// RRF is reciprocal rank fusion: the sum over the lists of weight/(K + rank),
// rank from 1. It needs no scores. Source: Cormack, Clarke and Büttcher,
// "Reciprocal rank fusion outperforms Condorcet and individual rank learning
// methods", SIGIR 2009.
func RRF(lists []List, documents int) []float64 {
	scores := make([]float64, documents)
	for _, list := range lists {
		eachFirst(list, documents, func(rank int, item Item) {
			scores[item.Document] += list.Weight / float64(K+rank)
		})
	}
	return scores
}

// Floor is what the last hit of a list is worth to [Relative]: more than a
// document that the node did not return.
const Floor = 0.001

// Relative stretches each node's scores to Floor..1 (min–max), times the
// weight, and adds them up. A list without scores counts by rank; one whose
// scores are all equal counts fully.
func Relative(lists []List, documents int) []float64 {
	scores := make([]float64, documents)
	for _, list := range lists {
		low, high, scored := bounds(list)
		n := len(list.Items)
		eachFirst(list, documents, func(rank int, item Item) {
			share := 1.0
			switch {
			case !scored && n > 1:
				share = 1 - float64(rank-1)/float64(n-1)
			case scored && !item.HasScore:
				share = 0
			case scored && high > low:
				// halves, because high-low may overflow
				share = (item.Score/2 - low/2) / (high/2 - low/2)
			}
			scores[item.Document] += list.Weight * (Floor + (1-Floor)*share)
		})
	}
	return scores
}

// Raw takes the nodes' scores as they are, times the weight, and the best of
// all copies: for nodes of the same engine over alike shards only. A missing
// score is 0.
func Raw(lists []List, documents int) []float64 {
	scores := make([]float64, documents)
	for i := range scores {
		scores[i] = math.Inf(-1)
	}
	for _, list := range lists {
		eachFirst(list, documents, func(_ int, item Item) {
			score := 0.0
			if item.HasScore {
				score = list.Weight * item.Score
			}
			score = max(-math.MaxFloat64, min(score, math.MaxFloat64))
			scores[item.Document] = max(scores[item.Document], score)
		})
	}
	for i, s := range scores {
		if math.IsInf(s, -1) {
			scores[i] = 0
		}
	}
	return scores
}

// eachFirst calls yield for the first copy of each document in the list, with
// the rank it has among them, from 1.
func eachFirst(list List, documents int, yield func(rank int, item Item)) {
	seen := make([]uint64, (documents+63)/64)
	rank := 0
	for _, item := range list.Items {
		word, bit := item.Document/64, uint64(1)<<(item.Document%64)
		if seen[word]&bit != 0 {
			continue
		}
		seen[word] |= bit
		rank++
		yield(rank, item)
	}
}

// bounds returns the lowest and highest score of a list, if it has any.
func bounds(list List) (low, high float64, scored bool) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, item := range list.Items {
		if item.HasScore {
			low, high, scored = min(low, item.Score), max(high, item.Score), true
		}
	}
	return low, high, scored
}
