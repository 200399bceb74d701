package bench

import (
	"context"
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

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// BenchmarkProxy compares the CPU per request of our guests of reverse_proxy with
// that of a stock one with round robin, over the same nodes, in many short rounds
// in which all take turns: `lb_policy federation` and `transport federation` over
// static upstreams, with `dynamic federation` over the nodes of a federation, and
// the latter behind `federation_auth` and `federation_rate_limit`. All get the
// same requests, with a token that only the last one reads.
func BenchmarkProxy(b *testing.B) {
	kinds := []string{"stock", "static", "federation", "guarded"}
	for _, nodes := range []int{8, 64} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			answering := run(b, "nodes", fmt.Sprint(nodes))
			const requests = 2_000
			programs := make(map[string]program)
			for _, kind := range kinds {
				programs[kind] = run(b, "proxy", kind+" "+answering.url)
			}
			token := programs["guarded"].token
			for _, kind := range kinds {
				for range 4 {
					programs[kind].get(b, requests, token)
				}
			}
			// what else the machine does changes from one second to the next,
			// and is much the same for all within a round
			ratios, spent := make(map[string][]float64), make(map[string]float64)
			rounds := max(b.N, 41)
			for round := range rounds {
				took := make(map[string]float64)
				for i := range kinds {
					kind := kinds[(round+i)%len(kinds)]
					before := programs[kind].running(b)
					programs[kind].get(b, requests, token)
					took[kind] = programs[kind].running(b) - before
				}
				for _, kind := range kinds {
					spent[kind] += took[kind]
					ratios[kind] = append(ratios[kind], took[kind]/took["stock"])
				}
			}
			for _, kind := range kinds {
				b.ReportMetric(spent[kind]/float64(requests*rounds), kind+"-µs")
				if kind != "stock" {
					slices.Sort(ratios[kind])
					b.ReportMetric(ratios[kind][rounds/2], kind+"-ratio")
					b.ReportMetric(ratios[kind][rounds/4], kind+"-ratio-lower-quartile")
					b.ReportMetric(ratios[kind][rounds*3/4], kind+"-ratio-upper-quartile")
				}
			}
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

// get sends n requests with a token over a few kept connections.
func (p program) get(b *testing.B, n int, token string) {
	b.Helper()
	const clients = 8
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range n / clients {
				request, err := http.NewRequest(http.MethodGet, p.url+"/search", http.NoBody)
				if err != nil {
					b.Error(err)
					return
				}
				request.Header.Set("Authorization", "Bearer "+token)
				response, err := client.Do(request)
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
	static := func(lines string) {
		proxy.WriteString("reverse_proxy")
		for _, url := range arguments[1:] {
			proxy.WriteString(" " + strings.TrimPrefix(url, "http://"))
		}
		proxy.WriteString(" {\n" + lines + "\n}")
	}
	switch arguments[0] {
	case "stock":
		static("lb_policy round_robin")
	case "static":
		static("lb_policy federation\ntransport federation")
	case "federation", "guarded":
		global.WriteString("federation {\nstore memory\nkey main hs256 a-secret-of-more-than-thirty-two-bytes\nnode_defaults {\ndialect json {\npath /search\n}\n}\n")
		for i, url := range arguments[1:] {
			fmt.Fprintf(&global, "node n%02d %s\n", i, url)
		}
		global.WriteString("}\n")
		if arguments[0] == "guarded" {
			proxy.WriteString("federation_auth\nfederation_rate_limit {\npolicy many {\nlimit 100000 1s\n}\n}\n")
		}
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
	token := ""
	if arguments[0] == "guarded" {
		app := fleet.Running("default")
		pair, err := app.IssueTokens(context.Background(), app.Snapshot().Nodes[0])
		if err != nil {
			return err
		}
		token = pair.AccessToken
	}
	fmt.Println("http://"+address, token)
	select {}
}
