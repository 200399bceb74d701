package bolt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/kv"
	"github.com/caddy-federation/caddy-federation/store/storetest"
)

// The tests run themselves again as another process, which is told what to do
// in the environment.
const child = "BOLT_TEST_CHILD"

func TestMain(m *testing.M) {
	if task, file, ok := strings.Cut(os.Getenv(child), ":"); ok {
		os.Exit(runChild(task, file))
	}
	goleak.VerifyTestMain(m)
}

// runChild is the other process.
func runChild(task, file string) int {
	if task == "full" {
		if err := limitFiles(1 << 20); err != nil {
			return report(err)
		}
	}
	s, err := New(file, time.Now, zap.NewNop())
	if err != nil {
		return report(err)
	}
	fmt.Println("open")
	for i := 0; ; i++ {
		_, err := s.Nodes().Put(context.Background(), store.NodeRecord{Slug: fmt.Sprintf("n%06d", i), Data: make([]byte, 4000)})
		if err != nil {
			if task == "full" {
				// what was stored is intact, and can still be read
				list, readErr := s.Nodes().List(context.Background())
				if readErr != nil || len(list) != i || !errors.Is(err, store.ErrFull) {
					return report(fmt.Errorf("%d of %d are left: %w, %w", len(list), i, readErr, err))
				}
				if err := pingsFollow(s); err != nil {
					return report(err)
				}
				fmt.Println("full")
				return 0
			}
			return report(err)
		}
		fmt.Println("stored", i)
	}
}

// limitFiles bounds how large a file can get: a disk that is full.
func limitFiles(bytes uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = min(bytes, limit.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
}

// pingsFollow tells whether a store that could not be written says so for as
// long as that is so.
func pingsFollow(s *kv.Store) error {
	for range 3 { // and asking does not make it forget
		if err := s.Ping(context.Background()); !errors.Is(err, store.ErrFull) {
			return fmt.Errorf("a ping of the full store says %w", err)
		}
	}
	if err := limitFiles(1 << 30); err != nil {
		return err
	}
	if err := s.Ping(context.Background()); err != nil {
		return fmt.Errorf("with room again, a ping says %w", err)
	}
	return nil
}

func report(err error) int {
	fmt.Println("error:", err)
	return 1
}

func other(t *testing.T, task, file string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	command := exec.CommandContext(ctx, os.Args[0])
	command.Env = append(os.Environ(), child+"="+task+":"+file)
	return command
}

func open(t *testing.T, path string) *kv.Store {
	t.Helper()
	s, err := New(path, time.Now, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	var last string
	openLast := func(t *testing.T) store.Store {
		s, err := New(last, now, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	storetest.Run(t, storetest.Backend{
		Open: func(t *testing.T) store.Store {
			last = filepath.Join(t.TempDir(), "folder", "store.db")
			return openLast(t)
		},
		Reopen:  openLast,
		Advance: func(d time.Duration) { ahead.Add(int64(d)) },
		Sweep:   func(s store.Store) error { return s.(*kv.Store).Sweep() },
	})
}

func TestAFileIsNamedInItsError(t *testing.T) {
	folder := t.TempDir()
	write := func(name, body string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := filepath.Join(folder, "foreign.db")
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	newer := filepath.Join(folder, "newer.db")
	open(t, newer).Close()
	if db, err = bbolt.Open(newer, 0o600, nil); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(formatBucket).Put(formatKey, []byte("2")) }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	for name, c := range map[string]struct {
		path, says string
		is         error
	}{
		"text":        {write("text.db", strings.Repeat("no database ", 5000)), "not a bbolt file", store.ErrCorrupt},
		"foreign":     {foreign, `"theirs"`, store.ErrCorrupt},
		"newer":       {newer, "newer version", store.ErrCorrupt},
		"folder":      {folder, "it is a folder", nil},
		"in no place": {filepath.Join(write("file", "x"), "below.db"), "not a directory", nil},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := os.ReadFile(c.path)
			_, err := New(c.path, time.Now, zap.NewNop())
			if err == nil || !strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error is %v, expected %q and the path", err, c.says)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
			if after, _ := os.ReadFile(c.path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestATornFileIsAnErrorAndNoPanic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "whole.db")
	s := open(t, path)
	for i := range 200 {
		if _, err := s.Nodes().Put(t.Context(), store.NodeRecord{Slug: fmt.Sprint("n", i), Data: make([]byte, 500)}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	attempt := func(name string, body []byte) {
		torn := filepath.Join(t.TempDir(), "torn.db")
		if err := os.WriteFile(torn, body, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := New(torn, time.Now, zap.NewNop())
		if err != nil {
			if !strings.Contains(err.Error(), torn) {
				t.Errorf("%s: %v does not name the file", name, err)
			}
			return
		}
		_, _ = s.Nodes().List(t.Context())
		_, _ = s.Nodes().Put(t.Context(), store.NodeRecord{Slug: "new"})
		if err := s.Close(); err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for size := 512; size < len(whole); size += len(whole) / 40 {
		attempt(fmt.Sprintf("cut at %d", size), whole[:size])
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		body := append([]byte(nil), whole...)
		for range 1 + i%8 {
			body[random.IntN(len(body))] ^= byte(1 + random.IntN(255))
		}
		attempt(fmt.Sprintf("flip %d", i), body)
	}
}

func TestAnotherProcessHasTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "held.db")
	s := open(t, path)
	output, err := other(t, "write", path).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "another process has it open") || !strings.Contains(string(output), path) {
		t.Errorf("the other process said %s", output)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAKilledWriterLosesNothingThatWasAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "killed.db")
	command := other(t, "write", path)
	pipe, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	buf := make([]byte, 4096)
	for strings.Count(said.String(), "stored") < 50 {
		n, err := pipe.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("the writer ended: %v: %s", err, said.String())
		}
	}
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait()
	s := open(t, path)
	defer s.Close()
	list, err := s.Nodes().List(t.Context())
	if err != nil || len(list) < 50 {
		t.Errorf("%d of 50 are left: %v", len(list), err)
	}
}

func TestAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "full.db")
	output, err := other(t, "full", path).CombinedOutput()
	if err != nil || !strings.Contains(string(output), "full\n") {
		text := string(output)
		t.Fatalf("%v: %s", err, text[max(0, len(text)-500):])
	}
	s := open(t, path) // there is space again
	defer s.Close()
	if _, err := s.Nodes().Put(t.Context(), store.NodeRecord{Slug: "more"}); err != nil {
		t.Error(err)
	}
}
