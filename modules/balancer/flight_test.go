package balancer

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// eventually waits until something that another goroutine does is done.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestARequestIsInFlightUntilItsAnswerEnds(t *testing.T) {
	more := make(chan bool)
	address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
		<-more
		_, _ = io.WriteString(w, "second")
	})
	p := serve(t, static("latency", address))
	response, err := http.Get(p.url)
	if err != nil {
		t.Fatal(err)
	}
	if n := p.inFlight(address); n != 1 {
		t.Errorf("after the header, %d requests are in flight", n)
	}
	calls := func() uint64 { return p.transport().upstreams.target(address).gate.Load().Calls[fleet.OutcomeOK] }
	if n := calls(); n != 0 {
		t.Errorf("after the header, %d calls are finished", n)
	}
	close(more)
	if body, err := io.ReadAll(response.Body); string(body) != "first second" || err != nil {
		t.Errorf("the answer is %q, %v", body, err)
	}
	response.Body.Close()
	eventually(t, "the request has ended", func() bool { return p.inFlight(address) == 0 && calls() == 1 })
}

func TestAnUpgradedConnectionIsInFlightUntilItCloses(t *testing.T) {
	address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, _ := buffered.ReadString('\n')
		_, _ = io.WriteString(conn, line)
		_, _ = io.Copy(io.Discard, buffered) // until the other side closes its half
		_, _ = io.WriteString(conn, "bye\n")
	})
	p := serve(t, static("latency", address))
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", response, err)
	}
	if line, err := reader.ReadString('\n'); line != "hello\n" {
		t.Fatalf("echoed %q, %v", line, err)
	}
	if n := p.inFlight(address); n != 1 {
		t.Errorf("while it is open, %d requests are in flight", n)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	if line, err := reader.ReadString('\n'); line != "bye\n" {
		t.Errorf("after closing one half the other side said %q, %v", line, err)
	}
	conn.Close()
	eventually(t, "the connection has ended", func() bool { return p.inFlight(address) == 0 })
	if calls := p.transport().upstreams.target(address).gate.Load().Calls; calls[fleet.OutcomeOK] != 1 || calls[fleet.OutcomeHard] != 0 {
		t.Errorf("the calls are %v", calls)
	}
}

// attempt is a request as Caddy hands it to a transport.
func attempt(t *testing.T, ctx context.Context, to *reverseproxy.Upstream, body io.Reader) *http.Request {
	t.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	ctx = context.WithValue(ctx, caddyhttp.ServerCtxKey, server)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
	ctx = context.WithValue(ctx, caddy.CtxKey("reverse_proxy.dial_info"), reverseproxy.DialInfo{Upstream: to, Network: "tcp", Address: to.Dial})
	request, err := http.NewRequestWithContext(ctx, method, "http://"+to.Dial, body)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// over is a transport of ours over another one.
func over(t *testing.T, inner roundTrip) *Transport {
	t.Helper()
	memory, release, err := holdMemory(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	gates, err := fleet.LoadGates(t.Name(), &fleet.BreakerConfig{Open: caddy.Duration(time.Minute)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	transport := &Transport{inner: inner, gates: gates, release: release, upstreams: newUpstreams(memory, gates)}
	t.Cleanup(func() {
		if err := transport.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return transport
}

// breaking is a body that ends with an error after some bytes.
type breaking struct {
	left int
	err  error
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, b.err
	}
	n := min(b.left, len(p))
	b.left -= n
	return n, nil
}

func (b *breaking) Close() error { return nil }

func TestVerdicts(t *testing.T) {
	left, leave := context.WithCancel(context.Background())
	leave()
	reset := errors.New("connection reset by peer")
	for _, c := range []struct {
		name     string
		ctx      context.Context
		upload   io.Reader
		status   int
		body     io.ReadCloser
		err      error
		expected map[fleet.Outcome]uint64
		charged  bool
		// elsewhere: a retry avoids it although it is not charged
		elsewhere bool
	}{
		{name: "an answer", status: 200, expected: map[fleet.Outcome]uint64{fleet.OutcomeOK: 1}},
		{name: "a redirect", status: 302, expected: map[fleet.Outcome]uint64{fleet.OutcomeOK: 1}},
		{name: "not found", status: 404, expected: map[fleet.Outcome]uint64{fleet.OutcomeNeutral: 1}},
		{name: "an error of the upstream", status: 500, expected: map[fleet.Outcome]uint64{fleet.OutcomeSoft: 1}, charged: true},
		{name: "too many of this client", status: 429, expected: map[fleet.Outcome]uint64{fleet.OutcomeThrottled: 1}, elsewhere: true},
		{name: "unreachable", err: reset, expected: map[fleet.Outcome]uint64{fleet.OutcomeHard: 1}, charged: true},
		{name: "the client left", ctx: left, err: context.Canceled, expected: map[fleet.Outcome]uint64{fleet.OutcomeNeutral: 1}},
		{name: "the client's upload broke off", upload: &breaking{3, io.ErrUnexpectedEOF}, err: reset, expected: map[fleet.Outcome]uint64{fleet.OutcomeNeutral: 1}},
		{name: "the upload was read", upload: strings.NewReader("all of it"), err: reset, expected: map[fleet.Outcome]uint64{fleet.OutcomeHard: 1}, charged: true},
		{name: "the answer broke off", status: 200, body: &breaking{3, io.ErrUnexpectedEOF},
			expected: map[fleet.Outcome]uint64{fleet.OutcomeHard: 1}, charged: true},
		{name: "the client left while it was read", status: 200, body: &breaking{3, context.Canceled}, expected: map[fleet.Outcome]uint64{fleet.OutcomeOK: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			transport := over(t, func(r *http.Request) (*http.Response, error) {
				if r.Body != nil {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				if c.err != nil {
					return nil, c.err
				}
				if c.body == nil {
					c.body = io.NopCloser(strings.NewReader("body"))
				}
				return &http.Response{StatusCode: c.status, Header: http.Header{}, Body: c.body}, nil
			})
			if c.ctx == nil {
				c.ctx = t.Context()
			}
			to := &reverseproxy.Upstream{Dial: "10.0.0.1:80"}
			request := attempt(t, c.ctx, to, c.upload)
			response, err := transport.RoundTrip(request)
			if !errors.Is(err, c.err) {
				t.Errorf("the error is %v, expected that of the inner transport", err)
			}
			if err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				response.Body.Close()
			}
			target := transport.upstreams.target(to.Dial)
			load := target.gate.Load()
			for outcome, n := range load.Calls {
				if n != c.expected[outcome] {
					t.Errorf("%d calls were %s, expected %d", n, outcome, c.expected[outcome])
				}
			}
			if load.InFlight != 0 {
				t.Errorf("%d are in flight", load.InFlight)
			}
			if charged := target.meter.Candidate(sinceEpoch(time.Now()), 0, 1, 0).Latency > 0.5; charged != c.charged {
				t.Errorf("charged: %v", charged)
			}
			if tried := attemptsOf(request.Context(), request.URL).hasTried(target.meter); c.body == nil && tried != (c.charged || c.elsewhere || c.err != nil) {
				t.Errorf("a retry avoids it: %v", tried)
			}
		})
	}
}

func TestAnUploadIsNotTheUpstreamsTime(t *testing.T) {
	start := time.Now()
	now := start.Add(10 * time.Second)
	f := &flight{start: start}
	if got := f.latency(now); got != 10*time.Second {
		t.Errorf("without an upload the latency is %v", got)
	}
	f.upload.last.Store(int64(sinceEpoch(now.Add(-5 * time.Millisecond))))
	if got := f.latency(now); got != 5*time.Millisecond {
		t.Errorf("5 ms after the upload it is %v", got)
	}
	f.upload.last.Store(int64(sinceEpoch(now.Add(time.Second)))) // the answer came before its end
	if got := f.latency(now); got != 0 {
		t.Errorf("while the upload goes on it is %v", got)
	}
	before := int64(time.Since(epoch))
	f.upload.ReadCloser = io.NopCloser(strings.NewReader("text"))
	_, _ = io.Copy(io.Discard, &f.upload)
	if got := f.upload.last.Load(); got < before || f.upload.broken.Load() {
		t.Errorf("reading it was noted at %d, after %d", got, before)
	}
}

func TestAPanicOfTheInnerTransportTakesNoPlace(t *testing.T) {
	transport := over(t, func(*http.Request) (*http.Response, error) { panic("inner") })
	func() {
		defer func() { _ = recover() }()
		_, _ = transport.RoundTrip(attempt(t, t.Context(), &reverseproxy.Upstream{Dial: "10.0.0.1:80"}, nil))
	}()
	if n := transport.upstreams.target("10.0.0.1:80").gate.InFlight(); n != 0 {
		t.Errorf("%d are in flight", n)
	}
}

func TestAHealthCheckIsNotCounted(t *testing.T) {
	var asked atomic.Int64
	transport := over(t, func(*http.Request) (*http.Response, error) {
		asked.Add(1)
		return nil, errors.New("refused")
	})
	for range 10 {
		request := attempt(t, t.Context(), &reverseproxy.Upstream{Dial: "10.0.0.1:80"}, nil)
		_, _ = transport.RoundTrip(request.WithContext(context.WithValue(request.Context(), caddyhttp.ServerCtxKey, nil)))
	}
	if load := transport.upstreams.target("10.0.0.1:80").gate.Load(); asked.Load() != 10 || load.Calls[fleet.OutcomeHard] != 0 {
		t.Errorf("of %d health checks %v were counted", asked.Load(), load.Calls)
	}
}

// TestTenThousandClientAborts: none of them is the upstream's fault. As many
// resets open its breaker at once.
func TestTenThousandClientAborts(t *testing.T) {
	transport := over(t, func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	to := &reverseproxy.Upstream{Dial: "10.0.0.1:80"}
	transport.upstreams.target("10.0.0.2:80") // or it would be the last one, which is never left out
	for range 10_000 {
		ctx, leave := context.WithCancel(t.Context())
		leave()
		_, _ = transport.RoundTrip(attempt(t, ctx, to, nil))
	}
	gate := transport.upstreams.target(to.Dial).gate
	if refusal := gate.Refusal(); refusal != "" || gate.Load().Calls[fleet.OutcomeNeutral] != 10_000 {
		t.Errorf("refusal %q, calls %v", refusal, gate.Load().Calls)
	}
	transport.inner = roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("reset") })
	for range 10 {
		_, _ = transport.RoundTrip(attempt(t, t.Context(), to, nil))
	}
	if refusal := gate.Refusal(); refusal != "open" {
		t.Errorf("after ten resets the refusal is %q", refusal)
	}
	_, err := transport.RoundTrip(attempt(t, t.Context(), to, nil))
	var dial reverseproxy.DialError
	if !errors.As(err, &dial) || errors.Is(err, context.Canceled) {
		t.Errorf("a refused request ends with %v, expected a dial error", err)
	}
}
