package integration

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// raw serves a connection by hand.
func raw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 64<<10)
				_, _ = conn.Read(buf)
				serve(conn)
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

func text(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
	}
}

func TestAHostileNodeCostsOneEntry(t *testing.T) {
	var compressed bytes.Buffer // 64 MiB in about 64 KiB, made before the clock runs
	z := gzip.NewWriter(&compressed)
	_, _ = io.WriteString(z, `{"hits":[`)
	for range 64 {
		_, _ = z.Write(bytes.Repeat([]byte(" "), 1<<20))
	}
	_, _ = io.WriteString(z, `]}`)
	_ = z.Close()
	bomb := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(compressed.Bytes())
	}
	large := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		chunk := []byte(strings.Repeat("x", 1<<20))
		_, _ = io.WriteString(w, `{"hits":[],"padding":"`)
		for range 50 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `"}`)
	}
	cases := []struct {
		name, status, says string
		url                func(t *testing.T) string
	}{
		{"refuses", "error", "refused the connection", func(t *testing.T) string { return fmt.Sprintf("http://127.0.0.1:%d", loopback.FreePort(t)) }},
		{"hangs", "timeout", "in time", func(t *testing.T) string {
			return node(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
		}},
		{"sends headers and hangs", "timeout", "in time", func(t *testing.T) string {
			return node(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"hits":[`)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
		}},
		{"trickles", "timeout", "in time", func(t *testing.T) string {
			return node(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for r.Context().Err() == nil {
					_, _ = io.WriteString(w, " ")
					w.(http.Flusher).Flush()
					time.Sleep(20 * time.Millisecond)
				}
			})
		}},
		{"resets in the body", "error", "closed the connection", func(t *testing.T) string {
			return raw(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"hits\":[")
				_ = conn.(*net.TCPConn).SetLinger(0)
			})
		}},
		{"closes at once", "error", "closed the connection", func(t *testing.T) string { return raw(t, func(net.Conn) {}) }},
		{"is no HTTP", "error", "", func(t *testing.T) string {
			return raw(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n") })
		}},
		{"answers 500", "error", "HTTP 500", func(t *testing.T) string {
			return node(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
		}},
		{"throttles", "throttled", "HTTP 429", func(t *testing.T) string {
			return node(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) })
		}},
		{"answers HTML", "bad_payload", "HTML", func(t *testing.T) string {
			return node(t, text("text/html", "<!DOCTYPE html><p>hello"))
		}},
		{"answers nothing", "bad_payload", "empty", func(t *testing.T) string { return node(t, text("application/json", "")) }},
		{"truncates", "bad_payload", "truncated", func(t *testing.T) string { return node(t, answers(`{"hits":[{"id":"1","title":"x"}`)) }},
		{"is no JSON", "bad_payload", "not valid JSON", func(t *testing.T) string { return node(t, answers(`{"hits":[{]}}`)) }},
		{"adds a second value", "bad_payload", "follows", func(t *testing.T) string { return node(t, answers(hits("a")+`{}`)) }},
		{"sends 50 MB", "bad_payload", "larger than", func(t *testing.T) string { return node(t, large) }},
		{"declares 50 MB", "bad_payload", "larger than", func(t *testing.T) string {
			return raw(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 52428800\r\n\r\n{")
				time.Sleep(50 * time.Millisecond)
			})
		}},
		{"sends a gzip bomb", "bad_payload", "larger than", func(t *testing.T) string { return node(t, bomb) }},
		{"sends broken gzip", "bad_payload", "gzip", func(t *testing.T) string {
			return node(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = io.WriteString(w, "this is no gzip at all, not even nearly")
			})
		}},
		{"nests 10,000 deep", "bad_payload", "deeper than", func(t *testing.T) string {
			return node(t, answers(`{"hits":`+strings.Repeat("[", 10000)+strings.Repeat("]", 10000)+`}`))
		}},
		{"redirects", "bad_payload", "redirect", func(t *testing.T) string {
			return node(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
			})
		}},
		{"has no hits", "bad_payload", "hits is missing", func(t *testing.T) string { return node(t, answers(`{}`)) }},
		{"answers an array", "bad_payload", "not an object", func(t *testing.T) string { return node(t, answers(`[]`)) }},
		{"has hits of a wrong type", "bad_payload", "not an array", func(t *testing.T) string { return node(t, answers(`{"hits":"many"}`)) }},
		{"has a hit of a wrong type", "bad_payload", "not an object", func(t *testing.T) string { return node(t, answers(`{"hits":[7]}`)) }},
		{"has a score of a wrong type", "bad_payload", "score", func(t *testing.T) string {
			return node(t, answers(`{"hits":[{"id":"1","score":{}}]}`))
		}},
		{"has a score beyond numbers", "bad_payload", "score", func(t *testing.T) string {
			return node(t, answers(`{"hits":[{"id":"1","score":1e999}]}`))
		}},
		{"has a score that is no number", "bad_payload", "not valid JSON", func(t *testing.T) string {
			return node(t, answers(`{"hits":[{"id":"1","score":NaN}]}`))
		}},
		{"has null for hits", "bad_payload", "not an array", func(t *testing.T) string { return node(t, answers(`{"hits":null}`)) }},
		{"has an object for hits", "bad_payload", "not an array", func(t *testing.T) string { return node(t, answers(`{"hits":{"0":{"id":"1"}}}`)) }},
		{"sends half a surrogate pair", "bad_payload", "not valid JSON", func(t *testing.T) string {
			return node(t, answers(`{"hits":[{"id":"1","title":"\ud800"}]}`))
		}},
		{"sends bad UTF-8", "bad_payload", "not valid JSON", func(t *testing.T) string {
			return node(t, answers("{\"hits\":[{\"id\":\"1\",\"title\":\"\xff\xfe\"}]}"))
		}},
		{"has huge headers", "error", "", func(t *testing.T) string {
			return node(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Large", strings.Repeat("x", 200<<10))
				answers(hits("b"))(w, r)
			})
		}},
	}
	good := node(t, answers(hits("a")))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := serve(t, fmt.Sprintf("node_defaults {\n dialect gateway\n max_response_size 2MiB\n}\nnode good %s\nnode bad %s", good, c.url(t)), "timeout 700ms")
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			a := g.search(200, `{"query":"x"}`)
			runtime.ReadMemStats(&after)
			if r := a.node("bad"); r.Status != c.status || !strings.Contains(r.Error, c.says) {
				t.Errorf("the report says %+v, expected status %s and %q", r, c.status, c.says)
			}
			if a.node("good").Status != "ok" || len(a.Hits) != 1 || !a.Partial {
				t.Errorf("the good node suffered: %s", a.raw)
			}
			if a.took > 750*time.Millisecond {
				t.Errorf("the search took %v", a.took)
			}
			// 2 MiB read while growing costs a few times that, and the nodes run
			// in this process
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
				t.Errorf("the search allocated %d MiB", grown>>20)
			}
			if strings.Contains(a.raw, "127.0.0.1") {
				t.Errorf("an address got out: %s", a.raw)
			}
		})
	}
}

func TestTextOfANodeIsText(t *testing.T) {
	evil := `</script><script>alert(1)</script>\u0000\u202e" , "node":"forged`
	g := serve(t, "node one "+node(t, answers(`{"hits":[{"id":"1","title":"`+strings.ReplaceAll(evil, `"`, `\"`)+`","node":"forged","rank":0,"sources":"x"}]}`))+" {\n dialect gateway\n}", "")
	a := g.search(200, `{"query":"x"}`)
	if a.Hits[0].Node != "one" || a.Hits[0].Rank != 1 || !strings.Contains(a.Hits[0].Title, "</script>") {
		t.Errorf("got %s", a.raw)
	}
	if a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("nothing keeps a browser from guessing")
	}
}

func TestTheCallerLeavingCancelsTheCalls(t *testing.T) {
	before := goleak.IgnoreCurrent()
	var asked, cancelled atomic.Int32
	all := make(chan struct{}, 8)
	var block strings.Builder
	block.WriteString("node_defaults {\n dialect gateway\n}\n")
	for i := range 4 {
		url := node(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				answers(`{"status":"pass"}`)(w, r)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			asked.Add(1)
			all <- struct{}{}
			<-r.Context().Done()
			cancelled.Add(1)
			all <- struct{}{}
		})
		fmt.Fprintf(&block, "node n%d %s\n", i, url)
	}
	t.Run("caller", func(t *testing.T) {
		g := serve(t, block.String(), "timeout 30s")
		ctx, leave := context.WithCancel(t.Context())
		request, _ := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/v1/search", strings.NewReader(`{"query":"x"}`))
		done := make(chan error, 1)
		go func() {
			response, err := http.DefaultClient.Do(request)
			if err == nil {
				response.Body.Close()
			}
			done <- err
		}()
		for range 4 {
			<-all // every node has been asked
		}
		leave()
		if err := <-done; err == nil {
			t.Error("the caller got an answer")
		}
		deadline := time.After(5 * time.Second)
		for range 4 {
			select {
			case <-all:
			case <-deadline:
				t.Fatalf("%d of 4 nodes saw the cancellation", cancelled.Load())
			}
		}
	})
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, before,
		goleak.IgnoreAnyFunction("net/http/httptest.(*Server).goServe.func1"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"))
}
