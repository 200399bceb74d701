// Package watch tells those who watch a store that something changed.
package watch

import (
	"context"
	"fmt"
	"sync"

	"github.com/caddy-federation/caddy-federation/store"
)

// Topic is what can be watched.
type Topic string

// The topics.
const (
	Nodes    Topic = "nodes"
	Tokens   Topic = "tokens"
	Breakers Topic = "breakers"
	Events   Topic = "events"
)

// Topics are all of them.
var Topics = []Topic{Nodes, Tokens, Breakers, Events}

// Hub are the watches of one store.
type Hub struct {
	mu       sync.Mutex
	closed   bool
	watchers map[Topic]map[*watcher]struct{}
}

type watcher struct {
	changes chan struct{}
	forget  func() bool // ends the wait for the watcher's context
}

// NewHub returns a hub that nobody watches.
func NewHub() *Hub { return &Hub{watchers: make(map[Topic]map[*watcher]struct{})} }

// Watch returns a channel that is told of every change, until ctx ends or the
// hub is closed. Changes in quick succession may come as one.
func (h *Hub) Watch(ctx context.Context, of Topic) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("watching the store: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, fmt.Errorf("watching the store: %w", store.ErrClosed)
	}
	w := &watcher{changes: make(chan struct{}, 1)}
	if h.watchers[of] == nil {
		h.watchers[of] = make(map[*watcher]struct{})
	}
	h.watchers[of][w] = struct{}{}
	w.forget = context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, watches := h.watchers[of][w]; watches {
			delete(h.watchers[of], w)
			close(w.changes)
		}
	})
	return w.changes, nil
}

// Changed tells those who watch the topic.
func (h *Hub) Changed(what Topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers[what] {
		select {
		case w.changes <- struct{}{}:
		default: // it has one to read already
		}
	}
}

// Close ends every watch.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, watchers := range h.watchers {
		for w := range watchers {
			w.forget()
			delete(watchers, w)
			close(w.changes)
		}
	}
}
