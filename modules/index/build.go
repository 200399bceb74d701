package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// How documents are indexed.
const (
	batchSize    = 200
	batchBytes   = 4 << 20
	contentShown = 2000 // bytes of the text that a hit carries
	maxComplaint = 20   // lines per file that the log names
	progressTime = 5 * time.Second
)

// pass brings the index up to date with the files, once.
func (l *live) pass(ctx context.Context) {
	p := &passing{live: l, started: time.Now(), told: time.Now()}
	err := l.writable()
	if err == nil {
		err = p.guarded(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, errIndex) {
		l.renew()
	}
	if err != nil {
		text := "documents cannot be read; see the log"
		if l.problem.Swap(&text) == nil {
			l.logger.Error("documents cannot be indexed", zap.Error(err))
		}
	} else {
		l.problem.Store(nil)
	}
	first := l.ready.CompareAndSwap(false, true)
	if !errors.Is(err, errIndex) && (first || p.documents > 0 || p.removed > 0) {
		l.logger.Info("documents indexed", zap.Strings("sources", l.sources), zap.Int("documents", p.documents),
			zap.Int("removed", p.removed), zap.Int("skipped", p.skipped), zap.Duration("took", time.Since(p.started)))
	}
	select {
	case l.synced <- struct{}{}:
	default:
	}
}

// guarded is run, and turns a panic into an error: bleve has them after a
// write that failed, and this goroutine must not end the process.
func (p *passing) guarded(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: panic at %s: %v", errIndex, fleet.PanicPlace(), r)
		}
	}()
	p.index = *p.bleve.Load()
	p.batch = p.index.NewBatch()
	p.analyzer = p.index.Mapping().AnalyzerNamed(p.index.Mapping().AnalyzerNameForPath(fieldContent))
	return p.run(ctx)
}

// passing is one pass over the files.
type passing struct {
	*live
	index     bleve.Index
	batch     *bleve.Batch
	analyzer  analysis.Analyzer
	sum       lengths // of all documents
	bytes     int
	documents int
	removed   int
	skipped   int
	started   time.Time
	told      time.Time
}

// found is a file that stands now.
type found struct {
	path, name string
	info       fs.FileInfo
}

// look lists the files of all sources by their keys. The files of a source
// that cannot be read stay as they were: it may be gone for a moment only.
func (p *passing) look(states map[string]fileState) (map[string]found, error) {
	stands := make(map[string]found)
	var errs []error
	for i, source := range p.sources {
		prefix := fmt.Sprintf("%d/", i)
		files, err := sourceFiles(source)
		if err != nil {
			errs = append(errs, err)
			maps.DeleteFunc(states, func(key string, _ fileState) bool { return strings.HasPrefix(key, prefix) })
			continue
		}
		folder, err := os.Stat(source)
		for name, info := range files {
			path := source
			if err == nil && folder.IsDir() {
				path = filepath.Join(source, filepath.FromSlash(name))
			}
			stands[prefix+name] = found{path, name, info}
		}
	}
	return stands, errors.Join(errs...)
}

func (p *passing) run(ctx context.Context) error {
	states, err := p.readStates()
	if err != nil {
		return err
	}
	names := make(map[string]bool)
	for key, state := range states {
		names[key] = true
		p.sum = p.sum.plus(state.Lengths)
	}
	p.tellLengths()
	stands, missing := p.look(states)
	kept := make(map[string]bool)
	for key := range names {
		if _, gone := states[key]; !gone {
			kept[key] = true // of a source that cannot be read now
		}
	}
	grown := false
	for key := range stands {
		grown = grown || !names[key]
		names[key], kept[key] = true, true
	}
	if grown {
		if err := p.writeNames(names); err != nil {
			return err
		}
	}
	collections := make(map[string]bool)
	for _, key := range slices.Sorted(maps.Keys(stands)) {
		file, known := stands[key], states[key]
		delete(states, key)
		if known.Size != file.info.Size() || !known.Modified.Equal(file.info.ModTime()) {
			if known, err = p.file(ctx, file.path, file.name, key, file.info, known); err != nil {
				return err
			}
		}
		for _, c := range known.Collections {
			collections[c] = true
		}
	}
	for key, gone := range states {
		p.sum = p.sum.minus(gone.Lengths)
		for _, id := range gone.Keys {
			p.batch.Delete(id)
			p.removed++
		}
		p.batch.DeleteInternal([]byte(statePrefix + key))
	}
	if err := p.flush(ctx, true); err != nil {
		return err
	}
	if len(kept) != len(names) {
		if err := p.writeNames(kept); err != nil {
			return err
		}
	}
	list := make([]fleet.Collection, 0, len(collections))
	for _, name := range slices.Sorted(maps.Keys(collections)) {
		list = append(list, fleet.Collection{Name: name, Class: name})
	}
	p.collections.Store(&list)
	return missing
}

// file indexes one file and forgets what it no longer holds.
func (p *passing) file(ctx context.Context, path, name, key string, info fs.FileInfo, known fileState) (fileState, error) {
	state := fileState{Size: info.Size(), Modified: info.ModTime()}
	complaints := 0
	complain := func(line int, err error) {
		p.skipped++
		if complaints++; complaints <= maxComplaint {
			p.logger.Warn("document is left out", zap.String("file", path), zap.Int("line", line), zap.Error(err))
		}
	}
	seen := make(map[string]bool)
	p.sum = p.sum.minus(known.Lengths)
	err := readFile(p.open, path, name, func(doc document) error {
		id := key + "\x00" + doc.ID
		if seen[id] {
			p.skipped++
			return nil
		}
		seen[id] = true
		state.Keys = append(state.Keys, id)
		if doc.Collection != "" && !slices.Contains(state.Collections, doc.Collection) && len(state.Collections) < 100 {
			state.Collections = append(state.Collections, doc.Collection)
		}
		words := measure(p.analyzer, &doc)
		state.Lengths, p.sum = state.Lengths.plus(words), p.sum.plus(words)
		return p.add(ctx, id, doc)
	}, complain)
	if ctx.Err() != nil {
		return state, ctx.Err()
	}
	var unreadable *fs.PathError
	switch {
	case errors.Is(err, errIndex):
		return state, err
	case errors.As(err, &unreadable):
		p.skipped++
		if p.unread[key] != unreadable.Err.Error() {
			p.unread[key] = unreadable.Err.Error()
			p.logger.Warn("file cannot be read and stays as it was indexed", zap.String("file", path), zap.Error(err))
		}
		p.keepOld(&state, known, seen)
	default:
		delete(p.unread, key)
		if err != nil {
			complain(0, err)
		}
		for _, id := range known.Keys {
			if !seen[id] {
				p.batch.Delete(id)
				p.removed++
			}
		}
	}
	encoded, err := json.Marshal(state)
	if err != nil {
		return state, err
	}
	// in the batch, so that the state is never ahead of the documents
	p.batch.SetInternal([]byte(statePrefix+key), encoded)
	return state, p.flush(ctx, false)
}

// keepOld keeps what a file held when it could still be read, and has it read
// again by the next pass.
func (p *passing) keepOld(state *fileState, known fileState, seen map[string]bool) {
	old := 0
	for _, id := range known.Keys {
		if !seen[id] {
			state.Keys = append(state.Keys, id)
			old++
		}
	}
	if old > 0 { // their share of what was counted
		words := lengths{old, known.Lengths.Title * old / len(known.Keys), known.Lengths.Content * old / len(known.Keys)}
		state.Lengths, p.sum = state.Lengths.plus(words), p.sum.plus(words)
	}
	for _, c := range known.Collections {
		if !slices.Contains(state.Collections, c) {
			state.Collections = append(state.Collections, c)
		}
	}
	state.Modified = time.Time{}
}

var errIndex = errors.New("the index cannot be written")

func (p *passing) add(ctx context.Context, id string, doc document) error {
	shown := doc
	shown.Content = excerpt(doc.Content, contentShown)
	stored, err := json.Marshal(shown)
	if err != nil {
		return err
	}
	fields := map[string]any{
		fieldTitle: doc.Title, fieldContent: doc.Content, fieldDocument: string(stored),
	}
	if doc.Collection != "" {
		fields[fieldCollection] = doc.Collection
	}
	if facets := facetsOf(doc); len(facets) > 0 {
		fields[fieldFacets] = facets
	}
	if err := p.batch.Index(id, fields); err != nil {
		return fmt.Errorf("%w: %w", errIndex, err)
	}
	p.documents++
	p.bytes += len(doc.Content) + len(stored)
	return p.flush(ctx, false)
}

func facetsOf(doc document) []any {
	if doc.Metadata == nil {
		return nil
	}
	var metadata map[string]any
	if err := json.Unmarshal(doc.Metadata, &metadata); err != nil {
		return nil
	}
	var facets []any
	for name, value := range metadata {
		if facet, ok := facetOf(name, value); ok && len(facet) < 256 {
			facets = append(facets, facet)
		}
	}
	return facets
}

// flush writes the batch when it is large enough, or always at the end.
func (p *passing) flush(ctx context.Context, last bool) error {
	if !last && p.batch.Size() < batchSize && p.bytes < batchBytes {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := p.index.Batch(p.batch); err != nil {
		return fmt.Errorf("%w: %w", errIndex, err)
	}
	p.tellLengths()
	p.batch = p.index.NewBatch() // the index may still be reading the old one
	p.bytes = 0
	if time.Since(p.told) > progressTime {
		p.told = time.Now()
		p.logger.Info("indexing documents", zap.Int("documents", p.documents),
			zap.Float64("per_second", float64(p.documents)/time.Since(p.started).Seconds()))
	}
	return nil
}

// tellLengths lets searches know the lengths of the documents.
func (p *passing) tellLengths() {
	sum := p.sum
	p.lengths.Store(&sum)
}
