package kv

import (
	"context"
	"fmt"

	"github.com/caddy-federation/caddy-federation/store"
)

// topic is what can be watched.
type topic int

const (
	topicNodes topic = iota
	topicTokens
	topicBreakers
	topicEvents
)

// watch returns a channel that is told of every change, until ctx ends or the
// store is closed.
func (s *Store) watch(ctx context.Context, of topic) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("watching the store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("watching the store: %w", store.ErrClosed)
	}
	changes := make(chan struct{}, 1)
	if s.watchers[of] == nil {
		s.watchers[of] = make(map[chan struct{}]struct{})
	}
	s.watchers[of][changes] = struct{}{}
	s.sweeping.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.closing:
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers[of], changes)
		close(changes)
	})
	return changes, nil
}

// changed tells those who watch.
func (s *Store) changed(what topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for changes := range s.watchers[what] {
		select {
		case changes <- struct{}{}:
		default: // it has one to read already
		}
	}
}
