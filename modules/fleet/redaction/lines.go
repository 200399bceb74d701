package redaction

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// handling is one request whose lines the guard writes.
type handling struct {
	guard    *Guard
	server   *caddyhttp.Server
	request  *http.Request
	replacer *caddy.Replacer
	shown    *http.Request // nil until it is needed
	writer   http.ResponseWriter
	recorder caddyhttp.ResponseRecorder // nil: there is no access log for it
	body     *countedBody
}

func (g *Guard) handle(w http.ResponseWriter, r *http.Request, server *caddyhttp.Server) *handling {
	h := &handling{guard: g, server: server, request: r, writer: w}
	h.replacer, _ = r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !logged(server.Logs, r.Host) || h.replacer == nil {
		return h
	}
	h.shown = g.redacted(r)
	h.recorder = caddyhttp.NewResponseRecorder(w, nil, nil)
	h.writer = h.recorder
	if r.Body != nil {
		h.body = &countedBody{ReadCloser: r.Body}
		r.Body = h.body
	}
	return h
}

// field is the request as the lines have it.
func (h *handling) field() zap.Field {
	if h.shown == nil {
		h.shown = h.guard.redacted(h.request)
	}
	return zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: h.shown, ShouldLogCredentials: h.showsCredentials()})
}

func (h *handling) showsCredentials() bool {
	return h.server.Logs != nil && h.server.Logs.ShouldLogCredentials
}

// duration is how long the server has had the request.
func (h *handling) duration() time.Duration {
	if h.replacer == nil {
		return 0
	}
	d, _ := h.replacer.Get("http.request.duration")
	duration, _ := d.(time.Duration)
	return duration
}

// logAccess writes the access line, and keeps the server from writing it.
func (h *handling) logAccess() {
	ctx := h.request.Context()
	if skip, _ := caddyhttp.GetVar(ctx, caddyhttp.LogSkipVar).(bool); skip {
		return
	}
	caddyhttp.SetVar(ctx, caddyhttp.LogSkipVar, true)
	if h.recorder == nil {
		return
	}
	status, size, duration := h.recorder.Status(), h.recorder.Size(), h.duration()
	h.replacer.Set("http.response.status", status)
	h.replacer.Set("http.response.size", size)
	h.replacer.Set("http.response.duration", duration)
	h.replacer.Set("http.response.duration_ms", duration.Seconds()*1e3)

	message, level := "handled request", zapcore.InfoLevel
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
	read := 0
	if h.body != nil {
		read = h.body.length
	}
	fields := append([]zap.Field{
		h.field(),
		zap.Int("bytes_read", read),
		zap.String("user_id", user),
		zap.Duration("duration", duration),
		zap.Int("size", size),
		zap.Int("status", status),
		zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: h.recorder.Header(), ShouldLogCredentials: h.showsCredentials()}),
	}, extraFields(h.request)...)
	for _, logger := range h.loggers(h.guard.access) {
		if entry := logger.Check(level, message); entry != nil {
			entry.Write(fields...)
		}
	}
}

// answerError does what the server does with an error that a handler returned:
// it runs the error routes, or answers with the status alone, and logs.
func (h *handling) answerError(err error) {
	duration := h.duration()
	if original, ok := h.request.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		h.request.Method, h.request.RemoteAddr, h.request.RequestURI = original.Method, original.RemoteAddr, original.RequestURI
		*h.request.URL = *original.URL
	}
	status, message, fields := http.StatusInternalServerError, err.Error(), []zap.Field{zap.Error(err)}
	var handlerError caddyhttp.HandlerError
	if errors.As(err, &handlerError) {
		status = handlerError.StatusCode
		if handlerError.Err != nil {
			message = handlerError.Err.Error()
		}
		fields = []zap.Field{zap.Int("status", status), zap.String("err_id", handlerError.ID), zap.String("err_trace", handlerError.Trace)}
	}
	level := zapcore.DebugLevel // Caddy's, for what is the caller's mistake or has been handled
	r := h.server.Errors.WithError(h.request, err)
	if h.server.Errors != nil && len(h.server.Errors.Routes) > 0 {
		// routes that do not answer leave it at the status
		end := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(status)
			return nil
		})
		if failed := h.server.Errors.Routes.Compile(end).ServeHTTP(h.writer, r); failed != nil {
			level = zapcore.ErrorLevel
			fields = append([]zap.Field{zap.String("error", failed.Error()), zap.Namespace("first_error"), zap.String("msg", message)}, fields...)
			message = "error handling handler error"
			h.writer.WriteHeader(status)
		}
	} else {
		if status >= http.StatusInternalServerError {
			level = zapcore.ErrorLevel
		}
		h.writer.WriteHeader(status)
	}
	for _, logger := range h.loggers(h.guard.errors) {
		if entry := logger.Check(level, message); entry != nil {
			entry.Write(append([]zap.Field{h.field(), zap.Duration("duration", duration)}, fields...)...)
		}
	}
}

// loggers are those that the site's configuration, or its log_name, names.
func (h *handling) loggers(logger *zap.Logger) []*zap.Logger {
	if h.server.Logs == nil {
		return []*zap.Logger{logger}
	}
	var names []string
	if chosen, ok := caddyhttp.GetVar(h.request.Context(), caddyhttp.AccessLoggerNameVarKey).([]any); ok {
		for _, name := range chosen {
			text, _ := name.(string)
			names = append(names, text)
		}
	} else {
		names = loggerNames(h.server.Logs, h.request.Host)
	}
	loggers := make([]*zap.Logger, len(names))
	for i, name := range names {
		loggers[i] = logger.Named(name) // an empty name changes nothing
	}
	return loggers
}

// loggerNames are those of a host, exactly or by the most specific wildcard.
func loggerNames(logs *caddyhttp.ServerLogConfig, host string) []string {
	host = strings.ToLower(withoutPort(host))
	if names, ok := logs.LoggerNames[host]; ok {
		return names
	}
	labels := strings.Split(host, ".")
	for i := range labels {
		if labels[i] == "" {
			continue
		}
		labels[i] = "*"
		if names, ok := logs.LoggerNames[strings.Join(labels, ".")]; ok {
			return names
		}
	}
	return []string{logs.DefaultLoggerName}
}

// logged tells whether the server writes access lines for a host.
func logged(logs *caddyhttp.ServerLogConfig, host string) bool {
	if logs == nil {
		return false
	}
	host = withoutPort(host)
	for name := range logs.LoggerNames {
		if certmagic.MatchWildcard(host, name) {
			return true
		}
	}
	for _, name := range logs.SkipHosts {
		if certmagic.MatchWildcard(host, name) {
			return false
		}
	}
	return !logs.SkipUnmappedHosts
}

func withoutPort(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// countedBody counts what handlers read of a request's body.
type countedBody struct {
	io.ReadCloser
	length int
}

// Read implements [io.Reader].
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.length += n
	return n, err
}
