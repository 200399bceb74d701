package faults

import (
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// behindSentinels is a Sentinel trio with a proxy before each Sentinel: the way
// to those who know the master goes wrong, not the way to the master.
func behindSentinels(t *testing.T) scene {
	f := redistest.StartSentinels(t)
	var proxies []proxy
	var urls []string
	for _, url := range f.URLs() {
		p := startProxy(t, strings.TrimPrefix(url, "redis://"))
		proxies, urls = append(proxies, p), append(urls, p.url())
	}
	heal := func() {
		for _, p := range proxies {
			p.heal()
		}
	}
	during := func(toxics []toxic, also func()) fault {
		return fault{func() {
			for _, p := range proxies {
				p.poison(toxics...)
			}
			also()
		}, heal, ""}
	}
	restart := func() { f.Servers[0].Kill(); f.Servers[0].Restart() } // new connections ask the Sentinels
	return scene{strings.Join(urls, " ") + " {\n master_name " + f.Name + "\n}", f.Servers, map[string]fault{
		"latency":   during(slow, restart),
		"reset":     during(reset, restart),
		"half-open": during(halfOpen, restart),
	}}
}

func TestSentinelsBehindProxies(t *testing.T) {
	suffer(t, behindSentinels, "latency", "reset", "half-open")
}
