package integration

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// TestWhatCaddyPassesPassesThroughOurTransport runs every scenario through
// Caddy's own transport and through ours, and expects the same of both.
func TestWhatCaddyPassesPassesThroughOurTransport(t *testing.T) {
	grpcServer := grpc.NewServer()
	healthServer := health.NewServer()
	healthpb.RegisterHealthServer(grpcServer, healthServer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = grpcServer.Serve(listener) }()
	defer grpcServer.Stop()
	upstream := strings.TrimPrefix(node(t, passing(t)), "http://")

	for _, c := range []struct {
		name string
		run  func(t *testing.T, port int, site string) string
		// upstream and lines of the reverse_proxy, and of its http transport
		upstream, lines, http string
	}{
		{name: "websocket", run: webSocket},
		{name: "server-sent events", run: serverSentEvents},
		{name: "a client that leaves", run: leaving},
		{name: "flush_interval -1", run: flushing, lines: "flush_interval -1"},
		{name: "large upload", run: upload},
		{name: "buffered upload", run: upload, lines: "request_buffers 1MiB"},
		{name: "trailers and early hints", run: trailers},
		{name: "compressed", run: compressed},
		{name: "HEAD and no content", run: bodyless},
		{name: "an answer that breaks off", run: brokenOff},
		{name: "a header that never comes", run: headerTimeout, http: "response_header_timeout 200ms"},
		{name: "gRPC", run: remoteProcedures, upstream: "h2c://" + listener.Addr().String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.upstream == "" {
				c.upstream = upstream
			}
			port := loopback.FreePort(t)
			inner := "transport http {\n" + c.http + "\n}\n"
			load(t, proxying(port, "",
				c.upstream+" {\n"+c.lines+"\n"+inner+"}",
				c.upstream+" {\n"+c.lines+"\nlb_policy federation\ntransport federation {\n"+inner+"}\n}"))
			caddys, ours := c.run(t, port, "/a"), c.run(t, port, "/b")
			if caddys != ours {
				t.Errorf("through Caddy's own transport:\n%s\nthrough ours:\n%s", caddys, ours)
			}
			t.Log(caddys)
		})
	}
}

// passing is an upstream that does everything that is difficult to pass on.
func passing(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		flush := w.(http.Flusher).Flush
		switch strings.TrimPrefix(r.URL.Path, "/") {
		case "socket":
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, buffered, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.Copy(conn, buffered) // echoes until the client closes its half
			_, _ = io.WriteString(conn, "|end")
		case "events":
			w.Header().Set("Content-Type", "text/event-stream")
			flush()
			for i := range 3 {
				_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
				flush()
				r.Body.Close()
				time.Sleep(20 * time.Millisecond)
			}
		case "forever":
			flush()
			<-r.Context().Done()
			select {
			case left <- struct{}{}:
			default:
			}
		case "flush":
			_, _ = io.WriteString(w, strings.Repeat("x", 100))
			flush()
			<-goOn
			_, _ = io.WriteString(w, "end")
		case "upload":
			sum := sha256.New()
			n, err := io.Copy(sum, r.Body)
			_, _ = fmt.Fprintf(w, "%d %v %x %d", n, err, sum.Sum(nil), r.ContentLength)
		case "trailers":
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Trailer", "Announced")
			_, _ = io.WriteString(w, "body")
			flush()
			w.Header().Set("Announced", "1")
			w.Header().Set(http.TrailerPrefix+"Surprise", "2")
		case "compressed":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, strings.Repeat("text ", 1000))
			_ = z.Close()
		case "none":
			w.WriteHeader(http.StatusNoContent)
		case "broken":
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "half")
			flush()
			panic(http.ErrAbortHandler)
		case "never":
			<-r.Context().Done()
		default:
			w.Header().Set("X-Method", r.Method)
			_, _ = io.WriteString(w, "plain")
		}
	}
}

var (
	left = make(chan struct{}, 1)
	goOn = make(chan struct{})
)

func address(port int, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", port, path) }

func webSocket(t *testing.T, port int, site string) string {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET %s/socket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", site)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	said := bytes.Repeat([]byte("frame "), 100_000)
	go func() {
		_, _ = conn.Write(said)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	echoed, err := io.ReadAll(reader)
	return fmt.Sprint(response.Status, response.Header["Upgrade"], len(echoed), bytes.HasPrefix(echoed, said), string(echoed[max(0, len(echoed)-4):]), err)
}

// serverSentEvents expects each event before the next one is written.
func serverSentEvents(t *testing.T, port int, site string) string {
	response, err := http.Get(address(port, site+"/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	reader := textproto.NewReader(bufio.NewReader(response.Body))
	var lines []string
	for {
		line, err := reader.ReadLine()
		if err != nil {
			return fmt.Sprint(response.Status, response.Header.Get("Content-Type"), lines, err)
		}
		lines = append(lines, line)
	}
}

// leaving expects that a client who leaves ends the request at the upstream.
func leaving(t *testing.T, port int, site string) string {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, address(port, site+"/forever"), nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	response.Body.Close()
	select {
	case <-left:
		return "the upstream was told"
	case <-time.After(20 * time.Second):
		return "the upstream was not told"
	}
}

// flushing expects the first bytes while the upstream still waits.
func flushing(t *testing.T, port int, site string) string {
	response, err := http.Get(address(port, site+"/flush"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 100)
	_, err = io.ReadFull(response.Body, first)
	goOn <- struct{}{}
	rest, restErr := io.ReadAll(response.Body)
	return fmt.Sprint(len(first), err, string(rest), restErr)
}

// pattern is a large body that is made while it is read.
type pattern struct {
	left int
	sum  hash.Hash
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := min(len(b), p.left)
	for i := range n {
		b[i] = byte((p.left - i) * 31)
	}
	p.left -= n
	p.sum.Write(b[:n])
	return n, nil
}

func upload(t *testing.T, port int, site string) string {
	const size = 24 << 20
	var all []string
	for _, length := range []int64{size, -1, 1000} { // known, chunked, small
		n := size
		if length == 1000 {
			n = 1000
		}
		body := &pattern{n, sha256.New()}
		request, _ := http.NewRequest(http.MethodPost, address(port, site+"/upload"), body)
		request.ContentLength = length
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if !strings.Contains(string(text), fmt.Sprintf("%x", body.sum.Sum(nil))) {
			t.Errorf("%d bytes were sent, the upstream got %s", n, text)
		}
		all = append(all, response.Status, string(text))
	}
	return strings.Join(all, "\n")
}

func trailers(t *testing.T, port int, site string) string {
	var hints []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, header.Get("Link")))
		return nil
	}}
	request, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, address(port, site+"/trailers"), nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprint(hints, response.Status, string(body), err, response.Trailer)
}

func compressed(t *testing.T, port int, site string) string {
	request, _ := http.NewRequest(http.MethodGet, address(port, site+"/compressed"), nil)
	request.Header.Set("Accept-Encoding", "gzip") // and so it is not taken apart on the way
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprint(response.Status, response.Header.Get("Content-Encoding"), len(body), err)
}

func bodyless(t *testing.T, port int, site string) string {
	var all []string
	for _, c := range [][2]string{{http.MethodHead, "/"}, {http.MethodGet, "/none"}, {http.MethodOptions, "/"}, {http.MethodDelete, "/none"}} {
		request, _ := http.NewRequest(c[0], address(port, site+c[1]), nil)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		all = append(all, fmt.Sprint(response.Status, response.ContentLength, response.Header.Get("X-Method"), string(body), err))
	}
	return strings.Join(all, "\n")
}

func brokenOff(t *testing.T, port int, site string) string {
	response, err := http.Get(address(port, site+"/broken"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprint(response.Status, string(body), errors.Is(err, io.ErrUnexpectedEOF))
}

func headerTimeout(t *testing.T, port int, site string) string {
	response, err := http.Get(address(port, site+"/never"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.Status
}

// site puts the path of the site before the name of the procedure.
func onSite(site string) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		return invoke(ctx, site+method, request, reply, conn, options...)
	})
}

func remoteProcedures(t *testing.T, port int, site string) string {
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()), onSite(site),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			return stream(ctx, desc, conn, site+method, options...)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := healthpb.NewHealthClient(conn)
	answer, err := client.Check(ctx, new(healthpb.HealthCheckRequest))
	if err != nil {
		t.Fatal(err)
	}
	_, unknown := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "unknown"})
	if status.Code(unknown) != codes.NotFound {
		t.Errorf("an error became %v", unknown)
	}
	watch, err := client.Watch(ctx, new(healthpb.HealthCheckRequest))
	if err != nil {
		t.Fatal(err)
	}
	first, err := watch.Recv() // while the stream goes on
	return fmt.Sprint(answer.Status, status.Code(unknown), first.GetStatus(), err)
}
