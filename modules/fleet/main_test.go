package fleet_test

import (
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/goleak"

	// what nodes are made of: the tests inside the package cannot import it
	_ "github.com/caddy-federation/caddy-federation/modules/dialects"
	_ "github.com/caddy-federation/caddy-federation/store/memory"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// the timer of an open breaker ends with its open time, after 5 minutes at the latest
		goleak.IgnoreAnyFunction("github.com/eapache/go-resiliency/breaker.(*Breaker).timer"))
}
