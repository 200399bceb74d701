package faults

import (
	"net"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// proxied is a Cluster with a proxy before each server. The servers tell clients,
// and replicas, of the proxies; among each other they speak directly.
func proxied(t *testing.T) scene {
	c := redistest.StartCluster(t)
	var proxies []proxy
	var urls []string
	for _, s := range c.Servers {
		p := startProxy(t, s.Addr)
		_, port, err := net.SplitHostPort(p.Listen)
		if err != nil {
			t.Fatal(err)
		}
		s.Do("CONFIG", "SET", "cluster-announce-port", port)
		proxies, urls = append(proxies, p), append(urls, p.url())
	}
	redistest.Eventually(t, "every server tells of the proxies", func() bool {
		for _, s := range c.Servers {
			nodes := s.Do("CLUSTER", "NODES")
			for _, p := range proxies {
				if !strings.Contains(nodes, p.Listen+"@") {
					return false
				}
			}
			if replication := s.Do("INFO", "replication"); strings.Contains(replication, "master_link_status:down") {
				return false
			}
		}
		return c.Whole()
	})
	during := func(toxics []toxic, says string) fault {
		return fault{
			func() {
				for _, p := range proxies {
					p.poison(toxics...)
				}
			},
			func() {
				for _, p := range proxies {
					p.heal()
				}
			}, says,
		}
	}
	return scene{strings.Join(urls, " "), c.Servers, map[string]fault{
		"latency":          during(slow, slowly),
		"a little latency": during(uneven, ""),
		"reset":            during(reset, "redis"),
		"half-open":        during(halfOpen, slowly),
		"cut in an answer": during(cut, ""),
	}}
}

func TestAClusterBehindProxies(t *testing.T) {
	suffer(t, proxied, "latency", "a little latency", "reset", "half-open", "cut in an answer")
}
