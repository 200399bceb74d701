package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// ViaHeader carries the federations that a search has passed, comma separated
// and the latest last, so that one which comes round is refused.
const ViaHeader = "Federation-Via"

// TimeoutHeader tells a node how long it has, in whole milliseconds.
const TimeoutHeader = "X-Federation-Timeout-Ms"

// The kinds of call in the request log.
const (
	kindSearch = "search"
	kindProbe  = "probe"
	kindCheck  = "check" // a probe for no more than the node's health
)

// Call is how one call to a node went.
type Call struct {
	Outcome Outcome
	// Status is the HTTP status of the last answer that was not to an optional
	// request ([Request.Optional]), or 0 without one.
	Status int
	Took   time.Duration
	// Attempts is how many requests were sent.
	Attempts int
	// Err is nil when the outcome is ok. See [Describe] for words.
	Err error
}

// Search asks one node. The call ends with ctx, and after the node's own
// timeout. The answer is nil unless the outcome is ok.
func (a *App) Search(ctx context.Context, node *Node, query *SearchQuery) (*SearchAnswer, Call) {
	var answer *SearchAnswer
	call := a.call(ctx, node, kindSearch, func(ctx context.Context, c Caller) (err error) {
		answer, err = node.dialect.Search(ctx, c, query)
		if err == nil && answer == nil {
			err = BadPayload("the dialect returned no answer")
		}
		return err
	})
	if call.Err != nil {
		return nil, call
	}
	return answer, call
}

// Probe asks one node how it is and what it holds, and keeps what it says as
// its facts. Nodes in every operator state may be probed.
func (a *App) Probe(ctx context.Context, node *Node) (*Report, Call) {
	var report *Report
	call := a.call(ctx, node, kindProbe, func(ctx context.Context, c Caller) (err error) {
		report, err = node.dialect.Probe(ctx, c)
		if err == nil && report == nil {
			err = BadPayload("the dialect returned no report")
		}
		return err
	})
	if call.Err != nil {
		return nil, call
	}
	report.withoutEcho(node.secrets)
	node.gate.member.facts.Store(report)
	return report, call
}

// call is the one path to a node: admission, deadline, credentials, verdict
// and accounts are all here.
func (a *App) call(ctx context.Context, node *Node, kind string, work func(context.Context, Caller) error) Call {
	start := time.Now()
	node, err := a.ready(ctx, node)
	if err != nil {
		return Call{Outcome: OutcomeNeutral, Took: time.Since(start), Err: err}
	}
	var ticket Ticket
	if kind != kindProbe && kind != kindCheck { // probes tell of health, and must reach a node that is out
		if ticket, err = node.Admit(ctx, start); err != nil {
			return Call{Outcome: OutcomeNeutral, Took: time.Since(start), Err: err}
		}
	}
	callCtx := ctx
	deadline, bounded := ctx.Deadline()
	if !bounded || time.Until(deadline) > node.Timeout {
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeout(ctx, node.Timeout)
		defer cancel()
	}
	c := &caller{node: node, kind: kind, trace: TraceFromContext(ctx)}
	callCtx, span := c.startSpan(callCtx)
	err = a.guard(callCtx, c, work)
	call := Call{
		Outcome:  Classify(ctx, err),
		Status:   c.status,
		Took:     time.Since(start),
		Attempts: c.attempts,
		Err:      err,
	}
	if span != nil {
		endSpan(span, call)
	}
	result := ResultOfError(ctx, err, call.Took)
	result.Status = call.Status
	ticket.Done(result)
	if result.bad() && ticket.gate == nil { // of a probe, which has no ticket
		node.gate.member.history.fail(call.Outcome, result.Reason, start.Add(call.Took), true)
	}
	if kind == kindCheck && call.Err == nil {
		return call // the log is of what was asked for, and of what went wrong
	}
	record := store.RequestRecord{
		Node: node.Slug, Time: start, Kind: kind, Status: call.Status,
		Outcome: string(call.Outcome), Duration: call.Took,
	}
	if c.trace != nil {
		record.TraceID = c.trace.ID
	}
	a.shared.log.add(record)
	return call
}

// guard keeps a panicking dialect from ending the process: the call runs on a
// goroutine of its own, where nobody else would catch it.
func (a *App) guard(ctx context.Context, c *caller, work func(context.Context, Caller) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			a.logger.Error("dialect panicked", zap.String("node", c.node.Slug), zap.Any("panic", r), zap.String("at", PanicPlace()))
			err = BadPayload("the dialect could not handle the answer")
		}
	}()
	return work(ctx, c)
}

// ready waits for Start, before which nodes have no ids: Caddy may serve a
// moment before every app has started.
func (a *App) ready(ctx context.Context, node *Node) (*Node, error) {
	if node.ID != 0 {
		return node, nil
	}
	select {
	case <-a.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := a.Snapshot().Node(node.Slug)
	switch {
	case now == nil:
		return nil, &RefusalError{Reason: "stopped"}
	case now.unnumbered():
		return nil, &RefusalError{Reason: "unnumbered"}
	default:
		return now, nil
	}
}

// unnumbered is a node whose tokens cannot name it: its number is in a store
// that was never reached.
func (n *Node) unnumbered() bool {
	_, token := n.credential.(*jwtCredential)
	return n.ID == 0 && n.Subject == "" && token
}

// caller is one call; it implements [Caller].
type caller struct {
	node     *Node
	kind     string
	trace    *Trace
	spanID   string
	status   int
	attempts int
}

var (
	acceptJSON  = []string{"application/json"}
	contentJSON = []string{"application/json"}
	userAgent   = []string{"caddy-federation"}
	// net/http may send a request again on a fresh connection when an idle
	// one turns out dead, if it knows that this is harmless. An empty list
	// says so without sending a header.
	harmless = []string{}
)

// ownFields is how many fields build sets itself. A map of up to eight entries
// costs a fraction of a larger one, so this is not rounded up.
const ownFields = 7

// Node implements [Caller].
func (c *caller) Node() *Node { return c.node }

// Do implements [Caller].
func (c *caller) Do(ctx context.Context, request *Request) (*Response, error) {
	before := c.status
	response, err := c.do(ctx, request)
	if request.Optional {
		var refused *StatusError
		if err == nil || errors.As(err, &refused) && Classify(ctx, err) == OutcomeNeutral {
			c.status = before
		}
	}
	return response, err
}

func (c *caller) do(ctx context.Context, request *Request) (*Response, error) {
	req, err := c.build(ctx, request)
	if err != nil {
		return nil, err
	}
	if c.kind != kindProbe {
		if err := c.node.Spend(ctx, request.Path); err != nil {
			return nil, err
		}
	}
	c.attempts++
	c.status = 0
	resp, err := c.node.transport.RoundTrip(req)
	if err != nil {
		// which of several errors surfaces when the context ends is chance
		if ctxErr := ctx.Err(); ctxErr != nil {
			err = ctxErr
		}
		return nil, fmt.Errorf("calling node %q: %w", c.node.Slug, err)
	}
	defer resp.Body.Close()
	c.status = resp.StatusCode
	body, err := readCapped(resp.Body, resp.ContentLength, c.node.maxResponseSize)
	body = c.node.withoutEchoes(body)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		// the status is the news; what is wrong with its body is not
		return nil, &StatusError{
			Status:     resp.StatusCode,
			RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()),
			Header:     resp.Header,
			Body:       body,
		}
	}
	if err != nil {
		return nil, c.readError(ctx, err)
	}
	if err := CheckJSON(body); err != nil {
		return nil, err
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

func (c *caller) readError(ctx context.Context, err error) error {
	var payload *PayloadError
	if errors.As(err, &payload) {
		return err
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		err = ctxErr
	}
	if strings.HasPrefix(err.Error(), "gzip: ") || strings.HasPrefix(err.Error(), "flate: ") {
		return &PayloadError{Reason: "the answer is broken gzip", Err: err}
	}
	return fmt.Errorf("reading the answer of node %q: %w", c.node.Slug, err)
}

// build makes the HTTP request from nothing: what the caller of the gateway
// sent does not get here.
func (c *caller) build(ctx context.Context, request *Request) (*http.Request, error) {
	address, err := c.node.address(request.Path)
	if err != nil {
		return nil, err
	}
	header := make(http.Header, ownFields+len(request.Header)+len(c.node.headers))
	header["Accept"] = acceptJSON
	header["User-Agent"] = userAgent
	if !request.Once {
		header["X-Idempotency-Key"] = harmless
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(time.Until(deadline).Milliseconds(), 0)
		header[TimeoutHeader] = []string{strconv.FormatInt(left, 10)}
	}
	setTrace(header, c.trace, c.spanID)
	method := request.Method
	if request.Body != nil {
		header["Content-Type"] = contentJSON
		if method == "" {
			method = http.MethodPost
		}
	}
	if method == "" {
		method = http.MethodGet
	}
	maps.Copy(header, request.Header)
	if err := c.node.credential.apply(header, request.TokenHeader, c.node); err != nil {
		return nil, err
	}
	for _, field := range c.node.headers {
		header[field.name] = field.values
	}
	req := &http.Request{
		Method: method, URL: address, Host: address.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if host := header["Host"]; len(host) == 1 {
		req.Host = host[0]
		delete(header, "Host")
	}
	if request.Body != nil {
		body := request.Body
		req.ContentLength = int64(len(body))
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	if c.node.foreignTransport {
		// transports of reverse_proxy read these; each branch needs its own
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
	}
	return req.WithContext(ctx), nil
}

// address joins the node's URL and a dialect's path.
func (n *Node) address(path string) (*url.URL, error) {
	u := *n.URL
	path, query, _ := strings.Cut(path, "?")
	u.RawQuery = query
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("the dialect's path %q is not a path", path)
	}
	if plain != path || u.RawPath != "" {
		u.RawPath = u.EscapedPath() + path
	}
	u.Path += plain
	return &u, nil
}

// startSpan opens a span under the one that the `tracing` directive opened,
// and does nothing without it.
func (c *caller) startSpan(ctx context.Context) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, nil
	}
	ctx, span := parent.TracerProvider().Tracer("caddy-federation").Start(ctx, "federation "+c.kind,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("federation.node", c.node.Slug)))
	if span.SpanContext().IsValid() {
		c.spanID = span.SpanContext().SpanID().String()
	}
	return ctx, span
}

func endSpan(span trace.Span, call Call) {
	span.SetAttributes(attribute.String("federation.outcome", string(call.Outcome)))
	if call.Status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", call.Status))
	}
	if call.Outcome != OutcomeOK && call.Outcome != OutcomeNeutral {
		span.SetStatus(codes.Error, Describe(call.Err))
	}
	span.End()
}

var _ Caller = (*caller)(nil)
