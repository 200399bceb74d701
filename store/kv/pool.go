package kv

import (
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// Pool keeps stores open over config reloads: Caddy starts the new config
// before it stops the old one, and both use the same data.
type Pool struct {
	stores *caddy.UsagePool
}

// NewPool returns an empty pool.
func NewPool() *Pool { return &Pool{stores: caddy.NewUsagePool()} }

// Open returns a handle on the store with the key, which open makes when no
// other handle is out. The store is closed with its last handle.
func (p *Pool) Open(key string, open func() (*Store, error)) (*Handle, error) {
	value, _, err := p.stores.LoadOrNew(key, func() (caddy.Destructor, error) {
		s, err := open()
		return destructor{s}, err
	})
	if err != nil {
		return nil, err
	}
	return &Handle{Store: value.(destructor).store, release: sync.OnceValue(func() error {
		_, err := p.stores.Delete(key)
		return err
	})}, nil
}

type destructor struct{ store *Store }

func (d destructor) Destruct() error { return d.store.Close() }

// Handle is one user's hold on a pooled store.
type Handle struct {
	*Store
	release func() error
}

// Close gives the hold back; the last one closes the store. Closing twice is
// harmless.
func (h *Handle) Close() error { return h.release() }
