package fleet

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkProbingAThousandNodes reports which share of a core a gateway
// spends on checking a thousand nodes at the default intervals, over ten
// seconds, as the kernel counts it, and how many times that is what as many
// plain requests of net/http cost here, over as many connections and at the
// same pace. The nodes are in a process of their own.
func BenchmarkProbingAThousandNodes(b *testing.B) {
	nodes := exec.Command(os.Args[0])
	nodes.Env = append(os.Environ(), "FLEET_TEST_NODE=1")
	in, err := nodes.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := nodes.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := nodes.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = nodes.Wait()
	}()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	var block strings.Builder
	block.WriteString("node_defaults {\n dialect laravel\n}\n")
	for i := range 1000 {
		fmt.Fprintf(&block, "node n%d http://%s/n%d\n", i, strings.TrimSpace(address), i)
	}
	f := run(b, block.String())
	time.Sleep(7 * time.Second) // the first checks connect, and ask what the nodes hold
	for b.Loop() {
		before, start := cpu(b), time.Now()
		time.Sleep(10 * time.Second)
		spent := cpu(b) - before
		b.ReportMetric(100*float64(spent)/float64(time.Since(start)), "%core")
		f.stop()
		b.ReportMetric(float64(spent)/float64(plainRequests(b, "http://"+strings.TrimSpace(address))), "x-plain")
	}
	for _, n := range f.app.Snapshot().Nodes {
		if n.Health().State != HealthHealthy {
			b.Fatalf("%s is %+v", n.Slug, n.Health())
		}
	}
}

// plainRequests is the CPU of 2,000 requests in ten seconds over 1,000 connections.
func plainRequests(b *testing.B, address string) time.Duration {
	transports := make([]*http.Transport, 1000)
	for i := range transports {
		transports[i] = newTransport(1, nil)
		defer transports[i].CloseIdleConnections()
	}
	get := func(i int) {
		request, err := http.NewRequest(http.MethodGet, address, http.NoBody)
		if err != nil {
			b.Fatal(err)
		}
		response, err := transports[i%len(transports)].RoundTrip(request)
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	for i := range transports {
		get(i) // connects
	}
	before := cpu(b)
	var group sync.WaitGroup
	for i := range 2000 {
		group.Go(func() { get(i) })
		time.Sleep(5 * time.Millisecond)
	}
	group.Wait()
	return cpu(b) - before
}

// cpu is what this process has used so far.
func cpu(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
