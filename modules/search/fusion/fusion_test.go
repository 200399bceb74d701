package fusion

import (
	"math"
	"testing"
)

func items(documents ...int) []Item {
	list := make([]Item, len(documents))
	for i, d := range documents {
		list[i] = Item{Document: d, Score: float64(10 - i), HasScore: true}
	}
	return list
}

func near(t *testing.T, what string, got, expected []float64) {
	t.Helper()
	if len(got) != len(expected) {
		t.Fatalf("%s: %v, expected %v", what, got, expected)
	}
	for i := range got {
		if math.Abs(got[i]-expected[i]) > 1e-9 {
			t.Errorf("%s: %v, expected %v", what, got, expected)
			return
		}
	}
}

func TestRRF(t *testing.T) {
	lists := []List{{1, items(0, 1, 2)}, {2, items(1, 3)}, {1, nil}}
	near(t, "rrf", RRF(lists, 4), []float64{1. / 61, 1./62 + 2./61, 1. / 63, 2. / 62})
	// a list that repeats a document counts it once, and the next is second
	near(t, "repeated", RRF([]List{{1, items(0, 0, 1)}}, 2), []float64{1. / 61, 1. / 62})
}

func TestRelative(t *testing.T) {
	lists := []List{{1, items(0, 1, 2)}, {0.5, items(1, 3)}}
	near(t, "relative", Relative(lists, 4), []float64{1, Floor + (1-Floor)/2 + 0.5, Floor, 0.5 * Floor})
	near(t, "one", Relative([]List{{1, items(0)}}, 1), []float64{1})
	near(t, "no scores", Relative([]List{{1, []Item{{Document: 0}, {Document: 1}, {Document: 2}}}}, 3), []float64{1, Floor + (1-Floor)/2, Floor})
	near(t, "a missing score", Relative([]List{{1, []Item{{Document: 0, Score: 5, HasScore: true}, {Document: 1}}}}, 2), []float64{1, Floor})
	huge := []Item{{Document: 0, Score: math.MaxFloat64, HasScore: true}, {Document: 1, Score: -math.MaxFloat64, HasScore: true}}
	near(t, "huge", Relative([]List{{1, huge}}, 2), []float64{1, Floor})
}

func TestRaw(t *testing.T) {
	lists := []List{{1, items(0, 1)}, {2, items(1)}, {1, []Item{{Document: 2}}}}
	near(t, "raw", Raw(lists, 4), []float64{10, 20, 0, 0})
	negative := []List{{1, []Item{{Document: 0, Score: -3, HasScore: true}}}}
	near(t, "negative", Raw(negative, 1), []float64{-3})
	over := Raw([]List{{1000, []Item{{Document: 0, Score: 1e308, HasScore: true}}}}, 1)
	if math.IsInf(over[0], 0) {
		t.Error("a score overflowed")
	}
}
