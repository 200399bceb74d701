package balancer

import (
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// clientHeld is how long a client must have kept an exchange from going on for
// its breaking off to be the client's doing. Servers limit how long they write
// an answer or wait for an upload, and one client that stalls must not take an
// upstream from all others.
const clientHeld = 500 * time.Millisecond

// download is the body of an answer.
type download struct {
	io.ReadCloser
	flight *flight
	read   int64
	paused time.Duration // when it was last read, since the epoch
	held   time.Duration // how long the client kept it from being read, in all
	waited time.Duration // how long the upstream did
}

// unheld is how much of an answer the buffers on its way take, whether the client
// reads it or not. Most answers are shorter, and need no clock.
const unheld = 64 << 10

// heldUp tells whether the client is who the answer had to wait for: for long
// enough, and more than for the upstream.
func (d *download) heldUp() bool {
	return d.held >= clientHeld && d.held > d.waited
}

// Read implements [io.Reader].
func (d *download) Read(p []byte) (int, error) {
	long := d.read > unheld
	var begin time.Duration
	if long {
		begin = time.Since(epoch)
		if d.paused != 0 {
			d.held += begin - d.paused
		}
	}
	n, err := d.ReadCloser.Read(p)
	d.read += int64(n)
	if long {
		d.paused = time.Since(epoch)
		d.waited += d.paused - begin
	}
	switch err {
	case nil:
	case io.EOF:
		d.flight.end()
	default:
		d.flight.broke(err)
	}
	return n, err
}

// Close implements [io.Closer].
func (d *download) Close() error {
	err := d.ReadCloser.Close()
	d.flight.end()
	return err
}

// upload is the body of a request.
type upload struct {
	io.ReadCloser
	last    atomic.Int64 // when it was last read, since the epoch
	waiting atomic.Bool  // for the client to send more
	broken  atomic.Bool  // it could not be read: the client's doing
	closed  atomic.Bool  // the inner transport reads no more, and what it reads fails
	trailer http.Header  // of the request, which is complete at the body's end
}

// Read implements [io.Reader].
func (u *upload) Read(p []byte) (int, error) {
	u.waiting.Store(true)
	n, err := u.ReadCloser.Read(p)
	if err != nil && u.closed.Load() {
		return n, err
	}
	u.waiting.Store(false)
	u.last.Store(int64(time.Since(epoch)))
	switch err {
	case nil:
	case io.EOF:
		dropForbidden(u.trailer)
	default:
		u.broken.Store(true)
	}
	return n, err
}

// dropForbidden leaves those trailers behind that no client may send (RFC 9110
// section 6.5.1) or no field can hold: a server that speaks HTTP/2 resets the
// stream for them, and with its fifth such request in a row a client would open
// the upstream's breaker.
func dropForbidden(trailer http.Header) {
	for name, values := range trailer {
		if !httpguts.ValidTrailerHeader(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			delete(trailer, name)
		}
	}
}

// Close implements [io.Closer].
func (u *upload) Close() error {
	u.closed.Store(true)
	return u.ReadCloser.Close()
}

// held is for how long the client has sent nothing, when that was waited for.
// start is when the request began.
func (u *upload) held(start time.Time) time.Duration {
	if !u.waiting.Load() {
		return 0
	}
	return time.Since(epoch) - max(time.Duration(u.last.Load()), sinceEpoch(start))
}
