// Package faults breaks what gateways share, and the way to it, in every way
// while they serve: real Redis servers, and Toxiproxy in this process. It is a
// module of its own, because nobody who builds the plugin needs Toxiproxy.
package faults

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	before := goleak.IgnoreCurrent() // libraries start some with the program
	// what Caddy keeps must not meet what a real one keeps; the servers that
	// the tests start are found in the cache folder of whoever runs them
	if cache, err := os.UserCacheDir(); err == nil {
		os.Setenv("XDG_CACHE_HOME", cache)
	}
	folder, err := os.MkdirTemp("", "faults-test")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"} {
		os.Setenv(name, folder)
	}
	code := m.Run()
	os.RemoveAll(folder)
	if err := leaks(before); code == 0 && err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// leaks finds goroutines that are left. Those of the Redis client that sleep
// for a second between two attempts to connect get the time to see that they
// are not needed, and those of Toxiproxy to see that their connection is gone.
func leaks(but ...goleak.Option) (err error) {
	but = append(but,
		// Caddy's own, which it starts once and never ends
		goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy.(*Upstream).fillDynamicHost.func1.1"),
		// Toxiproxy's own, which it leaves when a toxic ends a connection
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		// one for each open circuit breaker of a node; it sleeps until the
		// breaker would be half-open, and ends
		goleak.IgnoreAnyFunction("github.com/eapache/go-resiliency/breaker.(*Breaker).timer"))
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		if err = goleak.Find(but...); err == nil {
			return nil
		}
	}
	return err
}
