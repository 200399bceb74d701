package redaction

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// handling is one request whose lines the guard writes.
type handling struct {
	guard    *Guard
	server   *caddyhttp.Server
	request  *http.Request // as handlers see it
	shown    *http.Request // a copy of what came, still with its credentials
	replacer *caddy.Replacer
	recorder caddyhttp.ResponseRecorder // nil: there is no access log for it
	answer   http.Header                // of the answer; the writer must not be asked when the server is done
	body     *countedBody
	loggers  []string // that the request would have been logged to
	headers  []string // to be hidden
	written  sync.Once
}

// handle takes the request's loggers away. It returns the writer to go on with.
func (g *Guard) handle(w http.ResponseWriter, r *http.Request, server *caddyhttp.Server) (*handling, http.ResponseWriter) {
	ctx := r.Context()
	h := &handling{guard: g, server: server, request: r, shown: r.Clone(ctx), headers: g.headers}
	if original, ok := ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		h.shown.Method, h.shown.RemoteAddr, h.shown.RequestURI = original.Method, original.RemoteAddr, original.RequestURI
	}
	h.replacer, _ = ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	h.loggers = chosenLoggers(ctx, server, r.Host)
	caddyhttp.SetVar(ctx, guarded, h)
	caddyhttp.SetVar(ctx, caddyhttp.AccessLoggerNameVarKey, []any{})
	if !logged(server.Logs, r.Host) || h.replacer == nil {
		return h, w
	}
	if h.recorder = serversRecorder(w); h.recorder == nil {
		h.recorder = caddyhttp.NewResponseRecorder(w, nil, nil)
		w = h.recorder
	}
	h.answer = w.Header()
	if r.Body != nil {
		h.body = &countedBody{ReadCloser: r.Body}
		r.Body = h.body
	}
	return h, w
}

// hide has more headers hidden.
func (h *handling) hide(headers []string) {
	for _, name := range headers {
		if !slices.Contains(h.headers, name) {
			h.headers = append(slices.Clip(h.headers), name)
		}
	}
}

// serversRecorder is the writer in which the server itself counts the answer:
// the innermost one of those that handlers have put around it.
func serversRecorder(w http.ResponseWriter) (found caddyhttp.ResponseRecorder) {
	for {
		if recorder, ok := w.(caddyhttp.ResponseRecorder); ok {
			found = recorder
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return found
		}
		w = wrapper.Unwrap()
	}
}

// returned is called when the guard's handlers are done. The access line is
// written when the server is done as well, which ends the request's context: by
// then an error has been answered, and handlers around the guard have added
// their fields. A context that has ended before is a client who left.
func (h *handling) returned(ctx context.Context) {
	if chosen, ok := caddyhttp.GetVar(ctx, caddyhttp.AccessLoggerNameVarKey).([]any); ok && len(chosen) > 0 {
		h.loggers = names(chosen) // log_name stands behind the guard
		caddyhttp.SetVar(ctx, caddyhttp.AccessLoggerNameVarKey, []any{})
	}
	if h.recorder == nil {
		return
	}
	if ctx.Err() != nil {
		h.logAccess()
		return
	}
	context.AfterFunc(ctx, h.logAccess)
}

// request is the field of a line.
func (h *handling) requestField() zap.Field {
	shown := *h.shown
	shown.Header = shown.Header.Clone()
	redact(&shown, h.headers)
	return zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: &shown, ShouldLogCredentials: h.server.Logs.ShouldLogCredentials})
}

// answerField is the header of the answer, which may repeat what was asked.
func (h *handling) answerField() zap.Field {
	header := h.answer.Clone()
	redactHeader(header, h.headers)
	for _, name := range []string{"Location", "Content-Location", "Refresh", "Link"} {
		if values := header[name]; len(values) > 0 {
			header[name] = redactAddresses(values)
		}
	}
	return zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: header, ShouldLogCredentials: h.server.Logs.ShouldLogCredentials})
}

// duration is how long the server has had the request.
func (h *handling) duration() time.Duration {
	if h.replacer == nil {
		return 0
	}
	value, _ := h.replacer.Get("http.request.duration")
	duration, _ := value.(time.Duration)
	return duration
}

// logAccess writes the access line, once.
func (h *handling) logAccess() { h.written.Do(h.writeAccess) }

func (h *handling) writeAccess() {
	ctx := h.request.Context()
	if skip, _ := caddyhttp.GetVar(ctx, caddyhttp.LogSkipVar).(bool); skip {
		return
	}
	message, level, status := "handled request", zapcore.InfoLevel, h.recorder.Status()
	if unhandled, _ := caddyhttp.GetVar(ctx, "unhandled").(bool); unhandled {
		message = "NOP"
	}
	if status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	if name, ok := caddyhttp.GetVar(ctx, caddyhttp.LogLevelVar).(string); ok {
		if wanted, err := zapcore.ParseLevel(name); err == nil && wanted >= zapcore.DebugLevel && wanted <= zapcore.ErrorLevel {
			level = wanted
		}
	}
	user, _ := h.replacer.GetString("http.auth.user.id")
	read := int64(0)
	if h.body != nil {
		read = h.body.length.Load()
	}
	fields := append([]zap.Field{
		h.requestField(),
		zap.Int64("bytes_read", read),
		zap.String("user_id", user),
		zap.Duration("duration", h.duration()),
		zap.Int("size", h.recorder.Size()),
		zap.Int("status", status),
		h.answerField(),
	}, extraFields(h.request)...)
	h.write(h.guard.access, level, message, fields)
}

// logError writes the line of an error that a handler returned.
func (h *handling) logError(err error) {
	status, message, fields := http.StatusInternalServerError, err.Error(), []zap.Field{zap.Error(err)}
	var handlerError caddyhttp.HandlerError
	if errors.As(err, &handlerError) {
		status = handlerError.StatusCode
		if handlerError.Err != nil {
			message = handlerError.Err.Error()
		}
		fields = []zap.Field{zap.Int("status", status), zap.String("err_id", handlerError.ID), zap.String("err_trace", handlerError.Trace)}
	}
	level := zapcore.DebugLevel // Caddy's, for the caller's mistakes and what the site answers itself
	if status >= http.StatusInternalServerError && (h.server.Errors == nil || len(h.server.Errors.Routes) == 0) {
		level = zapcore.ErrorLevel
	}
	h.write(h.guard.errors, level, message, append([]zap.Field{h.requestField(), zap.Duration("duration", h.duration())}, fields...))
}

func (h *handling) write(logger *zap.Logger, level zapcore.Level, message string, fields []zap.Field) {
	for _, name := range h.loggers {
		if entry := logger.Named(name).Check(level, message); entry != nil { // an empty name changes nothing
			entry.Write(fields...)
		}
	}
}

// countedBody counts what handlers read of a request's body.
type countedBody struct {
	io.ReadCloser
	length atomic.Int64 // a transport may still read when the handlers are done
}

// Read implements [io.Reader].
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.length.Add(int64(n))
	return n, err
}
