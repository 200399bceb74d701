package fleet

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestPublicAddresses(t *testing.T) {
	for _, text := range []string{
		"127.0.0.1", "127.255.0.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1",
		"0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "::", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0",
		"ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "fec0::1",
	} {
		if Public(netip.MustParseAddr(text)) {
			t.Errorf("%s is taken for a public address", text)
		}
	}
	for _, text := range []string{"1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"} {
		if !Public(netip.MustParseAddr(text)) {
			t.Errorf("%s is not taken for a public address", text)
		}
	}
	if Public(netip.Addr{}) {
		t.Error("no address at all is taken for a public one")
	}
}

func TestURLPolicy(t *testing.T) {
	policy := func(entries ...string) *URLPolicy {
		p, err := ParseURLPolicy(entries)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		policy  *URLPolicy
		url     string
		allowed bool
	}{
		{policy(), "http://127.0.0.1", false},
		{policy(), "http://localhost:8080", false},
		{policy(), "http://[::1]:80", false},
		{policy(), "http://2130706433", false}, // 127.0.0.1 as one number, to who reads it so
		{policy(), "http://0x7f.0.0.1", false}, // and in hex
		{policy(), "http://0177.0.0.1", false}, // and in octal
		{policy(), "http://127.1", false},      // and short
		{policy(), "http://[::ffff:10.0.0.1]", false},
		{policy(), "http://169.254.169.254/latest", false},
		{policy(), "http://no-such-host.invalid", false},
		{policy(), "https://1.1.1.1", true},
		{policy("127.0.0.0/8"), "http://127.0.0.9", true},
		{policy("127.0.0.0/8"), "http://localhost:8080", true},
		{policy("127.0.0.0/8"), "http://1.1.1.1", false}, // what is set replaces the default
		{policy("public", "127.0.0.0/8"), "http://1.1.1.1", true},
		{policy("10.1.2.3"), "http://10.1.2.3", true},
		{policy("10.1.2.3"), "http://10.1.2.4", false},
		{policy("localhost"), "http://LOCALHOST:2019", false}, // where Caddy's admin endpoint is
		{policy("local*"), "http://localhost.:2019", false},
		{policy("*"), "http://localhost:2019", false},
		{policy("*", "127.0.0.0/8", "::1"), "http://localhost:2019", true},
		{policy("*"), "http://127.0.0.1", false}, // a pattern is for names that lead elsewhere
		{policy("*"), "http://169.254.169.254", false},
		{policy("*"), "http://10.0.0.1", true},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		err = c.policy.Check(t.Context(), u)
		var refused *URLRefusedError
		if c.allowed != (err == nil) || err != nil && !errors.As(err, &refused) {
			t.Errorf("%s under %+v: %v", c.url, *c.policy, err)
		}
	}
	for _, wrong := range []string{"", "http://x", "10.0.0.0/99", "a b", "[", "host:80"} {
		if _, err := ParseURLPolicy([]string{wrong}); err == nil || !strings.Contains(err.Error(), "node_urls") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// TestTheDialledAddressCounts: a name that was public when the node registered
// leads home when it is dialled.
func TestTheDialledAddressCounts(t *testing.T) {
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	policy, err := ParseURLPolicy(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := newTransport(1, policy.control("rebound.example"))
	defer transport.CloseIdleConnections()
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, server.Listener.Addr().String()) // what a changed DNS record does
	}
	request, err := http.NewRequest(http.MethodGet, "http://rebound.example", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err == nil {
		response.Body.Close()
	}
	var refusal *RefusalError
	if !errors.As(err, &refusal) || refusal.Reason != "address" || reached {
		t.Errorf("error is %v, reached is %v", err, reached)
	}
	if Classify(t.Context(), err) != OutcomeNeutral {
		t.Errorf("outcome is %s", Classify(t.Context(), err))
	}
}
