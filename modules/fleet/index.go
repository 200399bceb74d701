package fleet

import (
	"context"
)

// IndexNamespace is the namespace of the guest modules that implement [Index].
const IndexNamespace = "federation.indexes"

// Index is a set of documents that the gateway itself can search: the fallback
// and member `local` of a search, and what the federation_index handler serves.
type Index interface {
	// Search returns the best hits, best first, with Total set. It ends with
	// ctx. An index that is still being built answers from what it has and
	// says so in the answer's Note.
	Search(ctx context.Context, query *SearchQuery) (*SearchAnswer, error)

	// Describe says what the index holds and whether it is ready.
	Describe() IndexInfo
}

// IndexInfo is the state of an [Index].
type IndexInfo struct {
	// Documents is how many documents can be found now.
	Documents uint64 `json:"documents"`
	// Ready is false until the first build is done.
	Ready bool `json:"ready"`
	// Error is the last problem with the documents in words, or empty.
	Error string `json:"error,omitempty"`
	// Collections are the kinds of document in the index.
	Collections []Collection `json:"collections,omitempty"`
}
