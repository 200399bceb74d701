package kv

import (
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Records that expire are listed in the expiry bucket by their time. The
// record itself has the last word: an entry for a record that lives longer by
// now is dropped.

// sweepBatch is how many records one transaction gives back, so that others
// need not wait for long.
const sweepBatch = 500

// expireAt lists a record of the bucket under its end.
func expireAt(tx Tx, bucket Bucket, key string, end time.Time) error {
	if end.IsZero() {
		return nil
	}
	return tx.Put(bucketExpiry, fmt.Sprintf("%016x/%s/%s", end.UnixMilli(), bucket, key), present)
}

var present = []byte{}

// mortal is how the records that expire tell when.
type mortal struct {
	Expires time.Time
}

// sweep gives expired records back until the store is closed.
func (s *Store) sweep() {
	ticker := time.NewTicker(SweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-ticker.C:
			if err := s.Sweep(); err != nil {
				s.logger.Warn("expired records could not be given back", zap.Error(err))
			}
		}
	}
}

// Sweep gives back all that has expired.
func (s *Store) Sweep() error {
	for {
		n := 0
		err := s.engine.Update(func(tx Tx) error {
			n = 0
			now := s.now()
			var due []string
			tx.Ascend(bucketExpiry, "", func(key string, _ []byte) bool {
				if key[:16] > fmt.Sprintf("%016x", now.UnixMilli()) || len(due) >= sweepBatch {
					return false
				}
				due = append(due, key)
				return true
			})
			n = len(due)
			for _, entry := range due {
				if err := sweepOne(tx, entry, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n < sweepBatch {
			return err
		}
		select {
		case <-s.closing:
			return nil
		default:
		}
	}
}

func sweepOne(tx Tx, entry string, now time.Time) error {
	name, key, _ := strings.Cut(entry[17:], "/")
	bucket := Bucket(name)
	var record mortal
	found, err := get(tx, bucket, key, &record)
	if err == nil && found && !record.Expires.After(now) && !record.Expires.IsZero() {
		if err := forget(tx, bucket, key); err != nil {
			return err
		}
	}
	return tx.Delete(bucketExpiry, entry)
}

// forget deletes an expired record with what counts it.
func forget(tx Tx, bucket Bucket, key string) error {
	switch bucket {
	case bucketCache, bucketLimits:
		return remove(tx, bucket, key)
	case bucketRefresh:
		var record refreshRecord
		if _, err := get(tx, bucket, key, &record); err != nil {
			return err
		}
		if err := tx.Delete(bucketFamilies, record.Family+"/"+key); err != nil {
			return err
		}
	}
	return tx.Delete(bucket, key)
}

// The cache and the limits are bounded: they are counted, and the record that
// would expire first makes room.

func sizeKey(bucket Bucket) string { return "size/" + string(bucket) }

func remove(tx Tx, bucket Bucket, key string) error {
	if tx.Get(bucket, key) == nil {
		return nil
	}
	if _, err := counter(tx, sizeKey(bucket), ^uint64(0)); err != nil { // minus one
		return err
	}
	return tx.Delete(bucket, key)
}

// putBounded stores a record that expires in a bucket of at most limit.
func putBounded(tx Tx, bucket Bucket, key string, record any, end time.Time, limit uint64) error {
	if tx.Get(bucket, key) == nil {
		size, err := counter(tx, sizeKey(bucket), 1)
		if err != nil {
			return err
		}
		if size > limit {
			if err := evict(tx, bucket); err != nil {
				return err
			}
		}
	}
	if err := put(tx, bucket, key, record); err != nil {
		return err
	}
	return expireAt(tx, bucket, key, end)
}

// evict removes the record of the bucket that would expire first.
func evict(tx Tx, bucket Bucket) error {
	var gone []string
	victim := ""
	tx.Ascend(bucketExpiry, "", func(entry string, _ []byte) bool {
		name, key, _ := strings.Cut(entry[17:], "/")
		if Bucket(name) != bucket {
			return true
		}
		gone = append(gone, entry)
		if tx.Get(bucket, key) != nil {
			victim = key
			return false
		}
		return len(gone) < sweepBatch
	})
	for _, entry := range gone {
		if err := tx.Delete(bucketExpiry, entry); err != nil {
			return err
		}
	}
	if victim == "" {
		return nil
	}
	return remove(tx, bucket, victim)
}
