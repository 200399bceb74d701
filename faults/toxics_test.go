package faults

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/rs/zerolog"
)

// proxy stands between gateways and a server.
type proxy struct {
	testing.TB
	*toxiproxy.Proxy
}

// startProxy starts a proxy before a server until the test ends.
func startProxy(t testing.TB, upstream string) proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "redis", fmt.Sprint("127.0.0.1:", loopback.FreePort(t)), upstream)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return proxy{t, p}
}

// url is the proxy's address as the store reads it.
func (p proxy) url() string { return "redis://" + p.Listen }

// toxic is one way in which a connection goes wrong. The names, streams and
// attributes are Toxiproxy's.
type toxic struct {
	Type       string             `json:"type"`
	Stream     string             `json:"stream"`
	Attributes map[string]float64 `json:"attributes"`
}

// poison spoils all connections, those that are open too.
func (p proxy) poison(toxics ...toxic) {
	p.Helper()
	for _, t := range toxics {
		text, err := json.Marshal(t)
		if err != nil {
			p.Fatal(err)
		}
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(string(text))); err != nil {
			p.Fatal(err)
		}
	}
}

// restart listens again after Stop, at the address that clients know.
func (p proxy) restart() {
	p.Helper()
	if err := p.Start(); err != nil {
		p.Fatal(err)
	}
}

// heal removes all toxics.
func (p proxy) heal() { p.Toxics.ResetToxics(p.Context()) }

// The toxics of the tests.
var (
	// slow holds every reply up for longer than the store's timeout.
	slow = []toxic{{"latency", "downstream", map[string]float64{"latency": 200}}}
	// uneven holds replies up for less than it.
	uneven = []toxic{{"latency", "downstream", map[string]float64{"latency": 4, "jitter": 3}}}
	// reset sends RST as soon as something is sent.
	reset = []toxic{{"reset_peer", "downstream", map[string]float64{"timeout": 0}}}
	// halfOpen carries nothing and closes nothing, as when a cable is pulled.
	halfOpen = []toxic{
		{"timeout", "downstream", map[string]float64{"timeout": 0}},
		{"timeout", "upstream", map[string]float64{"timeout": 0}},
	}
	// deaf carries what is asked and no answer: what is asked is done.
	deaf = []toxic{{"timeout", "downstream", map[string]float64{"timeout": 0}}}
	// cut closes a connection in the middle of an answer.
	cut = []toxic{{"limit_data", "downstream", map[string]float64{"bytes": 700}}}
	// lingering closes connections late.
	lingering = []toxic{
		{"slow_close", "downstream", map[string]float64{"delay": 1000}},
		{"slow_close", "upstream", map[string]float64{"delay": 1000}},
	}
	// narrow carries a kilobyte a second.
	narrow = []toxic{{"bandwidth", "downstream", map[string]float64{"rate": 1}}, {"bandwidth", "upstream", map[string]float64{"rate": 1}}}
	// crumbs carries answers in pieces of a few bytes.
	crumbs = []toxic{{"slicer", "downstream", map[string]float64{"average_size": 8, "size_variation": 4, "delay": 50}}}
)
