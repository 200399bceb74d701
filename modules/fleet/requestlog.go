package fleet

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// The request log is written behind: calls put their line into memory, and a
// writer hands them to the store in batches.
const (
	logShards     = 8
	logShardLimit = 4096 // lines; what comes when a shard is full is dropped and counted
	logBatch      = 256  // lines in one shard that wake the writer early
	logInterval   = time.Second
	logTimeout    = 5 * time.Second // for one batch, also for one that Stop finds on its way
)

// requestLog is the memory part. Calls choose a shard at random, so that no
// lock is shared by all of them.
type requestLog struct {
	shards  [logShards]logShard
	dropped atomic.Uint64
	wake    atomic.Pointer[chan struct{}]
}

type logShard struct {
	mu      sync.Mutex
	records []store.RequestRecord
	_       [32]byte // keeps neighbours off one cache line
}

// add never blocks on the store.
func (l *requestLog) add(record store.RequestRecord) {
	shard := &l.shards[rand.Uint32N(logShards)]
	shard.mu.Lock()
	full := len(shard.records) >= logShardLimit
	if !full {
		shard.records = append(shard.records, record)
	}
	n := len(shard.records)
	shard.mu.Unlock()
	if full {
		l.dropped.Add(1)
	}
	if n == logBatch {
		if wake := l.wake.Load(); wake != nil {
			select {
			case *wake <- struct{}{}:
			default:
			}
		}
	}
}

// forget drops the queued lines of a node that is gone: whoever takes its name
// next must not find them.
func (l *requestLog) forget(node string) {
	for i := range l.shards {
		shard := &l.shards[i]
		shard.mu.Lock()
		shard.records = slices.DeleteFunc(shard.records, func(r store.RequestRecord) bool { return r.Node == node })
		shard.mu.Unlock()
	}
}

// take empties all shards at one moment, so that no line of this batch is
// younger than one of the next.
func (l *requestLog) take() []store.RequestRecord {
	n := 0
	for i := range l.shards {
		l.shards[i].mu.Lock()
		n += len(l.shards[i].records)
	}
	all := make([]store.RequestRecord, 0, n)
	for i := range l.shards {
		shard := &l.shards[i]
		all = append(all, shard.records...)
		shard.records = shard.records[:0]
		shard.mu.Unlock()
	}
	return all
}

// write hands the lines to the store until ctx ends, and what is left then.
func (l *requestLog) write(ctx context.Context, requests store.Requests, logger *zap.Logger) {
	wake := make(chan struct{}, 1)
	l.wake.Store(&wake)
	ticker := time.NewTicker(logInterval)
	defer ticker.Stop()
	failing := false
	flush := func() {
		records := l.take()
		if len(records) == 0 {
			return
		}
		batch, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTimeout)
		defer cancel()
		err := requests.Append(batch, records)
		if (err != nil) != failing { // once per change, not per batch
			failing = err != nil
			if failing {
				logger.Error("request log cannot be written, lines are lost until it can", zap.Error(err))
			} else {
				logger.Info("request log is written again")
			}
		}
		if dropped := l.dropped.Swap(0); dropped > 0 {
			logger.Warn("request log fell behind", zap.Uint64("dropped_lines", dropped))
		}
	}
	for {
		select {
		case <-ctx.Done():
			flush()
			return
		case <-ticker.C:
		case <-wake:
		}
		flush()
	}
}
