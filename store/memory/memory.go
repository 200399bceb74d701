// Package memory is the store that ends with the process:
// federation.stores.memory. It is kept over config reloads.
package memory

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/kv"
	"github.com/caddy-federation/caddy-federation/store/pool"
)

func init() { caddy.RegisterModule(Memory{}) }

// Memory keeps everything in the process: nothing survives a restart, and no
// other gateway sees it. What it keeps is bounded as in package store.
type Memory struct{}

// CaddyModule returns the Caddy module information.
func (Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: store.Namespace + ".memory", New: func() caddy.Module { return new(Memory) }}
}

var stores = pool.New()

// Open implements [store.Opener].
func (Memory) Open(_ context.Context, federation string, logger *zap.Logger) (store.Store, error) {
	return stores.Open(federation, func() (store.Store, error) {
		return New(time.Now, logger)
	})
}

// New returns a store of its own, on the given clock.
func New(now func() time.Time, logger *zap.Logger) (*kv.Store, error) {
	return kv.New(newEngine(), now, logger)
}

// UnmarshalCaddyfile reads `memory`, which takes no arguments.
func (*Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // memory
	if d.NextArg() {
		return d.Errf("store memory takes no argument, got %s", d.Val())
	}
	for d.NextBlock(d.Nesting()) {
		return d.Errf("store memory takes no block, got %s", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ store.Opener          = Memory{}
	_ caddyfile.Unmarshaler = (*Memory)(nil)
)
