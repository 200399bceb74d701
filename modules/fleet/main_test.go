package fleet_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/goleak"

	// what nodes are made of: the tests inside the package cannot import it
	_ "github.com/caddy-federation/caddy-federation/modules/dialects"
	_ "github.com/caddy-federation/caddy-federation/store/memory"
)

func TestMain(m *testing.M) {
	if os.Getenv("FLEET_TEST_NODE") != "" {
		serveNodes()
		return
	}
	folder, err := os.MkdirTemp("", "fleet") // nothing is kept where Caddy keeps its data
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_DATA_HOME", folder)
	goleak.VerifyTestMain(m,
		goleak.Cleanup(func(code int) {
			os.RemoveAll(folder)
			os.Exit(code)
		}),
		// the timer of an open breaker ends with its open time, after 5 minutes at the latest
		goleak.IgnoreAnyFunction("github.com/eapache/go-resiliency/breaker.(*Breaker).timer"))
}

// serveNodes is a process that answers as a node, so that a benchmark does not
// count what the node costs. It prints its address and ends with its parent.
func serveNodes() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	panic(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status":"healthy","version":"1","ready":true,"collections":["a","b"]}`))
	})))
}
