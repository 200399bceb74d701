package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// A gateway whose store is a server keeps a copy of the nodes and their
// numbers in Caddy's data directory, so that it can also be restarted while
// the server is down. The copy is read then only, and never written back by
// itself over what a store holds.

// lastKnownFile is the copy as it is stored.
type lastKnownFile struct {
	Identity string             `json:"identity,omitempty"`
	Numbers  map[string]int64   `json:"numbers"`
	Records  []store.NodeRecord `json:"records"`
}

// lastKnownPath is where the copy is; the name may be any text.
func (a *App) lastKnownPath() string {
	return filepath.Join(caddy.AppDataDir(), "federation", url.PathEscape(a.Name)+".nodes.json")
}

// keepLastKnown writes the copy, when it is another than the one that stands.
func (a *App) keepLastKnown(known *knownNodes) {
	file := lastKnownFile{Numbers: known.ids, Records: known.records}
	if health := &a.shared.store; health.learned.Load() {
		file.Identity = health.sender()
	}
	text, err := json.Marshal(file)
	if err == nil {
		err = replaceFile(a.lastKnownPath(), text)
	}
	if err != nil {
		a.logger.Warn("the copy of the nodes cannot be written: this gateway could not be restarted without its store", zap.Error(err))
	}
}

// replaceFile writes a file in one step, unless it holds the text already.
func replaceFile(path string, text []byte) error {
	if stands, err := os.ReadFile(path); err == nil && bytes.Equal(stands, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // readable for us alone
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// lastKnown reads the copy; nil when there is none.
func (a *App) lastKnown() *knownNodes {
	text, err := os.ReadFile(a.lastKnownPath())
	var file lastKnownFile
	if err == nil {
		if err = json.Unmarshal(text, &file); err != nil {
			err = fmt.Errorf("%s: %w", a.lastKnownPath(), err)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		a.logger.Error("the copy of the nodes cannot be read", zap.Error(err))
		return nil
	}
	// under the store's name all its gateways know what one of them sent
	if health := &a.shared.store; file.Identity != "" && !health.learned.Load() {
		health.identify(file.Identity)
	}
	return &knownNodes{file.Numbers, file.Records}
}
