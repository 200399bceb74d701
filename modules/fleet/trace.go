package fleet

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// Trace is the trace that a request belongs to. It follows W3C Trace Context
// (https://www.w3.org/TR/trace-context/); X-Trace-Id carries the same id for
// those who do not speak it.
type Trace struct {
	// ID is 32 lowercase hex digits.
	ID string
	// Flags are the two hex digits of the traceparent: "01" when sampled.
	Flags string
	// State is the tracestate as it came, passed on untouched.
	State string
}

type traceKey struct{}

// WithTrace puts the trace into the context of every call made with it.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceFromContext returns the trace of a context, or nil.
func TraceFromContext(ctx context.Context) *Trace {
	t, _ := ctx.Value(traceKey{}).(*Trace)
	return t
}

// TraceFromRequest reads the trace a request belongs to: the span that the
// `tracing` directive opened, else its traceparent, else an X-Trace-Id or
// X-Request-Id of 32 hex digits (or a UUID), else a new one.
func TraceFromRequest(r *http.Request) *Trace {
	if span := trace.SpanContextFromContext(r.Context()); span.IsValid() {
		return &Trace{ID: span.TraceID().String(), Flags: span.TraceFlags().String(), State: span.TraceState().String()}
	}
	if id, flags, ok := parseTraceparent(r.Header.Get("Traceparent")); ok {
		t := &Trace{ID: id, Flags: flags}
		if state := strings.Join(r.Header.Values("Tracestate"), ","); len(state) <= 512 {
			t.State = state
		}
		return t
	}
	for _, name := range []string{"X-Trace-Id", "X-Request-Id"} {
		if id := strings.ToLower(strings.ReplaceAll(r.Header.Get(name), "-", "")); isTraceID(id) {
			return &Trace{ID: id, Flags: "00"}
		}
	}
	return &Trace{ID: randomHex(16), Flags: "00"}
}

// parseTraceparent reads version-traceid-parentid-flags. A version we do not
// know is read like 00, as the specification asks.
func parseTraceparent(value string) (id, flags string, ok bool) {
	if len(value) < 55 || value[2] != '-' || value[35] != '-' || value[52] != '-' || value[:2] == "ff" {
		return "", "", false
	}
	if len(value) > 55 && (value[:2] == "00" || value[55] != '-') {
		return "", "", false
	}
	id, flags = value[3:35], value[53:55]
	if !isTraceID(id) || !isLowerHex(value[:2]) || !isLowerHex(value[36:52]) || !isLowerHex(flags) || value[36:52] == "0000000000000000" {
		return "", "", false
	}
	return id, flags, true
}

func isTraceID(s string) bool {
	return len(s) == 32 && isLowerHex(s) && s != "00000000000000000000000000000000"
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// randomHex returns 2·n hex digits. They only have to be distinct, not secret.
func randomHex(n int) string {
	raw := make([]byte, 0, 16)
	for len(raw) < n {
		v := rand.Uint64() | 1 // never all zero, which trace ids must not be
		for shift := 0; shift < 64 && len(raw) < n; shift += 8 {
			raw = append(raw, byte(v>>shift))
		}
	}
	return hex.EncodeToString(raw)
}

// setTrace writes the trace headers of one call; every call is a span of its own.
func setTrace(header http.Header, t *Trace, spanID string) {
	if t == nil {
		return
	}
	if spanID == "" {
		spanID = randomHex(8)
	}
	values := []string{"00-" + t.ID + "-" + spanID + "-" + t.Flags, t.ID}
	header["Traceparent"] = values[0:1:1]
	header["X-Trace-Id"] = values[1:2:2]
	if t.State != "" {
		header["Tracestate"] = []string{t.State}
	}
}
