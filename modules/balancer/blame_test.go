package balancer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// An upstream must not be taken from everybody for what one client sent.
func TestARequestThatCannotBeSentIsNotTheUpstreamsFault(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, c := range []struct {
		name  string
		http2 bool
		alter func(*http.Request)
	}{
		{"an upgrade over HTTP/2", true, func(r *http.Request) {
			r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
			r.Header.Set("Upgrade", "h2c")
			r.Header.Set("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")
		}},
		{"a header that is none", false, func(r *http.Request) { r.Header["Bad Name"] = []string{"x"} }},
		{"a method that is none", false, func(r *http.Request) { r.Method = "G E T" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(answer)
			s.EnableHTTP2 = c.http2
			s.StartTLS()
			defer s.Close()
			transport := over(t, s.Client().Transport.RoundTrip)
			to := &reverseproxy.Upstream{Dial: s.Listener.Addr().String()}
			request := attempt(t, t.Context(), to, struct{ io.Reader }{strings.NewReader("body")})
			request.URL.Scheme = "https"
			c.alter(request)
			response, err := transport.RoundTrip(request)
			if err == nil {
				response.Body.Close()
				t.Fatal("it was answered")
			}
			target := transport.upstreams.target(to.Dial)
			if calls := target.gate.Load().Calls; calls[fleet.OutcomeNeutral] != 1 || calls[fleet.OutcomeHard] != 0 {
				t.Errorf("after %q the calls are %v", err, calls)
			}
			if target.meter.Candidate(sinceEpoch(time.Now()), 0, 1, 0).Latency > 0.5 {
				t.Errorf("%q is charged to the upstream", err)
			}
		})
	}
}

// A node that takes no such request is well, and not the one to choose: it would
// look idle for ever.
func TestAnUpstreamThatTakesNoSuchRequestIsNotPreferred(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.EnableHTTP2 = true
	s.Config.MaxHeaderBytes = 100
	s.StartTLS()
	defer s.Close()
	transport := over(t, s.Client().Transport.RoundTrip)
	to := &reverseproxy.Upstream{Dial: s.Listener.Addr().String()}
	for _, cookie := range []string{"", strings.Repeat("x", 5000)} { // the first learns of the limit
		request := attempt(t, t.Context(), to, nil)
		request.URL.Scheme = "https"
		request.Header.Set("Cookie", cookie)
		response, err := transport.RoundTrip(request)
		if (err == nil) != (cookie == "") {
			t.Fatalf("with a cookie of %d bytes: %v", len(cookie), err)
		}
		if err == nil {
			response.Body.Close()
		}
	}
	target := transport.upstreams.target(to.Dial)
	if calls := target.gate.Load().Calls; calls[fleet.OutcomeNeutral] != 1 || calls[fleet.OutcomeOK] != 1 {
		t.Fatalf("the calls are %v", calls)
	}
	if target.meter.Candidate(sinceEpoch(time.Now()), 0, 1, 0).Latency < 0.5 {
		t.Error("it is not charged")
	}
}

// Trailers that a server has to refuse are left behind, those that come with the
// body's end too.
func TestForbiddenTrailersAreNotPassedOn(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		received := make(chan http.Header, 1)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			received <- r.Trailer
		}))
		s.EnableHTTP2 = http2
		s.StartTLS()
		transport := over(t, s.Client().Transport.RoundTrip)
		to := &reverseproxy.Upstream{Dial: s.Listener.Addr().String()}
		trailer := http.Header{"Authorization": nil, "Grpc-Status": nil}
		request := attempt(t, t.Context(), to, &trailed{strings.NewReader("body"), trailer})
		request.URL.Scheme = "https"
		request.Trailer = trailer
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatalf("HTTP/2 %v: %v", http2, err)
		}
		response.Body.Close()
		if got := <-received; len(got) != 1 || got.Get("Grpc-Status") != "0" {
			t.Errorf("HTTP/2 %v: the trailers are %v", http2, got)
		}
		s.Close()
	}
}

// trailed is a body that fills in the trailers at its end.
type trailed struct {
	io.Reader
	trailer http.Header
}

func (b *trailed) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.trailer["Host"], b.trailer["Grpc-Status"], b.trailer["X-Odd"] = []string{"x"}, []string{"0"}, []string{"a\x01b"}
	}
	return n, err
}

// A transport closes the body of a request that has failed, and whoever reads
// it then gets an error: that one is not the client's.
func TestAStreamThatTheUpstreamResetsIsItsFault(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	transport := over(t, s.Client().Transport.RoundTrip)
	to := &reverseproxy.Upstream{Dial: s.Listener.Addr().String()}
	for range 20 {
		body, client := io.Pipe()
		request := attempt(t, t.Context(), to, body)
		request.URL.Scheme = "https"
		go func() { _, _ = io.WriteString(client, "and more may come") }()
		if response, err := transport.RoundTrip(request); err == nil {
			response.Body.Close()
			t.Fatal("it was answered")
		}
		client.Close()
	}
	if calls := transport.upstreams.target(to.Dial).gate.Load().Calls; calls[fleet.OutcomeHard] != 20 {
		t.Errorf("the calls are %v", calls)
	}
}

// stalling is a body that stalls before its second piece.
type stalling struct {
	stall  func()
	pieces int
}

func (s *stalling) Read(p []byte) (int, error) {
	if s.pieces++; s.pieces > 1 {
		s.stall()
		return 0, io.ErrClosedPipe
	}
	return copy(p, "piece"), nil
}

func (s *stalling) Close() error { return nil }

// An upstream that gives up on a client who stalls is not at fault.
func TestAnUploadThatTheClientHoldsUp(t *testing.T) {
	for _, c := range []struct {
		held     time.Duration
		expected fleet.Outcome
	}{{clientHeld - time.Millisecond, fleet.OutcomeHard}, {clientHeld, fleet.OutcomeNeutral}} {
		t.Run(c.held.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				closed, read := make(chan struct{}), make(chan struct{})
				transport := over(t, func(r *http.Request) (*http.Response, error) {
					go func() {
						_, _ = io.Copy(io.Discard, r.Body)
						close(read)
					}()
					time.Sleep(c.held)
					_ = r.Body.Close()
					close(closed)
					<-read
					return nil, errors.New("stream error: stream ID 1; CANCEL; received from peer")
				})
				to := &reverseproxy.Upstream{Dial: "10.0.0.1:80"}
				request := attempt(t, t.Context(), to, &stalling{stall: func() { <-closed }})
				if response, err := transport.RoundTrip(request); err == nil {
					response.Body.Close()
					t.Fatal("it was answered")
				}
				if calls := transport.upstreams.target(to.Dial).gate.Load().Calls; calls[c.expected] != 1 {
					t.Errorf("the calls are %v, expected one %s", calls, c.expected)
				}
			})
		})
	}
}

// slow is a body whose pieces take a while.
type slow struct {
	breaking
	wait time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.wait)
	return s.breaking.Read(p)
}

// What a client leaves unread stands in the way of the upstream, which may have
// a limit for that.
func TestAnAnswerThatTheClientHoldsUp(t *testing.T) {
	const pieces = 40
	for _, c := range []struct {
		name     string
		held     time.Duration // by the client, each piece
		waited   time.Duration // for the upstream
		expected fleet.Outcome
	}{
		{"a client who reads", clientHeld / 100, 0, fleet.OutcomeHard},
		{"a client who reads slowly", clientHeld / 20, 0, fleet.OutcomeOK},
		{"a client who reads faster than the upstream writes", clientHeld / 20, clientHeld / 10, fleet.OutcomeHard},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := over(t, func(*http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &slow{breaking{pieces << 15, io.ErrUnexpectedEOF}, c.waited}}, nil
				})
				to := &reverseproxy.Upstream{Dial: "10.0.0.1:80"}
				response, err := transport.RoundTrip(attempt(t, context.WithoutCancel(t.Context()), to, nil))
				if err != nil {
					t.Fatal(err)
				}
				buffer := make([]byte, 1<<15)
				for err == nil {
					_, err = response.Body.Read(buffer)
					time.Sleep(c.held)
				}
				response.Body.Close()
				target := transport.upstreams.target(to.Dial)
				if calls := target.gate.Load().Calls; calls[c.expected] != 1 || calls[fleet.OutcomeOK]+calls[fleet.OutcomeHard] != 1 {
					t.Errorf("the calls are %v, expected one %s", calls, c.expected)
				}
			})
		})
	}
}
