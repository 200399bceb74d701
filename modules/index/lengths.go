package index

import (
	"context"
	"math"

	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/search"
)

// lengths are the words of documents, summed. BM25 compares a document's
// length with the mean length (Robertson and Zaragoza, The Probabilistic
// Relevance Framework, 2009). Bleve puts the size of its segments' vocabularies
// in the place of the sum, so that scores would depend on how fast documents
// came and how the segments were merged; we count.
type lengths struct {
	Documents, Title, Content int
}

func (l lengths) plus(other lengths) lengths {
	return lengths{l.Documents + other.Documents, l.Title + other.Title, l.Content + other.Content}
}

func (l lengths) minus(other lengths) lengths {
	return lengths{l.Documents - other.Documents, l.Title - other.Title, l.Content - other.Content}
}

// measure counts the words of a document as they are indexed.
func measure(analyzer analysis.Analyzer, doc *document) lengths {
	return lengths{1, len(analyzer.Analyze([]byte(doc.Title))), len(analyzer.Analyze([]byte(doc.Content)))}
}

// scoring gives bleve the mean lengths for an index of that many documents.
func (l *lengths) scoring(ctx context.Context, documents uint64) context.Context {
	if l == nil || l.Documents <= 0 || documents == 0 {
		return ctx
	}
	sum := func(words int) int {
		// bleve divides by the number of documents and rounds up
		return int(math.Ceil(float64(words)/float64(l.Documents))) * int(documents)
	}
	return context.WithValue(ctx, search.BM25StatsKey, &search.BM25Stats{
		DocCount: float64(documents),
		FieldCardinality: map[string]int{
			fieldTitle: sum(l.Title), fieldContent: sum(l.Content),
			fieldCollection: int(documents), fieldFacets: int(documents), // they add nothing to the score
		},
	})
}
