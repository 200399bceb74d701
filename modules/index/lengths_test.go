package index

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// scoresOf returns the score of every document that a query finds.
func (o *opened) scoresOf(text string) map[string]string {
	o.Helper()
	answer, err := o.search(o.Context(), &fleet.SearchQuery{Text: text, Limit: 1000})
	if err != nil {
		o.Fatal(err)
	}
	scores := make(map[string]string)
	for _, hit := range answer.Hits {
		scores[string(hit.ID)] = fmt.Sprintf("%.9f", hit.Score)
	}
	return scores
}

// TestScoresDoNotDependOnHowDocumentsCame indexes the same documents at once
// and one by one; in the index they lie in other segments then.
func TestScoresDoNotDependOnHowDocumentsCame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("tea cup pot kettle spoon saucer water leaf sugar milk")
	var documents []string
	for range 60 {
		var text []string
		for range 3 + random.IntN(80) {
			text = append(text, words[random.IntN(len(words))], fmt.Sprintf("rare%d", random.IntN(5000)))
		}
		documents = append(documents, strings.Join(text, " "))
	}
	atOnce := t.TempDir()
	for i, text := range documents {
		put(t, atOnce, fmt.Sprintf("%03d.txt", i), "title\n"+text)
	}
	one := openTest(t, t.TempDir(), false, atOnce)
	defer one.close()

	bit, data := t.TempDir(), t.TempDir()
	for i := 0; i < len(documents); i += 6 {
		for j := i; j < i+6; j++ {
			put(t, bit, fmt.Sprintf("%03d.txt", j), "title\n"+documents[j])
		}
		if i == 30 { // what was indexed before it changed must not count any more
			put(t, bit, "000.txt", "title\n"+strings.Repeat("tea ", 5000))
		}
		openTest(t, data, false, bit).close()
	}
	put(t, bit, "000.txt", "title\n"+documents[0])
	two := openTest(t, data, false, bit)
	defer two.close()

	for _, query := range []string{"tea", "kettle milk", "title", "rare7 spoon"} {
		first, second := one.scoresOf(query), two.scoresOf(query)
		if len(first) == 0 || fmt.Sprint(first) != fmt.Sprint(second) {
			t.Errorf("%s: at once %v, bit by bit %v", query, first, second)
		}
	}
}

// TestALongDocumentScoresBelowAShortOne is what the length is for in BM25.
func TestALongDocumentScoresBelowAShortOne(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "short.txt", "x\nkettle and cup")
	put(t, folder, "long.txt", "x\nkettle "+strings.Repeat("wooden copper silver ", 100))
	for i := range 8 {
		put(t, folder, fmt.Sprintf("%d.txt", i), "x\n"+strings.Repeat("filling material ", 10))
	}
	o := openTest(t, t.TempDir(), false, folder)
	defer o.close()
	if got := fmt.Sprint(o.find("kettle")); got != "[short.txt long.txt]" {
		t.Errorf("found %s", got)
	}
	if got := *o.lengths.Load(); got.Documents != 10 || got.Title != 10 || got.Content != 3+302+8*21 {
		t.Errorf("counted %+v", got)
	}
}
