package balancer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// processor is the CPU time of this process.
func processor(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkHandler is what the handler alone costs, without any network: stock
// round robin over static upstreams, and our three guests over as many nodes.
func BenchmarkHandler(b *testing.B) {
	response := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Proto: "HTTP/1.1", Header: http.Header{"Content-Length": {"0"}}, Body: http.NoBody}, nil
	})
	for _, size := range []int{8, 64} {
		var addresses, nodes []string
		for i := range size {
			address := fmt.Sprintf("10.0.0.%d:80", i+1)
			addresses = append(addresses, fmt.Sprintf(`{"dial":%q}`, address))
			nodes = append(nodes, node(fmt.Sprintf("n%d", i), "http://"+address, ""))
		}
		upstreams := strings.Join(addresses, ",")
		for _, c := range []struct{ name, handler string }{
			{"stock", `{"upstreams":[` + upstreams + `],"load_balancing":{"selection_policy":{"policy":"round_robin"}}}`},
			{"static", `{"upstreams":[` + upstreams + `],"transport":{"protocol":"federation"},"load_balancing":{"selection_policy":{"policy":"federation"}}}`},
			{"nodes", fmt.Sprintf(together, "", "", "")},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				p := serve(b, c.handler, nodes...)
				if ours, ok := p.handler.Transport.(*Transport); ok {
					ours.inner = response
				} else {
					p.handler.Transport = response
				}
				w := httptest.NewRecorder()
				original := httptest.NewRequest(http.MethodGet, "/x", nil)
				next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
				b.ReportAllocs()
				before := processor(b)
				for b.Loop() {
					clear(w.Header())
					r := caddyhttp.PrepareRequest(original, caddy.NewReplacer(), w, server)
					if err := p.handler.ServeHTTP(w, r, next); err != nil {
						b.Fatal(err)
					}
				}
				// what else the machine does is not in this
				b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
