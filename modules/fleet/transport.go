package fleet

import (
	"net"
	"net/http"
	"time"
)

// newTransport is what a node is called through unless it names another: a
// keep-alive pool of its own, as large as its bulkhead.
func newTransport(maxRequests int) *http.Transport {
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}
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
