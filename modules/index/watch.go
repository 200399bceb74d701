package index

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// How the files are followed.
const (
	settle       = 300 * time.Millisecond // after a change, for the rest of it
	pollInterval = 30 * time.Second       // for what the system does not tell of
)

// keep builds the index and follows the files until ctx ends.
func (l *live) keep(ctx context.Context) {
	var changes <-chan fsnotify.Event
	var troubles <-chan error
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		l.logger.Warn("changes of documents are seen late: files cannot be watched", zap.Error(err))
	} else {
		defer func() { _ = watcher.Close() }()
		if l.watch {
			changes, troubles = watcher.Events, watcher.Errors
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
		case err := <-troubles: // the system dropped some of what it had to tell
			l.logger.Debug("changes of documents were missed, all files are looked at", zap.Error(err))
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
