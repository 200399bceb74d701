package balancer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// flight is one request on its way: from the moment it is let through until
// the last byte of the answer was read, or the upgraded connection is closed.
type flight struct {
	ctx    context.Context
	target *target
	ticket fleet.Ticket
	header fleet.Answer // what the ticket became
	signed bool         // the gateway's credentials went along
	start  time.Time
	upload upload
	answer download
	ended  atomic.Bool
	// refusal is why nothing was sent, when a node's own accounts say so.
	refusal error
}

// latency is how long the upstream took to answer. The time in which it waited
// for the client's own upload is not its own.
func (f *flight) latency(now time.Time) time.Duration {
	begin := sinceEpoch(f.start)
	if read := time.Duration(f.upload.last.Load()); read > begin {
		begin = read
	}
	return max(sinceEpoch(now)-begin, 0)
}

// cancel ends a request that was not sent, which says nothing of the upstream.
func (f *flight) cancel() {
	if !f.ended.Swap(true) {
		f.ticket.Cancel()
	}
}

// failed accounts for a request that got no answer.
func (f *flight) failed(err error) {
	if f.ended.Swap(true) {
		return
	}
	now := time.Now()
	result := fleet.ResultOfError(f.ctx, diallingCause(err), f.latency(now))
	theirs := f.ctx.Err() != nil || fleet.Unsendable(err)               // the client left, or sent what cannot be passed on
	if f.upload.broken.Load() || f.upload.held(f.start) >= clientHeld { // or its upload broke off
		theirs, result.Outcome, result.Refused = true, fleet.OutcomeNeutral, false
	}
	f.ticket.Done(result)
	if !theirs || result.Outcome != fleet.OutcomeNeutral {
		f.target.meter.Failure(sinceEpoch(now), result.Latency, result.RetryAfter)
	}
}

// answered accounts for the header of an answer, has the rest counted as in
// flight until its body ends, and tells whether it is a failure.
func (f *flight) answered(response *http.Response) bool {
	now := time.Now()
	result := fleet.ResultOfResponse(response, f.latency(now))
	f.header = f.ticket.Answered(result, f.signed)
	failed := false
	switch result.Outcome {
	case fleet.OutcomeOK:
		f.target.meter.Success(sinceEpoch(now), result.Latency)
	case fleet.OutcomeNeutral:
	default:
		failed = true
		if fleet.OfCaller(response.StatusCode, f.signed) {
			break
		}
		f.target.meter.Failure(sinceEpoch(now), result.Latency, result.RetryAfter)
	}
	body := response.Body
	connection, both := body.(io.ReadWriteCloser)
	switch {
	case body == nil || body == http.NoBody:
		f.end()
	case both && response.StatusCode == http.StatusSwitchingProtocols:
		response.Body = &upgraded{connection, f}
	default:
		f.answer = download{ReadCloser: body, flight: f}
		response.Body = &f.answer
	}
	return failed
}

// end gives the place back, once.
func (f *flight) end() {
	if !f.ended.Swap(true) {
		f.header.End()
	}
}

// broke ends a flight whose answer broke off. The client who left, and with it
// Caddy that stopped reading, or who did not read, is not the upstream's failure.
func (f *flight) broke(err error) {
	if f.ctx.Err() != nil || errors.Is(err, context.Canceled) || f.answer.heldUp() {
		f.end()
		return
	}
	if f.ended.Swap(true) {
		return
	}
	f.header.Broke(fleet.ResultOfError(f.ctx, err, 0))
	f.target.meter.Failure(sinceEpoch(time.Now()), 0, 0)
}

// upgraded is a connection that has changed its protocol: it lives until it is
// closed, and how it ends says nothing of the upstream.
type upgraded struct {
	io.ReadWriteCloser
	flight *flight
}

// CloseWrite ends one direction, where the connection can.
func (u *upgraded) CloseWrite() error {
	if half, ok := u.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// Close implements [io.Closer].
func (u *upgraded) Close() error {
	err := u.ReadWriteCloser.Close()
	u.flight.end()
	return err
}
