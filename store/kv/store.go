package kv

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

// Store is a [store.Store] over an engine.
type Store struct {
	engine   Engine
	now      func() time.Time
	logger   *zap.Logger
	identity string

	hub      *watch.Hub
	mu       sync.Mutex
	closed   bool
	closing  chan struct{}
	sweeping sync.WaitGroup
	// unwritten is set from a write that the engine did not take until one
	// that it took.
	unwritten atomic.Bool
}

// SweepInterval is how often expired records are given back. They cannot be
// found before that either.
const SweepInterval = 10 * time.Second

// New opens a store over the engine, which it closes when it is closed, and
// also when it cannot be opened.
func New(engine Engine, now func() time.Time, logger *zap.Logger) (*Store, error) {
	s := &Store{
		engine: engine, now: now, logger: logger,
		hub:     watch.NewHub(),
		closing: make(chan struct{}),
	}
	err := engine.Update(func(tx Tx) error {
		if known := tx.Get(bucketMeta, "identity"); known != nil {
			s.identity = string(known)
			return nil
		}
		random := make([]byte, 16)
		if _, err := rand.Read(random); err != nil {
			return err
		}
		s.identity = hex.EncodeToString(random)
		return tx.Put(bucketMeta, "identity", []byte(s.identity))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the store's identity: %w", err), engine.Close())
	}
	s.sweeping.Go(s.sweep)
	return s, nil
}

// Close implements [store.Store]. Closing twice is harmless.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	s.mu.Unlock()
	s.hub.Close()
	s.sweeping.Wait()
	return s.engine.Close()
}

// Now implements [store.Store].
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	if err := s.usable(ctx); err != nil {
		return time.Time{}, err
	}
	return s.now(), nil
}

// Identity implements [store.Store].
func (s *Store) Identity(ctx context.Context) (string, error) { return s.identity, s.usable(ctx) }

// trialSize is how much Ping writes to learn whether an engine takes writes
// again: several pages, since what was freed may have room for one while the
// disk is full.
const trialSize = 64 << 10

// Ping implements [store.Store]. It reads, and after a write that the engine
// did not take it writes too, and takes that away again: a full disk can be
// read.
func (s *Store) Ping(ctx context.Context) error {
	const what = "pinging the store"
	if !s.unwritten.Load() {
		return s.view(ctx, what, func(Tx) error { return nil })
	}
	err := s.update(ctx, what, func(tx Tx) error { return tx.Put(bucketMeta, "trial", make([]byte, trialSize)) })
	if err != nil {
		return err
	}
	return s.update(ctx, what, func(tx Tx) error { return tx.Delete(bucketMeta, "trial") })
}

// Nodes implements [store.Store], and so do the others.
func (s *Store) Nodes() store.Nodes       { return nodes{s} }
func (s *Store) Tokens() store.Tokens     { return tokens{s} }
func (s *Store) Limits() store.Limits     { return limits{s} }
func (s *Store) Breakers() store.Breakers { return breakers{s} }
func (s *Store) Cache() store.Cache       { return cache{s} }
func (s *Store) Journal() store.Journal   { return journal{s} }
func (s *Store) Requests() store.Requests { return requests{s} }
func (s *Store) Leases() store.Leases     { return leases{s} }
func (s *Store) Events() store.Events     { return events{s} }
func (s *Store) Members() store.Members   { return members{s} }
func (s *Store) Alerts() store.Alerts     { return alerts{s} }

// Shared implements [store.Store]: an engine belongs to one process.
func (s *Store) Shared() bool { return false }

func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	return nil
}

// view reads; what says what was attempted.
func (s *Store) view(ctx context.Context, what string, work func(Tx) error) error {
	return s.run(ctx, what, s.engine.View, work)
}

// update writes; what says what was attempted.
func (s *Store) update(ctx context.Context, what string, work func(Tx) error) error {
	return s.run(ctx, what, s.write, work)
}

// write remembers whether the engine takes what it is given. What the work
// itself refuses says nothing about that.
func (s *Store) write(work func(Tx) error) error {
	refused := false
	err := s.engine.Update(func(tx Tx) error {
		err := work(tx)
		refused = err != nil
		return err
	})
	if !refused && !errors.Is(err, store.ErrClosed) {
		s.unwritten.Store(err != nil)
	}
	return err
}

func (s *Store) run(ctx context.Context, what string, transaction func(func(Tx) error) error, work func(Tx) error) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := transaction(work); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// put stores a record as JSON.
func put(tx Tx, bucket Bucket, key string, record any) error {
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if len(text) > store.MaxValue {
		return fmt.Errorf("a record of %d bytes: %w", len(text), store.ErrTooLarge)
	}
	return tx.Put(bucket, key, text)
}

// get reads a record. It tells whether there is one.
func get(tx Tx, bucket Bucket, key string, record any) (bool, error) {
	text := tx.Get(bucket, key)
	if text == nil {
		return false, nil
	}
	return true, decode(bucket, key, text, record)
}

func decode(bucket Bucket, key string, text []byte, record any) error {
	if err := json.Unmarshal(text, record); err != nil {
		return fmt.Errorf("record %q of %s: %w (%w)", key, bucket, store.ErrCorrupt, err)
	}
	return nil
}

// all reads the records of a bucket whose keys begin with prefix, in order.
func all[T any](tx Tx, bucket Bucket, prefix string, keep func(T) bool) (records []T, err error) {
	tx.Ascend(bucket, prefix, func(key string, text []byte) bool {
		if len(key) < len(prefix) || key[:len(prefix)] != prefix {
			return false
		}
		var record T
		if err = decode(bucket, key, text, &record); err != nil {
			return false
		}
		if keep == nil || keep(record) {
			records = append(records, record)
		}
		return true
	})
	return records, err
}

// counter adds to a number in the meta bucket and returns it.
func counter(tx Tx, name string, by uint64) (uint64, error) {
	var n uint64
	if text := tx.Get(bucketMeta, name); len(text) == 8 {
		n = binary.BigEndian.Uint64(text)
	}
	n += by
	if by == 0 {
		return n, nil
	}
	return n, tx.Put(bucketMeta, name, binary.BigEndian.AppendUint64(nil, n))
}

// sequenceKey makes numbers sort as texts.
func sequenceKey(n uint64) string { return fmt.Sprintf("%016x", n) }

var _ store.Store = (*Store)(nil)
