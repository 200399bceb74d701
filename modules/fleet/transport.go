package fleet

import (
	"context"
	"net"
	"net/http"
	"syscall"
	"time"
)

// dialControl looks at an address before it is connected to; nil allows all.
type dialControl func(ctx context.Context, network, address string, _ syscall.RawConn) error

// newTransport is what a node is called through unless it names another: a
// keep-alive pool of its own, as large as its bulkhead.
func newTransport(maxRequests int, control dialControl) *http.Transport {
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second, ControlContext: control}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    maxRequests,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// closeIdle gives the idle connections back.
func (n *Node) closeIdle() {
	if t, ok := n.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
