package memory

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/kv"
	"github.com/caddy-federation/caddy-federation/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	storetest.Run(t, storetest.Backend{
		Open: func(t *testing.T) store.Store {
			s, err := New(now, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Advance: func(d time.Duration) { ahead.Add(int64(d)) },
		Sweep:   func(s store.Store) error { return s.(*kv.Store).Sweep() },
	})
}

func TestAFailedTransactionChangesNothing(t *testing.T) {
	e := newEngine()
	bucket := kv.Buckets[0]
	_ = e.Update(func(tx kv.Tx) error { return tx.Put(bucket, "a", []byte("1")) })
	broken := errors.New("broken")
	write := func(tx kv.Tx) {
		_ = tx.Put(bucket, "a", []byte("2"))
		_ = tx.Put(bucket, "b", []byte("2"))
		_ = tx.Delete(bucket, "a")
	}
	if err := e.Update(func(tx kv.Tx) error { write(tx); return broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = e.Update(func(tx kv.Tx) error { write(tx); panic("broken") })
	}()
	_ = e.View(func(tx kv.Tx) error {
		if string(tx.Get(bucket, "a")) != "1" || tx.Get(bucket, "b") != nil {
			t.Errorf("a is %q, b is %q", tx.Get(bucket, "a"), tx.Get(bucket, "b"))
		}
		return nil
	})
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	s, err := New(time.Now, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range store.MaxCache + 50 {
		err := s.Cache().Put(t.Context(), store.CacheEntry{Key: fmt.Sprint(i), Value: []byte("v")}, time.Hour+time.Duration(i)*time.Second)
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, expected := range map[int]error{0: store.ErrNotFound, 49: store.ErrNotFound, 50: nil, store.MaxCache + 49: nil} {
		if _, err := s.Cache().Get(t.Context(), fmt.Sprint(i)); !errors.Is(err, expected) {
			t.Errorf("entry %d: %v, expected %v", i, err, expected)
		}
	}
}

func TestAReloadKeepsTheData(t *testing.T) {
	old, err := Memory{}.Open(t.Context(), "one", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Nodes().Put(t.Context(), store.NodeRecord{Slug: "shop"}); err != nil {
		t.Fatal(err)
	}
	fresh, err := Memory{}.Open(t.Context(), "one", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(old.Close(), old.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Nodes().Get(t.Context(), "shop"); err != nil {
		t.Error(err)
	}
	if err := fresh.Close(); err != nil {
		t.Fatal(err)
	}
	empty, err := Memory{}.Open(t.Context(), "one", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if _, err := empty.Nodes().Get(t.Context(), "shop"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the last close kept the data: %v", err)
	}
}
