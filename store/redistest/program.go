package redistest

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Program is a server program of one version.
type Program string

// The programs that tests start. [Installed] is the redis-server in PATH, the
// others are those that `make test-deps` unpacks.
const (
	Installed Program = ""
	Redis60   Program = "redis-6.0" // older than the store takes
	Redis80   Program = "redis-8.0"
	Valkey81  Program = "valkey-8.1"
)

// Start starts a server of this program, as [Start] does.
func (p Program) Start(t testing.TB, options ...string) *Server {
	t.Helper()
	return start(t, p, nil, options...)
}

// StartWithClock starts a server of this program whose clock [Server.Advance]
// moves.
func (p Program) StartWithClock(t testing.TB, options ...string) *Server {
	t.Helper()
	library := filepath.Join(cache(t), "clock.so")
	if _, err := os.Stat(library); err != nil {
		t.Fatalf("the clock of servers is missing, make test-deps makes it: %v", err)
	}
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "clock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if err := file.Truncate(8); err != nil { // tools/test-clock.c maps a number
		t.Fatal(err)
	}
	s := start(t, p, []string{"LD_PRELOAD=" + library, "CLOCK_FILE=" + file.Name()}, options...)
	s.clock = file
	return s
}

// path is the program's file.
func (p Program) path(t testing.TB) string {
	t.Helper()
	if p == Installed {
		return "redis-server"
	}
	return filepath.Join(cache(t), string(p), "redis-server")
}

// cache is where `make test-deps` puts what it makes.
func cache(t testing.TB) string {
	t.Helper()
	folder, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "caddy-federation", "test-servers")
}

// Advance moves the server's clock forward.
func (s *Server) Advance(d time.Duration) {
	s.t.Helper()
	s.ahead += d
	// a page of the file is what the server reads, and eight bytes change as one
	if _, err := s.clock.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(s.ahead.Microseconds())), 0); err != nil {
		s.t.Fatal(err)
	}
}
