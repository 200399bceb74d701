// Package bolt is the store in one file: federation.stores.bolt. It survives
// restarts; no other process can have the file open.
package bolt

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/kv"
	"github.com/caddy-federation/caddy-federation/store/pool"
)

func init() { caddy.RegisterModule(new(Bolt)) }

// Bolt keeps everything in one bbolt file. Every write is on disk before it
// is acknowledged; the request log costs one such write per second at most.
// The file is open once per process, over config reloads.
type Bolt struct {
	// File is where the data is. Default: federation/<name>.db in Caddy's
	// data directory.
	File string `json:"file,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Bolt) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: store.Namespace + ".bolt", New: func() caddy.Module { return new(Bolt) }}
}

var stores = pool.New()

// Open implements [store.Opener].
func (b *Bolt) Open(_ context.Context, federation string, logger *zap.Logger) (store.Store, error) {
	file := b.File
	if file == "" {
		// escaped, because a federation's name may be any text
		file = filepath.Join(caddy.AppDataDir(), "federation", url.PathEscape(federation)+".db")
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", file, err)
	}
	return stores.Open(path, func() (store.Store, error) {
		return New(path, time.Now, logger)
	})
}

// New opens the file for itself, on the given clock.
func New(path string, now func() time.Time, logger *zap.Logger) (*kv.Store, error) {
	engine, err := openEngine(path)
	if err != nil {
		return nil, err
	}
	return kv.New(engine, now, logger)
}

// UnmarshalCaddyfile reads `bolt [<file>]`.
func (b *Bolt) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // bolt
	if d.NextArg() {
		b.File = d.Val()
	}
	if d.NextArg() {
		return d.Errf("store bolt takes one file, got %s too", d.Val())
	}
	for d.NextBlock(d.Nesting()) {
		return d.Errf("store bolt takes no block, got %s", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ store.Opener          = (*Bolt)(nil)
	_ caddyfile.Unmarshaler = (*Bolt)(nil)
)
