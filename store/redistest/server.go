// Package redistest starts Redis servers for tests: one, one with Sentinels,
// or a Cluster, each on free ports and gone when the test ends. It needs what
// `make test-deps` installs: redis-server and redis-cli, servers of other
// versions, and a clock for servers that tests can move.
package redistest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// patience is how long anything may take here, on a machine that is busy.
const patience = 60 * time.Second

// Server is one redis-server process.
type Server struct {
	// Addr is where it listens, host:port.
	Addr string

	t       testing.TB
	path    string
	args    []string
	env     []string
	clock   *os.File // moves its clock
	ahead   time.Duration
	output  *output
	process *exec.Cmd
	ended   chan struct{}
	user    []string // who Do is, or nobody
}

// Start starts a server that keeps nothing on disk. Options are as on the
// command line of redis-server.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	return Installed.Start(t, options...)
}

// StartWithClock starts a server whose clock [Server.Advance] moves.
func StartWithClock(t testing.TB, options ...string) *Server {
	t.Helper()
	return Installed.StartWithClock(t, options...)
}

func start(t testing.TB, program Program, env []string, options ...string) *Server {
	t.Helper()
	port := loopback.FreePort(t)
	s := &Server{
		Addr: fmt.Sprint("127.0.0.1:", port), t: t, path: program.path(t), env: env, output: new(output),
		args: append([]string{
			"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", t.TempDir(),
			"--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning", "--repl-diskless-sync-delay", "0",
		}, options...),
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("redis-server %s said:\n%s", s.Addr, s.output)
		}
	})
	s.launch()
	return s
}

// launch starts the process and waits until it answers.
func (s *Server) launch() {
	s.t.Helper()
	s.process = exec.CommandContext(context.Background(), s.path, s.args...) // until Kill
	s.process.Env = append(os.Environ(), s.env...)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		s.t.Fatalf("%s cannot be started, make test-deps installs it: %v", s.path, err)
	}
	ended, process := make(chan struct{}), s.process
	s.ended = ended
	go func() {
		_ = process.Wait()
		close(ended)
	}()
	Eventually(s.t, "redis-server answers", func() bool {
		reply, err := s.try("PING")
		return err == nil && reply == "PONG" || err != nil && strings.HasPrefix(err.Error(), "NOAUTH")
	})
}

// URL is the server's address as the store reads it.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Kill ends the process at once. What it held is gone.
func (s *Server) Kill() {
	_ = s.process.Process.Kill()
	<-s.ended
}

// Restart starts the server again after Kill, empty.
func (s *Server) Restart() {
	s.t.Helper()
	s.launch()
}

// Hang stops the process with its connections open, until Continue.
func (s *Server) Hang() { s.signal(syscall.SIGSTOP) }

// Continue ends Hang.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(which syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(which); err != nil {
		s.t.Fatal(err)
	}
}

// Do sends a command and returns the reply as text; an error fails the test.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	reply, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return reply
}

// Clients is the number of connections to the server, without those of this
// call, of other servers and of Sentinels.
func (s *Server) Clients() int {
	s.t.Helper()
	n := -1
	for line := range strings.Lines(s.Do("CLIENT", "LIST")) {
		if strings.Contains(line, " addr=") && !strings.Contains(line, " name=sentinel-") &&
			!strings.Contains(line, " flags=S") && !strings.Contains(line, " flags=M") {
			n++
		}
	}
	return n
}

// Running tells whether the process runs.
func (s *Server) Running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// try sends a command on a connection of its own.
func (s *Server) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	var request []byte
	if s.user != nil {
		request = appendCommand(request, append([]string{"AUTH"}, s.user...))
	}
	if _, err := conn.Write(appendCommand(request, args)); err != nil {
		return "", err
	}
	reader := bufio.NewReader(conn)
	if s.user != nil {
		if _, err := readReply(reader); err != nil {
			return "", err
		}
	}
	return readReply(reader)
}

func appendCommand(request []byte, args []string) []byte {
	request = fmt.Appendf(request, "*%d\r\n", len(args))
	for _, arg := range args {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return request
}

// As makes Do log in as a user of the server.
func (s *Server) As(user, password string) { s.user = []string{user, password} }

// readReply reads one reply; the items of an array are joined with spaces.
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '-':
		return "", fmt.Errorf("%s", rest)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return "", err
		}
		body := make([]byte, n+2)
		for read := 0; read < len(body); {
			m, err := r.Read(body[read:])
			if err != nil {
				return "", err
			}
			read += m
		}
		return string(body[:n]), nil
	case '*':
		n, err := strconv.Atoi(rest)
		if err != nil {
			return "", err
		}
		var items []string
		for range n {
			item, err := readReply(r)
			if err != nil {
				return "", err
			}
			items = append(items, item)
		}
		return strings.Join(items, " "), nil
	default:
		return rest, nil
	}
}

// Eventually waits until the condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// output keeps what a process said.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String is the end of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text.String()
	return text[max(0, len(text)-1000):]
}
