package search

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/search/fusion"
)

// order names the documents of a merge: the best copy's node and id, and how
// many copies there are.
func order(m merged, reports []nodeReport) string {
	var b strings.Builder
	for _, d := range m.documents {
		fmt.Fprintf(&b, "%s:%s", reports[d.copies[0].list].slug, text(d.copies[0].hit.ID))
		if len(d.copies) > 1 {
			fmt.Fprintf(&b, "x%d", len(d.copies))
		}
		b.WriteByte(' ')
	}
	return strings.TrimSpace(b.String())
}

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name    string
		reports []nodeReport
		dedup   bool
		order   string
		removed int
		overlap float64
	}{
		{"nothing", nil, true, "", 0, 0},
		{"nodes take turns, the earlier slug first", []nodeReport{answered("a", "1", "2"), answered("b", "3", "4")}, true, "a:1 b:3 a:2 b:4", 0, 0},
		{"a node without answer has no place", []nodeReport{missing("a", statusError), answered("b", "3")}, true, "b:3", 0, 0},
		{"what two nodes have comes first, from where it ranks best", []nodeReport{answered("a", "1", "2", "both"), answered("b", "both", "4")}, true, "b:bothx2 a:1 a:2 b:4", 1, 0.25},
		{"of equal ranks the earlier slug's copy is kept", []nodeReport{answered("a", "both"), answered("b", "both")}, true, "a:bothx2", 1, 1},
		{"one node's copies count once", []nodeReport{answered("a", "1", "1", "2"), answered("b", "2")}, true, "b:2x2 a:1", 2, 0.5},
		{"without dedup everything stays", []nodeReport{answered("a", "both"), answered("b", "both")}, false, "a:both b:both", 0, 0},
		{"weight counts", []nodeReport{answered("a", "1"), weighing(2, answered("b", "2"))}, true, "b:2 a:1", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := merge(c.reports, fusion.RRF, c.dedup)
			if got := order(m, c.reports); got != c.order || m.removed != c.removed || m.overlap() != c.overlap {
				t.Errorf("order %q, removed %d, overlap %v", got, m.removed, m.overlap())
			}
		})
	}
}

func TestTheSameURLIsTheSameDocument(t *testing.T) {
	at := func(url string, r nodeReport) nodeReport {
		r.answer.Hits[0].URL = jsontext.Value(url)
		return r
	}
	reports := []nodeReport{at(`"https://Shop.example:443/k1/?utm_source=x"`, answered("a", "1")), at(`"http:\/\/shop.example\/k1#top"`, answered("b", "2"))}
	if got := order(merge(reports, fusion.RRF, true), reports); got != "a:1x2" {
		t.Errorf("order %q", got)
	}
}

// TestTheOrderOfArrivalDoesNotCount merges what nodes with many ties and
// copies answered. fanOut sorts the reports by slug, whoever was first.
func TestTheOrderOfArrivalDoesNotCount(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		var reports []nodeReport
		for n := range 2 + random.IntN(6) {
			var ids []string
			for range random.IntN(12) {
				ids = append(ids, fmt.Sprint(random.IntN(20)))
			}
			r := answered(fmt.Sprintf("n%d", n), ids...)
			for i := range r.answer.Hits {
				r.answer.Hits[i].Score, r.answer.Hits[i].HasScore = float64(random.IntN(3)), random.IntN(3) > 0
			}
			reports = append(reports, r)
		}
		for name, method := range fusion.Methods {
			expected := order(merge(reports, method, true), reports)
			arrived := slices.Clone(reports)
			random.Shuffle(len(arrived), func(i, j int) { arrived[i], arrived[j] = arrived[j], arrived[i] })
			sortReports(arrived)
			if got := order(merge(arrived, method, true), arrived); got != expected {
				t.Fatalf("%s: %q, then %q", name, expected, got)
			}
		}
	}
	mixed := []nodeReport{answered("local"), answered("z"), answered("m")}
	sortReports(mixed)
	if mixed[0].slug != "m" || mixed[1].slug != "z" || mixed[2].slug != "local" {
		t.Errorf("the local index is not last: %v", mixed)
	}
}
