package bench

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
			const requests = 2_000
			for range 4 {
				ours.get(b, requests)
				stock.get(b, requests)
			}
			measure := func(p program) float64 {
				before := p.running(b)
				p.get(b, requests)
				return p.running(b) - before
			}
			// many short rounds: what else the machine does changes from one
			// second to the next, and is the same for both within a round
			var ratios []float64
			var spentOurs, spentStock float64
			rounds := max(b.N, 41)
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
			b.ReportMetric(ratios[len(ratios)/4], "ratio-lower-quartile")
			b.ReportMetric(ratios[len(ratios)*3/4], "ratio-upper-quartile")
			b.ReportMetric(spentOurs/spentStock, "ratio-of-sums")
			b.ReportMetric(spentOurs/float64(requests*rounds), "federation-µs")
			b.ReportMetric(spentStock/float64(requests*rounds), "stock-µs")
		})
	}
}

// running is what the kernel has counted for the process's threads, in
// microseconds. It is finer than the clock ticks of [program.cpu].
func (p program) running(b *testing.B) float64 {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	if err != nil || len(threads) == 0 {
		b.Fatalf("no threads: %v", err)
	}
	sum := 0.0
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		nanoseconds, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += nanoseconds / 1000
	}
	return sum
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
