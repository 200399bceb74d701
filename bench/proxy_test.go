package bench

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// BenchmarkProxy compares the CPU per request of `dynamic federation`, `lb_policy
// federation` and `transport federation` together with that of a stock
// reverse_proxy with round robin, over the same nodes, in rounds that alternate.
func BenchmarkProxy(b *testing.B) {
	for _, nodes := range []int{8, 64} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			answering := run(b, "nodes", fmt.Sprint(nodes))
			ours := run(b, "proxy", "federation "+answering.url)
			stock := run(b, "proxy", "stock "+answering.url)
			const requests = 16_000
			ours.get(b, requests/2)
			stock.get(b, requests/2)
			measure := func(p program) float64 {
				before := p.cpu(b)
				p.get(b, requests)
				return p.cpu(b) - before
			}
			var ratios []float64
			var spentOurs, spentStock float64
			rounds := max(b.N, 7)
			for round := range rounds {
				var o, s float64
				if round%2 == 0 {
					o, s = measure(ours), measure(stock)
				} else {
					s, o = measure(stock), measure(ours)
				}
				spentOurs, spentStock = spentOurs+o, spentStock+s
				ratios = append(ratios, o/s)
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(ratios[0], "ratio-min")
			b.ReportMetric(ratios[len(ratios)-1], "ratio-max")
			per := 10_000 / float64(requests*rounds) // ticks to microseconds
			b.ReportMetric(spentOurs*per, "federation-µs")
			b.ReportMetric(spentStock*per, "stock-µs")
		})
	}
}

// get sends n requests over a few kept connections.
func (p program) get(b *testing.B, n int) {
	b.Helper()
	const clients = 8
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range n / clients {
				response, err := client.Get(p.url + "/search")
				if err != nil {
					b.Error(err)
					return
				}
				size, err := io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK || size < 1000 {
					b.Errorf("status %d, %d bytes, %v", response.StatusCode, size, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// serveProxy runs Caddy with one reverse_proxy, of a kind, over the nodes.
func serveProxy(arguments []string) error {
	if len(arguments) < 2 {
		return errors.New("a proxy takes its kind and nodes")
	}
	var global, proxy strings.Builder
	switch arguments[0] {
	case "stock":
		proxy.WriteString("reverse_proxy")
		for _, url := range arguments[1:] {
			proxy.WriteString(" " + strings.TrimPrefix(url, "http://"))
		}
		proxy.WriteString(" {\nlb_policy round_robin\n}")
	case "federation":
		global.WriteString("federation {\nstore memory\n")
		for i, url := range arguments[1:] {
			fmt.Fprintf(&global, "node n%02d %s\n", i, url)
		}
		global.WriteString("}\n")
		proxy.WriteString("reverse_proxy {\ndynamic federation\nlb_policy federation\ntransport federation\n}")
	default:
		return errors.New("unknown kind " + arguments[0])
	}
	listener, err := listen()
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return err
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil,
		"{\nadmin off\nauto_https off\nlog {\nlevel ERROR\n}\n%s}\nhttp://%s {\n%s\n}\n", global.String(), address, proxy.String()), nil)
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	fmt.Println("http://" + address)
	select {}
}
