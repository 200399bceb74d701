package memory

import (
	"sync"

	"github.com/google/btree"

	"github.com/caddy-federation/caddy-federation/store/kv"
)

// engine is ordered maps under one lock.
type engine struct {
	mu      sync.RWMutex
	buckets map[kv.Bucket]*btree.BTreeG[item]
}

type item struct {
	key   string
	value []byte
}

func newEngine() *engine {
	e := &engine{buckets: make(map[kv.Bucket]*btree.BTreeG[item])}
	for _, bucket := range kv.Buckets {
		e.buckets[bucket] = btree.NewG(32, func(a, b item) bool { return a.key < b.key })
	}
	return e
}

// View implements [kv.Engine].
func (e *engine) View(work func(kv.Tx) error) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return work(&tx{engine: e})
}

// Update implements [kv.Engine].
func (e *engine) Update(work func(kv.Tx) error) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := &tx{engine: e}
	done := false
	defer func() {
		if !done || err != nil { // also after a panic
			t.undoAll()
		}
	}()
	err = work(t)
	done = true
	return err
}

// Close implements [kv.Engine].
func (e *engine) Close() error { return nil }

// tx is a transaction; it remembers how to undo what it wrote.
type tx struct {
	engine *engine
	undo   []change
}

type change struct {
	bucket kv.Bucket
	item   item
	stood  bool
}

func (t *tx) Get(bucket kv.Bucket, key string) []byte {
	found, _ := t.engine.buckets[bucket].Get(item{key: key})
	return found.value
}

func (t *tx) Put(bucket kv.Bucket, key string, value []byte) error {
	old, stood := t.engine.buckets[bucket].ReplaceOrInsert(item{key, value})
	old.key = key
	t.undo = append(t.undo, change{bucket, old, stood})
	return nil
}

func (t *tx) Delete(bucket kv.Bucket, key string) error {
	if old, stood := t.engine.buckets[bucket].Delete(item{key: key}); stood {
		t.undo = append(t.undo, change{bucket, old, true})
	}
	return nil
}

func (t *tx) Ascend(bucket kv.Bucket, from string, yield func(string, []byte) bool) {
	t.engine.buckets[bucket].AscendGreaterOrEqual(item{key: from}, func(i item) bool { return yield(i.key, i.value) })
}

func (t *tx) Descend(bucket kv.Bucket, below string, yield func(string, []byte) bool) {
	tree := t.engine.buckets[bucket]
	if below == "" {
		tree.Descend(func(i item) bool { return yield(i.key, i.value) })
		return
	}
	tree.DescendLessOrEqual(item{key: below}, func(i item) bool { return i.key == below || yield(i.key, i.value) })
}

func (t *tx) undoAll() {
	for i := len(t.undo) - 1; i >= 0; i-- {
		c := t.undo[i]
		if c.stood {
			t.engine.buckets[c.bucket].ReplaceOrInsert(c.item)
		} else {
			t.engine.buckets[c.bucket].Delete(c.item)
		}
	}
}

var _ kv.Engine = (*engine)(nil)
