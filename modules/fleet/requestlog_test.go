package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/kv"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

// logBook is a request log that is written to a memory store.
type logBook struct {
	*testing.T
	log  requestLog
	kept *kv.Store
	said *observer.ObservedLogs
	// end ends the writer and waits for it.
	end func()
}

// newLogBook starts a writer; it belongs inside a synctest bubble. wrap may
// stand between the writer and the store.
func newLogBook(t *testing.T, wrap func(store.Requests) store.Requests) *logBook {
	kept, err := memory.New(time.Now, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	core, said := observer.New(zap.InfoLevel)
	b := &logBook{T: t, kept: kept, said: said}
	requests := kept.Requests()
	if wrap != nil {
		requests = wrap(requests)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		b.log.write(ctx, requests, zap.New(core))
		close(done)
	}()
	b.end = func() {
		cancel()
		<-done
	}
	t.Cleanup(func() {
		b.end()
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return b
}

// add adds n lines of a node, numbered from first in their status.
func (b *logBook) add(node string, first, n int) {
	start := time.Now()
	for i := range n {
		line := store.RequestRecord{Node: node, Time: start.Add(time.Duration(i)), Kind: kindSearch, Status: first + i, Outcome: "ok"}
		b.log.add(line)
	}
	if waited := time.Since(start); waited != 0 {
		b.Errorf("adding waited %v", waited)
	}
}

// last returns the numbers of a node's lines, the newest first.
func (b *logBook) last(node string) []int {
	b.Helper()
	lines, err := b.kept.Requests().Last(context.Background(), node, 1e6)
	if err != nil {
		b.Fatal(err)
	}
	var numbers []int
	for _, line := range lines {
		numbers = append(numbers, line.Status)
	}
	return numbers
}

func (b *logBook) messages() (all []string) {
	for _, entry := range b.said.All() {
		all = append(all, entry.Message)
	}
	return all
}

func TestTheRequestLogIsWrittenBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLogBook(t, nil)
		b.add("shop", 1, 3)
		synctest.Wait()
		if got := b.last("shop"); got != nil {
			t.Errorf("the store has %v before its time", got)
		}
		time.Sleep(logInterval)
		synctest.Wait()
		if got := fmt.Sprint(b.last("shop")); got != "[3 2 1]" {
			t.Errorf("the store has %s", got)
		}
		b.add("shop", 4, 1)
		b.end()
		if got := fmt.Sprint(b.last("shop")); got != "[4 3 2 1]" {
			t.Errorf("after the end the store has %s", got)
		}
		if got := b.messages(); got != nil {
			t.Errorf("the log says %v", got)
		}
	})
}

func TestManyLinesWakeTheWriterEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLogBook(t, nil)
		b.add("shop", 0, logShards*logBatch) // one shard at least has a whole batch
		synctest.Wait()
		if got := len(b.last("shop")); got < logBatch {
			t.Errorf("the store has %d lines, expected at least %d", got, logBatch)
		}
	})
}

func TestTheLastLinesOfEachNodeAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLogBook(t, nil)
		b.add("quiet", 7, 1)
		for round := range 3 { // over several batches
			b.add("busy", round*500, 500)
			time.Sleep(logInterval)
		}
		b.add("flood", 0, 1700) // within one
		b.end()
		for node, newest := range map[string]int{"busy": 1499, "flood": 1699} {
			got := b.last(node)
			if len(got) != store.MaxRequests {
				t.Fatalf("%s has %d lines, expected %d", node, len(got), store.MaxRequests)
			}
			for i, n := range got {
				if n != newest-i {
					t.Fatalf("line %d of %s is %d, expected %d", i, node, n, newest-i)
				}
			}
		}
		if got := fmt.Sprint(b.last("quiet")); got != "[7]" {
			t.Errorf("the quiet node has %s", got)
		}
	})
}

// failing refuses while broken is set.
type failing struct {
	store.Requests
	broken atomic.Bool
}

func (f *failing) Append(ctx context.Context, records []store.RequestRecord) error {
	if f.broken.Load() {
		return errors.New("the disk is gone")
	}
	return f.Requests.Append(ctx, records)
}

func TestAFailingStoreIsLoggedOncePerChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(failing)
		b := newLogBook(t, func(r store.Requests) store.Requests { f.Requests = r; return f })
		const lost, back = "request log cannot be written, lines are lost until it can", "request log is written again"
		number := 0
		for _, expected := range [][]string{{lost}, {lost, back}, {lost, back, lost}, {lost, back, lost, back}} {
			f.broken.Store(!f.broken.Load())
			for range 5 {
				number++
				b.add("shop", number, 1)
				time.Sleep(logInterval)
				synctest.Wait()
			}
			if got := b.messages(); fmt.Sprint(got) != fmt.Sprint(expected) {
				t.Fatalf("the log says %q, expected %q", got, expected)
			}
		}
		if got := fmt.Sprint(b.last("shop")); got != "[20 19 18 17 16 10 9 8 7 6]" {
			t.Errorf("the store has %s", got)
		}
	})
}

// slow takes its time, and gives up when the context ends.
type slow struct {
	store.Requests
	takes time.Duration
	lines atomic.Int64
}

func (s *slow) Append(ctx context.Context, records []store.RequestRecord) error {
	select {
	case <-time.After(s.takes):
		s.lines.Add(int64(len(records)))
		return s.Requests.Append(ctx, records)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestASlowStoreCostsLinesAndNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: 3 * time.Second}
		b := newLogBook(t, func(r store.Requests) store.Requests { s.Requests = r; return s })
		b.add("shop", 0, 1)
		time.Sleep(logInterval)
		synctest.Wait() // the writer is busy with that line now
		const room, more = logShards * logShardLimit, 10_000
		b.add("shop", 1, room+more) // add checks that it never waits
		b.end()
		if got := s.lines.Load(); got != room+1 {
			t.Errorf("the store was given %d lines, expected %d", got, room+1)
		}
		told := uint64(0)
		for _, entry := range b.said.FilterMessage("request log fell behind").All() {
			told += entry.ContextMap()["dropped_lines"].(uint64)
		}
		if told != more {
			t.Errorf("%d lines were reported as dropped, expected %d", told, more)
		}
	})
}

func TestTheEndLosesNoLineThatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: time.Second}
		b := newLogBook(t, func(r store.Requests) store.Requests { s.Requests = r; return s })
		b.add("shop", 1, 1)
		time.Sleep(logInterval)
		synctest.Wait() // the line is with the store
		b.add("shop", 2, 1)
		b.end()
		if got := fmt.Sprint(b.last("shop")); got != "[2 1]" {
			t.Errorf("the store has %s", got)
		}
		if got := b.messages(); got != nil {
			t.Errorf("the log says %q", got)
		}
	})
}
