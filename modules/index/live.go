package index

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis/analyzer/keyword"
	"github.com/blevesearch/bleve/v2/analysis/analyzer/standard"
	"github.com/blevesearch/bleve/v2/analysis/lang/en"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search/query"
	bleveindex "github.com/blevesearch/bleve_index_api"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// live is an open index with the goroutine that keeps it true to its files.
type live struct {
	// bleve is nil while there is none that can be searched.
	bleve    atomic.Pointer[bleve.Index]
	folder   string
	language string
	sources  []string
	watch    bool
	logger   *zap.Logger
	// failed is set when the index could not be written. Only the goroutine
	// uses it.
	failed bool

	stop    context.CancelFunc
	running sync.WaitGroup
	ready   atomic.Bool
	problem atomic.Pointer[string]
	// collections is only replaced, never changed.
	collections atomic.Pointer[[]fleet.Collection]
	// lengths too; nil until the first documents are indexed.
	lengths atomic.Pointer[lengths]
	// open opens a file of documents.
	open func(path string) (fs.File, error)
	// unread are the files that cannot be read, and why, by their keys. Only
	// the goroutine uses it.
	unread map[string]string
	// synced is told after every pass over the files; tests wait for it.
	synced chan struct{}
}

// marker tells our folders from others, which are never removed.
const marker = "caddy-federation-index"

// open opens the index in folder, or makes it. One that cannot be read is
// made anew, if it is ours: it holds nothing that the documents do not.
func open(folder string, sources []string, language string, watch bool, logger *zap.Logger) (*live, error) {
	index, err := openFolder(folder, language, logger)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l := newLive(index, folder, language, sources, logger)
	l.watch, l.stop = watch, stop
	l.running.Go(func() { l.keep(ctx) })
	return l, nil
}

// newLive is an open index before anybody keeps it.
func newLive(index bleve.Index, folder, language string, sources []string, logger *zap.Logger) *live {
	l := &live{
		folder: folder, language: language, sources: sources, logger: logger,
		open: openFile, unread: make(map[string]string), synced: make(chan struct{}, 1),
	}
	l.bleve.Store(&index)
	l.collections.Store(new([]fleet.Collection))
	return l
}

func openFolder(folder, language string, logger *zap.Logger) (bleve.Index, error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ours := false
	for _, entry := range entries {
		ours = ours || entry.Name() == marker
	}
	if len(entries) > 0 && !ours {
		return nil, fmt.Errorf("%s holds something else; choose another path", folder)
	}
	data := filepath.Join(folder, "bleve")
	if ours {
		index, err := bleve.OpenUsing(data, map[string]interface{}{"bolt_timeout": "1s"})
		if err == nil {
			return index, nil
		}
		if bytes.Contains([]byte(err.Error()), []byte("timeout")) {
			return nil, fmt.Errorf("%s is open in another process", folder)
		}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return nil, err // what is there may be whole
		}
		logger.Warn("index cannot be read and is built anew", zap.String("folder", folder), zap.Error(err))
		if err := os.RemoveAll(data); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, marker), []byte("1\n"), 0o600); err != nil {
		return nil, err
	}
	return bleve.New(data, newMapping(language))
}

// The fields of a document in the index.
const (
	fieldTitle      = "title"
	fieldContent    = "content"
	fieldCollection = "collection"
	fieldFacets     = "facets" // "name=value" of scalar metadata, for filters
	fieldDocument   = "document"
)

func newMapping(language string) mapping.IndexMapping {
	m := bleve.NewIndexMapping()
	m.ScoringModel = bleveindex.BM25Scoring
	m.DefaultAnalyzer = standard.Name
	if language == "en" {
		m.DefaultAnalyzer = en.AnalyzerName
	}
	doc := bleve.NewDocumentStaticMapping()
	for _, name := range []string{fieldTitle, fieldContent} {
		field := bleve.NewTextFieldMapping()
		field.Store, field.IncludeInAll, field.IncludeTermVectors, field.DocValues = false, false, false, false
		doc.AddFieldMappingsAt(name, field)
	}
	for _, name := range []string{fieldCollection, fieldFacets} {
		field := bleve.NewTextFieldMapping()
		field.Analyzer, field.Store, field.IncludeInAll, field.IncludeTermVectors = keyword.Name, false, false, false
		doc.AddFieldMappingsAt(name, field)
	}
	stored := bleve.NewTextFieldMapping()
	stored.Index, stored.IncludeInAll, stored.DocValues = false, false, false
	doc.AddFieldMappingsAt(fieldDocument, stored)
	m.DefaultMapping = doc
	return m
}

// Destruct stops the goroutine and closes the index.
func (l *live) Destruct() error {
	l.stop()
	l.running.Wait()
	return l.closeIndex()
}

// closeIndex closes the index that is open, if one is.
func (l *live) closeIndex() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("closing the index: panic: %v", r)
		}
	}()
	if index := l.bleve.Swap(nil); index != nil {
		return (*index).Close()
	}
	return nil
}

// renew closes an index that could not be written and opens it anew, with
// what had reached the disk. Left open, bleve tries again without a pause and
// panics when it is written to.
func (l *live) renew() {
	l.failed = true
	if err := l.closeIndex(); err != nil {
		l.logger.Warn("index cannot be closed", zap.String("folder", l.folder), zap.Error(err))
	}
	index, err := openFolder(l.folder, l.language, l.logger)
	if err != nil {
		l.logger.Error("index cannot be opened again", zap.String("folder", l.folder), zap.Error(err))
		return
	}
	l.bleve.Store(&index)
}

// writable tells whether a pass has an index to write to. After a failure it
// asks the disk before it asks bleve.
func (l *live) writable() error {
	if !l.failed {
		return nil
	}
	if err := os.MkdirAll(l.folder, 0o700); err != nil {
		return err
	}
	probe := filepath.Join(l.folder, "probe")
	err := os.WriteFile(probe, make([]byte, batchBytes), 0o600)
	if removeErr := os.Remove(probe); err == nil {
		err = removeErr
	}
	if err != nil {
		return fmt.Errorf("the index cannot be written: %w", err)
	}
	if l.bleve.Load() == nil {
		index, err := openFolder(l.folder, l.language, l.logger)
		if err != nil {
			return err
		}
		l.bleve.Store(&index)
	}
	l.failed = false
	return nil
}

// noteBuilding is what answers say while the first build runs.
const noteBuilding = "the index is still being built"

func (l *live) search(ctx context.Context, asked *fleet.SearchQuery) (answer *fleet.SearchAnswer, err error) {
	defer func() {
		if r := recover(); r != nil {
			l.logger.Error("searching the index panicked", zap.Any("panic", r), zap.String("at", fleet.PanicPlace()))
			answer, err = nil, fmt.Errorf("searching the index: panic: %v", r)
		}
	}()
	index := l.bleve.Load()
	if index == nil {
		return nil, &fleet.RefusalError{Reason: "the index is not open"}
	}
	wanted, err := l.query(asked)
	if err != nil {
		return nil, err
	}
	request := bleve.NewSearchRequestOptions(wanted, asked.Limit, 0, false)
	request.Fields = []string{fieldDocument}
	request.SortBy([]string{"-_score", "_id"})
	documents, err := (*index).DocCount()
	if err != nil {
		return nil, fmt.Errorf("searching the index: %w", err)
	}
	result, err := (*index).SearchInContext(l.lengths.Load().scoring(ctx, documents), request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("searching the index: %w", err)
	}
	answer = &fleet.SearchAnswer{Total: int(result.Total), Hits: make([]fleet.Hit, 0, len(result.Hits))}
	for _, found := range result.Hits {
		stored, _ := found.Fields[fieldDocument].(string)
		var doc struct {
			ID       jsontext.Value `json:"id"`
			Title    jsontext.Value `json:"title"`
			Content  jsontext.Value `json:"content"`
			URL      jsontext.Value `json:"url"`
			Metadata jsontext.Value `json:"metadata"`
		}
		if err := json.Unmarshal([]byte(stored), &doc); err != nil {
			continue // a document that cannot be read is not shown
		}
		hit := fleet.Hit{ID: doc.ID, Title: doc.Title, Content: doc.Content, URL: doc.URL, Metadata: doc.Metadata,
			Score: found.Score, HasScore: true, Raw: jsontext.Value(stored)}
		if hit.Metadata == nil {
			hit.Metadata = jsontext.Value("{}")
		}
		answer.Hits = append(answer.Hits, hit)
	}
	answer.More = answer.Total > len(answer.Hits)
	if !l.ready.Load() {
		answer.Note = noteBuilding
	}
	return answer, nil
}

// query takes the text as text: nothing in it is syntax.
func (l *live) query(asked *fleet.SearchQuery) (query.Query, error) {
	title := bleve.NewMatchQuery(asked.Text)
	title.SetField(fieldTitle)
	title.SetBoost(2)
	content := bleve.NewMatchQuery(asked.Text)
	content.SetField(fieldContent)
	all := bleve.NewConjunctionQuery(bleve.NewDisjunctionQuery(title, content))
	if len(asked.Collections) > 0 {
		any := bleve.NewDisjunctionQuery()
		for _, name := range asked.Collections {
			any.AddQuery(exactly(fieldCollection, name))
		}
		all.AddQuery(any)
	}
	if asked.Filters != nil {
		var filters map[string]any
		if err := json.Unmarshal(asked.Filters, &filters); err != nil {
			return nil, fleet.BadPayload("filters: expected an object")
		}
		for name, value := range filters {
			facet, ok := facetOf(name, value)
			if !ok {
				return nil, fleet.BadPayload("filters: the index compares single values only, not arrays or objects")
			}
			all.AddQuery(exactly(fieldFacets, facet))
		}
	}
	return all, nil
}

// exactly matches a keyword; it must not add to the score.
func exactly(field, value string) query.Query {
	term := bleve.NewTermQuery(value)
	term.SetField(field)
	term.SetBoost(0)
	return term
}

// facetOf is how a scalar of the metadata is found.
func facetOf(name string, value any) (string, bool) {
	switch value.(type) {
	case string, float64, bool:
		return fmt.Sprintf("%s=%v", name, value), true
	default:
		return "", false
	}
}

func (l *live) describe() fleet.IndexInfo {
	info := fleet.IndexInfo{Ready: l.ready.Load(), Collections: *l.collections.Load()}
	if index := l.bleve.Load(); index != nil {
		if count, err := (*index).DocCount(); err == nil {
			info.Documents = count
		}
	}
	if problem := l.problem.Load(); problem != nil {
		info.Error = *problem
	}
	return info
}

// pause waits, or tells that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
