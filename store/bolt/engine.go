package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/kv"
)

// The file says what it is, so that a foreign one is never written to.
var (
	formatBucket = []byte("caddy-federation")
	formatKey    = []byte("format")
	format       = []byte("1")
)

// lockTimeout is how long another process may take to let go of the file.
const lockTimeout = time.Second

// engine is one bbolt file.
type engine struct {
	db   *bbolt.DB
	path string
}

// openEngine opens the file, or makes it. Whatever the file holds, it returns
// an error that names it rather than panic, and does not change what is not ours.
func openEngine(path string) (*engine, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of %s: %w", path, plain(err))
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("opening %s: it is a folder, expected a file", path)
	}
	var file *os.File
	var db *bbolt.DB
	err := guarded(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      lockTimeout,
			FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				file = f
				return f, err
			},
		})
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close() // a panic in the library leaves it open and locked
		}
		return nil, fmt.Errorf("opening %s: %w", path, explain(err))
	}
	e := &engine{db: db, path: path}
	if err := e.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, explain(err)), guarded(db.Close))
	}
	return e, nil
}

// prepare checks that the file is ours and whole, and makes the buckets.
func (e *engine) prepare() error {
	fresh := false
	err := guarded(func() error {
		return e.db.View(func(tx *bbolt.Tx) error {
			info, err := os.Stat(e.path)
			if err != nil {
				return err
			}
			if tx.Size() > info.Size() {
				return fmt.Errorf("%w: the file is cut off (%d bytes, expected %d)", store.ErrCorrupt, info.Size(), tx.Size())
			}
			if own := tx.Bucket(formatBucket); own != nil {
				if got := own.Get(formatKey); !bytes.Equal(got, format) {
					return fmt.Errorf("%w: format %q, expected %q; a newer version wrote it", store.ErrCorrupt, got, format)
				}
				return touchAll(tx)
			}
			fresh = true
			return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
				return fmt.Errorf("%w: a bbolt file of something else (it has a bucket %q)", store.ErrCorrupt, name)
			})
		})
	})
	if err != nil {
		return err
	}
	if !fresh {
		return nil
	}
	return guarded(func() error {
		return e.db.Update(func(tx *bbolt.Tx) error {
			for _, bucket := range kv.Buckets {
				if _, err := tx.CreateBucketIfNotExists([]byte(bucket)); err != nil {
					return err
				}
			}
			own, err := tx.CreateBucketIfNotExists(formatBucket)
			if err != nil {
				return err
			}
			return own.Put(formatKey, format)
		})
	})
}

// touchAll reads every page once, so that damage shows now and not in the
// middle of a request.
func touchAll(tx *bbolt.Tx) error {
	for _, name := range kv.Buckets {
		bucket := tx.Bucket([]byte(name))
		if bucket == nil {
			return fmt.Errorf("%w: the bucket %q is missing", store.ErrCorrupt, name)
		}
		var last []byte
		err := bucket.ForEach(func(key, value []byte) error {
			if value == nil || last != nil && bytes.Compare(last, key) >= 0 {
				return fmt.Errorf("%w: the bucket %q is out of order", store.ErrCorrupt, name)
			}
			last = key
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// guarded turns a panic of the library, and a fault of its memory map, into
// an error: both are how it meets a damaged file.
func guarded(work func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", store.ErrCorrupt, r)
			if _, fault := r.(runtime.Error); fault {
				err = fmt.Errorf("%w: a page cannot be read", store.ErrCorrupt)
			}
		}
	}()
	return work()
}

// explain names the errors that an operator can act on.
func explain(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%w: another process has it open, perhaps another Caddy with the same data directory", store.ErrLocked)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("%w: not a bbolt file, or a damaged one", store.ErrCorrupt)
	case noSpace(err):
		return fmt.Errorf("%w: %w", store.ErrFull, plain(err))
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return store.ErrClosed
	case errors.Is(err, store.ErrCorrupt):
		return err
	default:
		return plain(err)
	}
}

// noSpace also reads the text, because the library drops the cause when the
// file cannot grow.
func noSpace(err error) bool {
	for _, cause := range []error{syscall.ENOSPC, syscall.EFBIG, syscall.EDQUOT} {
		if errors.Is(err, cause) || strings.Contains(err.Error(), cause.Error()) {
			return true
		}
	}
	return false
}

// plain takes the path out of an error that is wrapped with it anyway.
func plain(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// View implements [kv.Engine].
func (e *engine) View(work func(kv.Tx) error) error {
	return e.run(e.db.View, work)
}

// Update implements [kv.Engine].
func (e *engine) Update(work func(kv.Tx) error) error {
	return e.run(e.db.Update, work)
}

func (e *engine) run(transaction func(func(*bbolt.Tx) error) error, work func(kv.Tx) error) error {
	err := guarded(func() error {
		return transaction(func(t *bbolt.Tx) error { return work(tx{t}) })
	})
	if err == nil {
		return nil
	}
	return explain(err)
}

// Close implements [kv.Engine].
func (e *engine) Close() error { return guarded(e.db.Close) }

type tx struct{ bolt *bbolt.Tx }

func (t tx) Get(bucket kv.Bucket, key string) []byte {
	return t.bolt.Bucket([]byte(bucket)).Get([]byte(key))
}

func (t tx) Put(bucket kv.Bucket, key string, value []byte) error {
	return t.bolt.Bucket([]byte(bucket)).Put([]byte(key), value)
}

func (t tx) Delete(bucket kv.Bucket, key string) error {
	return t.bolt.Bucket([]byte(bucket)).Delete([]byte(key))
}

func (t tx) Ascend(bucket kv.Bucket, from string, yield func(string, []byte) bool) {
	cursor := t.bolt.Bucket([]byte(bucket)).Cursor()
	for key, value := cursor.Seek([]byte(from)); key != nil && yield(string(key), value); {
		key, value = cursor.Next()
	}
}

func (t tx) Descend(bucket kv.Bucket, below string, yield func(string, []byte) bool) {
	cursor := t.bolt.Bucket([]byte(bucket)).Cursor()
	var key, value []byte
	if below == "" {
		key, value = cursor.Last()
	} else if key, _ = cursor.Seek([]byte(below)); key == nil {
		key, value = cursor.Last()
	} else {
		key, value = cursor.Prev()
	}
	for key != nil && yield(string(key), value) {
		key, value = cursor.Prev()
	}
}

var _ kv.Engine = (*engine)(nil)
