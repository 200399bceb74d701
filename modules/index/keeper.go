package index

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(keeperApp)) }

// keeperID is the app that opens indexes: HTTP handlers are never told that
// Caddy starts, and validating a config must open no file.
const keeperID = "federation_indexes"

// keeperApp opens the indexes of one config.
type keeperApp struct {
	indexes []*Bleve
	opened  []string // keys in the pool
}

// pool keeps indexes open over config reloads, by their folder.
var pool = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*keeperApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: keeperID, New: func() caddy.Module { return new(keeperApp) }}
}

func (k *keeperApp) add(b *Bleve) { k.indexes = append(k.indexes, b) }

// Start opens every index. Building goes on in the background.
func (k *keeperApp) Start() error {
	for _, b := range k.indexes {
		folder := b.folder()
		value, _, err := pool.LoadOrNew(folder, func() (caddy.Destructor, error) {
			return open(folder, b.Sources, b.Language, !b.NoWatch, b.logger)
		})
		if err != nil {
			return errors.Join(fmt.Errorf("opening the index of %v: %w", b.Sources, err), k.Stop())
		}
		k.opened = append(k.opened, folder)
		b.live.Store(value.(*live))
	}
	return nil
}

// Stop gives the indexes back; the last config to use one closes it.
func (k *keeperApp) Stop() error {
	var errs []error
	for _, folder := range k.opened {
		_, err := pool.Delete(folder)
		errs = append(errs, err)
	}
	k.opened = nil
	return errors.Join(errs...)
}

// Interface guard
var _ caddy.App = (*keeperApp)(nil)
