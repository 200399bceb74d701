// Package pool keeps stores open over config reloads: Caddy starts the new
// config before it stops the old one, and both use the same data.
package pool

import (
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/store"
)

// Pool holds the stores of one backend, by what tells them apart.
type Pool struct {
	stores *caddy.UsagePool
}

// New returns an empty pool.
func New() *Pool { return &Pool{stores: caddy.NewUsagePool()} }

// Open returns a handle on the store with the key, which open makes when no
// other handle is out. The store is closed with its last handle.
func (p *Pool) Open(key string, open func() (store.Store, error)) (store.Store, error) {
	value, _, err := p.stores.LoadOrNew(key, func() (caddy.Destructor, error) {
		s, err := open()
		return destructor{s}, err
	})
	if err != nil {
		return nil, err
	}
	return &handle{Store: value.(destructor).Store, release: sync.OnceValue(func() error {
		_, err := p.stores.Delete(key)
		return err
	})}, nil
}

type destructor struct{ store.Store }

func (d destructor) Destruct() error { return d.Close() }

// handle is one user's hold on a pooled store.
type handle struct {
	store.Store
	release func() error
}

// Close gives the hold back; the last one closes the store. Closing twice is
// harmless.
func (h *handle) Close() error { return h.release() }
