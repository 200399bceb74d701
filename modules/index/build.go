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
	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// How the files are followed.
const (
	settle       = 300 * time.Millisecond // after a change, for the rest of it
	pollInterval = 30 * time.Second       // for what the system does not tell of
	batchSize    = 200
	batchBytes   = 4 << 20
	contentShown = 2000 // bytes of the text that a hit carries
	maxComplaint = 20   // lines per file that the log names
	progressTime = 5 * time.Second
)

// keep builds the index and follows the files until ctx ends.
func (l *live) keep(ctx context.Context) {
	var changes <-chan fsnotify.Event
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		l.logger.Warn("changes of documents are seen late: files cannot be watched", zap.Error(err))
	} else {
		defer func() { _ = watcher.Close() }()
		if l.watch {
			changes = watcher.Events
		}
	}
	for {
		if l.watch && watcher != nil {
			l.watchFolders(watcher)
		}
		l.pass(ctx)
		if ctx.Err() != nil || !l.watch {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
			if !pause(ctx, settle) {
				return
			}
			drain(changes)
		case <-time.After(pollInterval):
		}
	}
}

func drain(changes <-chan fsnotify.Event) {
	for {
		select {
		case <-changes:
		default:
			return
		}
	}
}

// watchFolders watches the folders of all sources; adding one twice is harmless.
func (l *live) watchFolders(watcher *fsnotify.Watcher) {
	for _, source := range l.sources {
		_ = watcher.Add(filepath.Dir(source)) // where a missing source would appear
		_ = filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return nil
			}
			if strings.HasPrefix(entry.Name(), ".") && path != source {
				return filepath.SkipDir
			}
			if err := watcher.Add(path); err != nil {
				l.logger.Warn("folder cannot be watched, its changes are seen late", zap.String("folder", path), zap.Error(err))
			}
			return nil
		})
	}
}

// fileState is what the index knows of a file, kept inside it.
type fileState struct {
	Size        int64
	Modified    time.Time
	Keys        []string
	Collections []string
}

const statePrefix = "file:"

// pass brings the index up to date with the files, once.
func (l *live) pass(ctx context.Context) {
	p := &passing{live: l, batch: l.bleve.NewBatch(), started: time.Now(), told: time.Now()}
	err := p.run(ctx)
	if ctx.Err() != nil {
		return
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
	if first || p.documents > 0 || p.removed > 0 {
		l.logger.Info("documents indexed", zap.Strings("sources", l.sources), zap.Int("documents", p.documents),
			zap.Int("removed", p.removed), zap.Int("skipped", p.skipped), zap.Duration("took", time.Since(p.started)))
	}
	select {
	case l.synced <- struct{}{}:
	default:
	}
}

// passing is one pass over the files.
type passing struct {
	*live
	batch     *bleve.Batch
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
	for key := range states {
		names[key] = true
	}
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
	err := readFile(path, name, func(doc document) error {
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
		return p.add(ctx, id, doc)
	}, complain)
	if ctx.Err() != nil {
		return state, ctx.Err()
	}
	if err != nil {
		if errors.Is(err, errIndex) {
			return state, err
		}
		complain(0, err)
	}
	for _, id := range known.Keys {
		if !seen[id] {
			p.batch.Delete(id)
			p.removed++
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
	if err := p.bleve.Batch(p.batch); err != nil {
		return fmt.Errorf("%w: %w", errIndex, err)
	}
	p.batch = p.bleve.NewBatch() // the index may still be reading the old one
	p.bytes = 0
	if time.Since(p.told) > progressTime {
		p.told = time.Now()
		p.logger.Info("indexing documents", zap.Int("documents", p.documents),
			zap.Float64("per_second", float64(p.documents)/time.Since(p.started).Seconds()))
	}
	return nil
}

// namesKey lists the files that may have a state: all of them, and for a
// while some that have none.
const namesKey = "files"

// readStates reads what the index knows of its files.
func (p *passing) readStates() (map[string]fileState, error) {
	states := make(map[string]fileState)
	text, err := p.bleve.GetInternal([]byte(namesKey))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	var names []string
	if len(text) > 0 {
		if err := json.Unmarshal(text, &names); err != nil {
			return nil, fmt.Errorf("%w: its list of files is damaged", errIndex)
		}
	}
	for _, name := range names {
		text, err := p.bleve.GetInternal([]byte(statePrefix + name))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errIndex, err)
		}
		var state fileState
		if len(text) > 0 && json.Unmarshal(text, &state) == nil {
			states[name] = state
		}
	}
	return states, nil
}

// writeNames lists the files, before their states are written or after they
// were deleted: a name without a state is harmless, a state without a name is lost.
func (p *passing) writeNames(names map[string]bool) error {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := p.bleve.SetInternal([]byte(namesKey), text); err != nil {
		return fmt.Errorf("%w: %w", errIndex, err)
	}
	return nil
}
