package fleet

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestAnAttemptIsMadeOnce: a receiver that ends a connection which was kept alive
// once it has read a message gets that again after a pause, and not at once by
// net/http, which takes a request with an Idempotency-Key for one to be replayed.
func TestAnAttemptIsMadeOnce(t *testing.T) {
	var taken atomic.Int64
	var connections sync.Map // those that have brought a message
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection := r.Context().Value(connectionKey{}).(net.Conn)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		taken.Add(1)
		if _, again := connections.LoadOrStore(connection, true); again {
			panic(http.ErrAbortHandler)
		}
	}))
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, c)
	}
	server.Start()
	defer server.Close()
	hook, err := AlertWebhook{URL: server.URL}.load(1, caddy.NewReplacer())
	if err != nil {
		t.Fatal(err)
	}
	defer hook.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if a := hook.post(ctx, "first", []byte(`{}`)); a.Status != 200 || taken.Load() != 1 {
		t.Fatalf("the first attempt was %+v, taken %d times", a, taken.Load())
	}
	if a := hook.post(ctx, "second", []byte(`{}`)); a.Status != 0 || a.Error == "" || taken.Load() != 2 {
		t.Errorf("the second attempt was %+v, %d messages were taken, expected 2", a, taken.Load())
	}
	if a := hook.post(ctx, "second", []byte(`{}`)); a.Status != 200 || taken.Load() != 3 {
		t.Errorf("the one after it was %+v, %d messages were taken, expected 3", a, taken.Load())
	}
}

type connectionKey struct{}
