package balancer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// TestWhyAConnectionCouldNotBeMade is known of what Caddy's transport says.
func TestWhyAConnectionCouldNotBeMade(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	_, refused := net.Dial("tcp", closed)
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, timeout := new(net.Dialer).DialContext(late, "tcp", closed)
	deaf := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", closed) // as a name server that is down
	}}
	_, unknown := (&net.Dialer{Resolver: deaf}).DialContext(t.Context(), "tcp", "nobody.invalid.:80")
	for name, c := range map[string]struct {
		err     error
		refused bool
		reason  string
	}{
		"refused": {refused, true, "the node refused the connection"},
		"timeout": {timeout, false, "the node did not answer in time"},
		"unknown": {unknown, false, "the node's name could not be resolved"},
		"another": {errors.New("no route"), false, "the node could not be reached"},
	} {
		for _, hidden := range []error{reverseproxy.NewDialError(c.err), c.err} {
			result := fleet.ResultOfError(t.Context(), diallingCause(hidden), time.Millisecond)
			if result.Refused != c.refused || result.Reason != c.reason || result.Outcome != fleet.OutcomeHard {
				t.Errorf("%s (%v): %+v", name, c.err, result)
			}
		}
	}
}

// TestAnUpstreamThatRefusesConnections opens its breaker for that: the guards
// believe it also in a panic, and nothing is sent there as a last resort.
func TestAnUpstreamThatRefusesConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	nodes := []string{node("a", "http://"+closed, "")}
	for _, other := range []string{"b", "c"} {
		nodes = append(nodes, node(other, "http://10.0.0.1", ""))
	}
	p := serve(t, fmt.Sprintf(together, `,"nodes":["a"]`, "", ""), nodes...)
	a := p.handler.DynamicUpstreams.(*Upstreams).app.Snapshot().Node("a")
	eventually(t, "its breaker is open", func() bool {
		p.get(http.MethodPost)
		return a.Refusal() == "open"
	})
	if status := a.Breaker(); status.Cause != breaker.CauseRefused {
		t.Errorf("the breaker opened for %s: %s", status.Cause, status.Reason)
	}
	if status := p.get(http.MethodPost); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
}
