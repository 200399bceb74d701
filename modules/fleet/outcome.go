package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Outcome is the one verdict on a call to a node. Reports, the request log,
// metrics, breaker and balancer all read this verdict and make none of their own.
type Outcome string

const (
	// OutcomeOK: an answer that was understood.
	OutcomeOK Outcome = "ok"
	// OutcomeHard: the node could not be reached or gave up: refused, reset,
	// timeout, 502, 503 without Retry-After, 504.
	OutcomeHard Outcome = "hard"
	// OutcomeSoft: any other 5xx.
	OutcomeSoft Outcome = "soft"
	// OutcomeThrottled: 429, or 503 with Retry-After.
	OutcomeThrottled Outcome = "throttled"
	// OutcomeNeutral: says nothing about the node's health: the caller left,
	// our own refusal, a 4xx.
	OutcomeNeutral Outcome = "neutral"
	// OutcomeBadPayload: an answer that is not what was asked for: not JSON,
	// truncated, too large, too deep, wrong types, a redirect.
	OutcomeBadPayload Outcome = "bad_payload"
)

// StatusError is an answer with a status outside 200..299.
type StatusError struct {
	Status int
	// RetryAfter is what the node asked for, capped at [MaxRetryAfter]; 0
	// when it did not ask.
	RetryAfter time.Duration
	Header     http.Header
	// Body is the whole answer, at most the response size cap long.
	Body []byte
}

// MaxRetryAfter is the longest pause a node's Retry-After can ask for.
const MaxRetryAfter = 300 * time.Second

func (e *StatusError) Error() string {
	return fmt.Sprintf("the node answered HTTP %d", e.Status)
}

// PayloadError is an answer that was read and does not fit.
type PayloadError struct {
	// Reason says in words what does not fit. It may quote a member's name,
	// never a node's text.
	Reason string
	Err    error
}

func (e *PayloadError) Error() string { return e.Reason }
func (e *PayloadError) Unwrap() error { return e.Err }

// BadPayload makes a [PayloadError] from a format.
func BadPayload(format string, args ...any) *PayloadError {
	return &PayloadError{Reason: fmt.Sprintf(format, args...)}
}

// RefusalError is a call that we did not make: nothing was sent to the node.
type RefusalError struct {
	// Reason is one word for reports: "open", "ramp", "bulkhead", "unhealthy",
	// "draining", "maintenance", "disabled", "pending", "stopped", "unnumbered" (its
	// number, which a token would name it by, is not known yet), "budget"
	// (what the node lets us do is used up), "paused" (it asked for that),
	// "address" (a registered node's name leads where nodes may not live) or
	// "dialect" (the node's does not know such requests).
	Reason string
	// RetryAfter is when to try again, 0 when nobody knows.
	RetryAfter time.Duration
}

func (e *RefusalError) Error() string { return "not sent: " + e.Reason }

// Classify gives the verdict on a call that ended with err. ctx is the
// context of the whole request, not the one of the single call: when it was
// cancelled, the caller left and the node is not to blame.
func Classify(ctx context.Context, err error) Outcome {
	if err == nil {
		return OutcomeOK
	}
	var refusal *RefusalError
	if errors.As(err, &refusal) {
		return OutcomeNeutral
	}
	var status *StatusError
	if errors.As(err, &status) {
		return classifyStatus(status.Status, status.Header.Get("Retry-After") != "")
	}
	var payload *PayloadError
	if errors.As(err, &payload) {
		return OutcomeBadPayload
	}
	if errors.Is(ctx.Err(), context.Canceled) || Unsendable(err) || unaccepted(err) {
		return OutcomeNeutral
	}
	return OutcomeHard
}

// unsendable are the beginnings of what net/http says of a request that the
// protocol cannot carry, and notAccepted of one that is more than this server
// said it takes. It has no types for them.
var (
	unsendable = []string{
		"invalid Upgrade request header", "invalid Connection request header", "invalid Transfer-Encoding request header",
		"invalid Trailer key", "invalid trailer ", "invalid HTTP trailer ", "invalid header ", "invalid HTTP header ",
		"invalid Host header", "invalid method ", "invalid request :path ", "can't write control character in ",
	}
	notAccepted = []string{"request header list larger than peer's advertised limit", "extended connect not supported by peer"}
)

// Unsendable tells whether a proxied request failed because of what it is: a
// client can send what the protocol of a node cannot carry. Nothing is known of the
// node then.
func Unsendable(err error) bool { return begins(err, unsendable) }

// unaccepted tells whether the node takes no such request: it is alive and says
// so, like one that answers 431, and whoever chooses can do better elsewhere.
func unaccepted(err error) bool { return begins(err, notAccepted) }

// begins tells whether an error of net/http begins with one of the texts, after
// the protocol's name.
func begins(err error, beginnings []string) bool {
	text := err.Error()
	for _, layer := range []string{"http2: ", "net/http: ", "http: "} {
		text = strings.TrimPrefix(text, layer)
	}
	return slices.ContainsFunc(beginnings, func(beginning string) bool { return strings.HasPrefix(text, beginning) })
}

func classifyStatus(status int, retryAfter bool) Outcome {
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && retryAfter:
		return OutcomeThrottled
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return OutcomeHard
	case status >= 500:
		return OutcomeSoft
	case status >= 400:
		return OutcomeNeutral
	case status >= 200 && status < 300:
		return OutcomeOK
	default: // a redirect, or something that is no final status at all
		return OutcomeBadPayload
	}
}

// Timeout tells whether a call ended because time ran out, ours or the network's.
func Timeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

// Describe says in words why a call failed, fit for a report that strangers
// read: no address, no text of the node, no chain of Go errors.
func Describe(err error) string {
	var status *StatusError
	var payload *PayloadError
	var refusal *RefusalError
	var dns *net.DNSError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &status), errors.As(err, &payload), errors.As(err, &refusal):
		switch {
		case status != nil && status.Status >= 300 && status.Status < 400:
			return fmt.Sprintf("the node answered with a redirect (HTTP %d), which is not followed", status.Status)
		case status != nil:
			return status.Error()
		case payload != nil:
			return payload.Error()
		default:
			return refusal.Error()
		}
	case Timeout(err):
		return "the node did not answer in time"
	case errors.Is(err, context.Canceled):
		return "the call was cancelled"
	case errors.As(err, &dns):
		return "the node's name could not be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the node refused the connection"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE):
		return "the node closed the connection before the answer was complete"
	default:
		return "the node could not be reached"
	}
}

// parseRetryAfter reads a Retry-After value (RFC 9110 section 10.2.3: seconds
// or a date), capped at [MaxRetryAfter]. What it cannot read is 0.
func parseRetryAfter(value string, now time.Time) time.Duration {
	return retryAfterUpTo(MaxRetryAfter, value, now)
}

func retryAfterUpTo(most time.Duration, value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) { // then it is the largest
		if seconds < 0 {
			return 0
		}
		if seconds > int64(most/time.Second) {
			return most
		}
		return time.Duration(seconds) * time.Second
	}
	when, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(when.Sub(now), 0), most)
}
