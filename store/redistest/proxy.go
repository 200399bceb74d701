package redistest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands between the store and a server, and spoils the connection.
type Proxy struct {
	// Addr is where it listens, host:port.
	Addr string

	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and renewed when what follows changes
	latency time.Duration
	silent  bool
	refuse  bool
	pairs   map[*pair]struct{}
}

// pair is one connection through the proxy.
type pair struct{ client, server *net.TCPConn }

// StartProxy starts a proxy before a server.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		Addr: listener.Addr().String(), listener: listener, target: target,
		changed: make(chan struct{}), pairs: make(map[*pair]struct{}),
	}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Heal()
		p.each(func(c *pair) { _, _ = c.client.Close(), c.server.Close() })
		p.running.Wait()
	})
	return p
}

// URL is the proxy's address as the store reads it.
func (p *Proxy) URL() string { return "redis://" + p.Addr }

// Delay holds every reply up for d.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.latency = d }) }

// Silence carries nothing more and keeps connections open, as a cable that is
// pulled does: half-open connections. New ones are accepted and hear nothing.
func (p *Proxy) Silence() { p.set(func() { p.silent = true }) }

// Reset resets all connections, and every new one.
func (p *Proxy) Reset() {
	p.set(func() { p.refuse = true })
	p.each(reset)
}

// Heal ends what the others began. What was held up goes on.
func (p *Proxy) Heal() { p.set(func() { p.latency, p.silent, p.refuse = 0, false, false }) }

// Connections is how many are open.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) each(do func(*pair)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		do(c)
	}
}

// reset closes a connection so that the other side gets a RST.
func reset(c *pair) {
	_ = c.client.SetLinger(0)
	_, _ = c.client.Close(), c.server.Close()
}

func (p *Proxy) accept() {
	dialer := net.Dialer{Timeout: patience}
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		client := conn.(*net.TCPConn)
		upstream, err := dialer.DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			_ = client.SetLinger(0)
			_ = client.Close()
			continue
		}
		c := &pair{client, upstream.(*net.TCPConn)}
		p.mu.Lock()
		refuse := p.refuse
		p.pairs[c] = struct{}{}
		p.mu.Unlock()
		if refuse {
			reset(c)
		}
		p.running.Go(func() { p.carry(c, c.server, c.client, false) })
		p.running.Go(func() {
			p.carry(c, c.client, c.server, true)
			p.mu.Lock()
			delete(p.pairs, c)
			p.mu.Unlock()
		})
	}
}

// carry copies one direction until the connection ends.
func (p *Proxy) carry(c *pair, to, from *net.TCPConn, reply bool) {
	defer func() { _, _ = c.client.Close(), c.server.Close() }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			p.wait(reply)
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait holds data up until it may go on.
func (p *Proxy) wait(reply bool) {
	for {
		p.mu.Lock()
		changed, silent, latency := p.changed, p.silent, p.latency
		p.mu.Unlock()
		switch {
		case silent:
			<-changed
		case reply && latency > 0:
			timer := time.NewTimer(latency)
			<-timer.C
			return
		default:
			return
		}
	}
}
