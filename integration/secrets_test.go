package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// No response and no log line may hold a token, a key, a secret or a stack.
// All tests of this package are held to it: their HTTP client reads along, and
// what Caddy logs goes through a parent process that reads it.

// secretTexts are the secrets that the configurations of the tests hold.
var secretTexts = []string{
	enrollSecret, "orchard-gateway-fixture-secret-2026-0001", "a-secret-of-more-than-thirty-two-bytes",
	"a secret of more than thirty-two bytes",
}

// secretShapes are what is made while tests run, and traces of a crash.
var secretShapes = map[string]*regexp.Regexp{
	"a JWT":            regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}`),
	"an API key":       regexp.MustCompile(`fed_[0-9A-Za-z]{10}_[0-9A-Za-z]{43}`),
	"a refresh token":  regexp.MustCompile(`refresh[_a-z]*\W{1,5}[0-9a-f]{64}\b`),
	"a stack":          regexp.MustCompile(`goroutine \d+ \[|\.go:\d+ \+0x[0-9a-f]+|runtime/debug\.Stack`),
	"a private key":    regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY`),
	"the text of Go's": regexp.MustCompile(`reflect\.Value|runtime error:|invalid memory address`),
}

// leaked names what a text holds and should not, or is empty.
func leaked(text string) string {
	for _, secret := range secretTexts {
		if strings.Contains(text, secret) {
			return "the secret " + secret
		}
	}
	for what, shape := range secretShapes {
		if found := shape.FindString(text); found != "" {
			return what + ": " + found
		}
	}
	return ""
}

// issues are the calls whose purpose is to hand out a token or key, once.
var issues = regexp.MustCompile(`^POST .*/(nodes|api-key|tokens|tokens/refresh|keys|register|refresh-token)$`)

// responses reads along with every answer that a test gets.
type responses struct {
	http.RoundTripper
	mu    sync.Mutex
	leaks []string
}

var readAlong = &responses{RoundTripper: http.DefaultTransport}

// CloseIdleConnections lets [http.Client.CloseIdleConnections] reach the
// transport below.
func (r *responses) CloseIdleConnections() {
	r.RoundTripper.(interface{ CloseIdleConnections() }).CloseIdleConnections()
}

func (r *responses) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.RoundTripper.RoundTrip(request)
	if err != nil || response.StatusCode < 300 && issues.MatchString(request.Method+" "+request.URL.Path) {
		return response, err
	}
	var header bytes.Buffer
	_ = response.Header.Write(&header)
	call := fmt.Sprintf("%s %s answers %d with ", request.Method, request.URL.Path, response.StatusCode)
	r.check(call, header.String())
	response.Body = &readBody{ReadCloser: response.Body, done: func(text string) { r.check(call, text) }}
	return response, nil
}

func (r *responses) check(call, text string) {
	if what := leaked(text); what != "" {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.leaks = append(r.leaks, call+what)
	}
}

// accessLog is the file of the access lines of all gateways with a registry.
func accessLog() string { return filepath.Join(os.Getenv("HOME"), "access.log") }

// readLog reads a log when all tests have ended.
func (r *responses) readLog(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		if !os.IsNotExist(err) {
			r.leaks = append(r.leaks, err.Error())
		}
		return
	}
	for line := range strings.Lines(string(text)) {
		r.check("the access log has "+line, line)
	}
}

// readBody keeps the first megabyte of a body until it was read.
type readBody struct {
	io.ReadCloser
	text strings.Builder
	done func(string)
	once sync.Once
}

func (b *readBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.text.Len() < 1<<20 {
		b.text.Write(p[:n])
	}
	return n, err
}

func (b *readBody) Close() error {
	b.once.Do(func() { b.done(b.text.String()) })
	return b.ReadCloser.Close()
}

// asTests makes this program the one that runs the tests, under the parent
// that reads its log.
const asTests = "CADDY_FEDERATION_TEST_AS_TESTS"

// underReader runs the tests in a child whose log is read, and returns the
// code to exit with.
func underReader() int {
	tests := exec.Command(os.Args[0], os.Args[1:]...)
	tests.Env = append(os.Environ(), asTests+"=1")
	tests.Stdin, tests.Stdout = os.Stdin, os.Stdout
	tests.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := tests.StderrPipe()
	if err != nil {
		panic(err)
	}
	if err := tests.Start(); err != nil {
		panic(err)
	}
	var leaks []string
	lines := bufio.NewReaderSize(log, 64<<10)
	for {
		line, err := lines.ReadString('\n')
		os.Stderr.WriteString(line)
		if what := leaked(line); what != "" && strings.HasPrefix(strings.TrimSpace(line), "{") {
			leaks = append(leaks, what+" in "+line)
		}
		if err != nil {
			break
		}
	}
	code := 0
	var exit *exec.ExitError
	if err := tests.Wait(); errors.As(err, &exit) {
		code = max(exit.ExitCode(), 1)
	} else if err != nil {
		panic(err)
	}
	if len(leaks) > 0 {
		fmt.Printf("FAIL: %d log lines hold what they must not:\n%s", len(leaks), strings.Join(leaks[:min(len(leaks), 20)], ""))
		return max(code, 1)
	}
	return code
}

// report says which answers held what they must not, and returns the code to
// exit with.
func (r *responses) report(code int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.leaks) == 0 {
		return code
	}
	fmt.Printf("FAIL: %d answers hold what they must not:\n%s\n", len(r.leaks), strings.Join(r.leaks[:min(len(r.leaks), 20)], "\n"))
	return max(code, 1)
}

func TestTheReaderFindsSecrets(t *testing.T) {
	for _, text := range []string{
		`{"level":"info","token":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.c2lnbmF0dXJlc2lnbmF0dXJl"}`,
		`"key":"fed_0123456789_` + strings.Repeat("a", 43) + `_000000"`, `"refresh_token":"` + strings.Repeat("0a", 32) + `"`,
		"panic: x\n\ngoroutine 1 [running]:", "/src/a.go:17 +0x1a", "-----BEGIN EC PRIVATE KEY-----", `the secret is ` + enrollSecret,
	} {
		if leaked(text) == "" {
			t.Errorf("nothing was found in %s", text)
		}
	}
	if what := leaked(`{"level":"info","trace_id":"` + strings.Repeat("0a", 16) + `","hash":"` + strings.Repeat("0a", 32) + `"}`); what != "" {
		t.Errorf("found %s", what)
	}
}
