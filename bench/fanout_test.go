// Package bench measures what a search costs the gateway, beside a
// hand-written program that does the same with net/http and nothing else, and
// what a proxied request costs it, beside a stock reverse_proxy.
package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-federation/caddy-federation"
)

// The benchmark runs this binary again for each program it needs, so that the
// kernel counts the CPU of each on its own.
const roleVariable = "FEDERATION_BENCH_ROLE"

// With this set, the gateway writes a CPU profile of itself to the file.
const profileVariable = "FEDERATION_BENCH_PROFILE"

func profile(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

func TestMain(m *testing.M) {
	role, arguments, ok := strings.Cut(os.Getenv(roleVariable), " ")
	if !ok {
		os.Exit(m.Run())
	}
	go func() { // ends with the parent, which holds the other end
		_, _ = io.Copy(io.Discard, os.Stdin)
		pprof.StopCPUProfile()
		os.Exit(0)
	}()
	if file := os.Getenv(profileVariable); file != "" && (role == "gateway" || strings.HasPrefix(arguments, "federation")) {
		if err := profile(file); err != nil {
			fmt.Fprintln(os.Stderr, "profiling:", err)
			os.Exit(1)
		}
	}
	var err error
	switch role {
	case "nodes":
		err = serveNodes(arguments)
	case "floor":
		err = serveFloor(strings.Fields(arguments))
	case "gateway":
		err = serveGateway(strings.Fields(arguments))
	case "proxy":
		err = serveProxy(strings.Fields(arguments))
	default:
		err = errors.New("unknown role " + role)
	}
	fmt.Fprintln(os.Stderr, role, err)
	os.Exit(1)
}

// program is one of the programs, running.
type program struct {
	url string
	pid int
	// token is what the program wants to be shown, if anything.
	token string
}

// run starts this binary in a role and waits for the address it prints.
func run(b *testing.B, role, arguments string) program {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	command := exec.CommandContext(ctx, os.Args[0])
	command.Env = append(os.Environ(), roleVariable+"="+role+" "+arguments)
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = input.Close()
		_ = command.Wait()
		cancel()
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		b.Fatalf("%s did not start: %v", role, err)
	}
	said := append(strings.Fields(line), "", "")
	return program{said[0], command.Process.Pid, said[1]}
}

// cpu is what the kernel has counted for the process, in clock ticks of 10 ms.
func (p program) cpu(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return user + system
}

// load sends n searches over a few kept connections.
func (p program) load(b *testing.B, n int) {
	b.Helper()
	const clients = 8
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	body := `{"query":"kettle","limit":20}`
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range n / clients {
				response, err := client.Post(p.url+"/v1/search", "application/json", strings.NewReader(body))
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

// BenchmarkFanout compares the CPU per search of the gateway and of the
// hand-written floor, in rounds that alternate, and reports the median of the
// rounds' ratios with the lowest and the highest.
func BenchmarkFanout(b *testing.B) {
	for _, nodes := range []int{4, 8, 16, 32} {
		b.Run(fmt.Sprintf("%d", nodes), func(b *testing.B) {
			answering := run(b, "nodes", strconv.Itoa(nodes))
			gateway := run(b, "gateway", answering.url)
			floor := run(b, "floor", answering.url)
			searches := 16_000 / nodes
			gateway.load(b, searches/4)
			floor.load(b, searches/4)
			var ratios []float64
			var spentGateway, spentFloor float64
			rounds := max(b.N, 5)
			for range rounds {
				ours := measure(b, gateway, searches)
				theirs := measure(b, floor, searches)
				spentGateway, spentFloor = spentGateway+ours, spentFloor+theirs
				ratios = append(ratios, ours/theirs)
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(ratios[0], "ratio-min")
			b.ReportMetric(ratios[len(ratios)-1], "ratio-max")
			per := 10_000 / float64(searches*rounds) // ticks to microseconds
			b.ReportMetric(spentGateway*per, "gateway-µs")
			b.ReportMetric(spentFloor*per, "floor-µs")
		})
	}
}

func measure(b *testing.B, p program, searches int) float64 {
	b.Helper()
	before := p.cpu(b)
	p.load(b, searches)
	return p.cpu(b) - before
}

// listen takes a free port and prints its address.
func listen() (net.Listener, error) {
	return net.Listen("tcp", "127.0.0.1:0")
}

// serveNodes answers for many nodes in one process; each has a port.
func serveNodes(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	var urls []string
	failed := make(chan error, n)
	for i := range n {
		listener, err := listen()
		if err != nil {
			return err
		}
		urls = append(urls, "http://"+listener.Addr().String())
		body := nodeAnswer(i)
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header()["Content-Type"] = []string{"application/json"}
			_, _ = w.Write(body)
		})}
		go func() { failed <- server.Serve(listener) }()
	}
	fmt.Println(strings.Join(urls, " "))
	return <-failed
}

// nodeAnswer is about 5 KB with 20 hits, a few of them the same at all nodes.
func nodeAnswer(node int) []byte {
	type hit struct {
		ID       string         `json:"id"`
		Title    string         `json:"title"`
		Content  string         `json:"content"`
		URL      string         `json:"url"`
		Score    float64        `json:"score"`
		Metadata map[string]any `json:"metadata"`
	}
	var hits []hit
	for i := range 20 {
		id := fmt.Sprintf("doc-%d-%d", node, i)
		if i%10 == 9 {
			id = fmt.Sprintf("shared-%d", i)
		}
		hits = append(hits, hit{
			ID: id, Title: "A kettle of enamelled steel " + id, URL: "https://shop.example/" + id, Score: 1 - float64(i)/40,
			Content:  "Boils a litre and a half of water in four minutes, then whistles until somebody comes. " + id,
			Metadata: map[string]any{"colour": "blue"},
		})
	}
	body, err := json.Marshal(map[string]any{"total": map[string]any{"value": 20, "relation": "eq"}, "hits": hits})
	if err != nil {
		panic(err)
	}
	return body
}

func serveGateway(nodes []string) error {
	listener, err := listen()
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return err
	}
	var lines strings.Builder
	for i, url := range nodes {
		fmt.Fprintf(&lines, "node n%02d %s\n", i, url)
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil,
		"{\nadmin off\nauto_https off\nlog {\nlevel ERROR\n}\nfederation {\nstore memory\nnode_defaults {\ndialect gateway\n}\n%s}\n}\nhttp://%s {\nfederation_search\n}\n",
		lines.String(), address), nil)
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	fmt.Println("http://" + address)
	select {}
}
