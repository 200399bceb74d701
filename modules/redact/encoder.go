package redact

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/term"

	"github.com/caddy-federation/caddy-federation/modules/fleet/redaction"
)

func init() { caddy.RegisterModule(new(Encoder)) }

// Encoder is the log format `federation_redact`: another format, in whose lines
// credentials are REDACTED, whoever writes them. It hides fields, at any depth,
// that are named as a header with a credential, in any spelling (x_api_key,
// HTTP_X_API_KEY), and in all texts the credentials in the query of an address.
type Encoder struct {
	// WrappedRaw is the format that writes the lines. Default: json, or console
	// when the output is a terminal.
	WrappedRaw json.RawMessage `json:"wrap,omitempty" caddy:"namespace=caddy.logging.encoders inline_key=format"`
	// Headers are more headers whose values are hidden. Default: none.
	Headers []string `json:"headers,omitempty"`

	zapcore.Encoder `json:"-"` // the wrapped one
	ctx             caddy.Context
	byDefault       bool
	names           names
}

// CaddyModule returns the Caddy module information.
func (*Encoder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.encoders.federation_redact", New: func() caddy.Module { return new(Encoder) }}
}

// Provision sets the wrapped format up.
func (e *Encoder) Provision(ctx caddy.Context) error {
	e.ctx, e.names = ctx, make(names)
	for _, name := range append(redaction.Headers(), e.Headers...) {
		e.names[spelling(name)] = true
	}
	if e.WrappedRaw == nil {
		e.byDefault = true
		return e.wrap(new(logging.JSONEncoder))
	}
	wrapped, err := ctx.LoadModule(e, "WrappedRaw")
	if err != nil {
		return fmt.Errorf("wrap: %w", err)
	}
	e.Encoder = wrapped.(zapcore.Encoder)
	return nil
}

func (e *Encoder) wrap(encoder zapcore.Encoder) error {
	if provisioner, ok := encoder.(caddy.Provisioner); ok {
		if err := provisioner.Provision(e.ctx); err != nil {
			return err
		}
	}
	e.Encoder = encoder
	return nil
}

// Validate checks the names of the headers.
func (e *Encoder) Validate() error { return checkHeaders(e.Headers) }

// ConfigureDefaultFormat implements [caddy.ConfiguresFormatterDefault].
func (e *Encoder) ConfigureDefaultFormat(output caddy.WriterOpener) error {
	if !e.byDefault {
		if wrapped, ok := e.Encoder.(caddy.ConfiguresFormatterDefault); ok {
			return wrapped.ConfigureDefaultFormat(output)
		}
		return nil
	}
	if caddy.IsWriterStandardStream(output) && term.IsTerminal(int(os.Stderr.Fd())) {
		return e.wrap(new(logging.ConsoleEncoder))
	}
	return nil
}

// Clone implements [zapcore.Encoder].
func (e *Encoder) Clone() zapcore.Encoder {
	return &Encoder{Encoder: e.Encoder.Clone(), names: e.names}
}

// EncodeEntry implements [zapcore.Encoder].
func (e *Encoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line := e.Encoder.Clone() // what is added to it must not stay
	into := object{line, e.names}
	for _, field := range fields {
		field.AddTo(into)
	}
	entry.Message = redaction.Address(entry.Message)
	return line.EncodeEntry(entry, nil)
}

// AddString implements [zapcore.ObjectEncoder], as the following do.
func (e *Encoder) AddString(key, value string) { object{e.Encoder, e.names}.AddString(key, value) }

// AddByteString adds text.
func (e *Encoder) AddByteString(key string, value []byte) {
	object{e.Encoder, e.names}.AddByteString(key, value)
}

// AddArray adds an array.
func (e *Encoder) AddArray(key string, value zapcore.ArrayMarshaler) error {
	return object{e.Encoder, e.names}.AddArray(key, value)
}

// AddObject adds an object.
func (e *Encoder) AddObject(key string, value zapcore.ObjectMarshaler) error {
	return object{e.Encoder, e.names}.AddObject(key, value)
}

// AddReflected adds any value.
func (e *Encoder) AddReflected(key string, value any) error {
	return object{e.Encoder, e.names}.AddReflected(key, value)
}

// names are those that are hidden, each by its [spelling].
type names map[string]bool

// spelling makes the ways to write a header one: as servers, CGI and proxies
// write X-Api-Key, x_api_key, X.API.Key and HTTP_X_API_KEY.
func spelling(name string) string {
	name = strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
	return strings.TrimPrefix(name, "http-")
}

func (n names) hide(key string) bool { return n[spelling(key)] }

// text is what may be shown of a text with that name.
func (n names) text(key, value string) string {
	switch {
	case n.hide(key):
		return redaction.Hidden
	case strings.EqualFold(key, "QUERY_STRING"): // CGI's
		return strings.TrimPrefix(redaction.Address("?"+value), "?")
	default:
		return redaction.Address(value)
	}
}

// object adds fields to another object.
type object struct {
	zapcore.ObjectEncoder
	names names
}

func (o object) AddString(key, value string) {
	o.ObjectEncoder.AddString(key, o.names.text(key, value))
}

func (o object) AddByteString(key string, value []byte) {
	o.ObjectEncoder.AddByteString(key, []byte(o.names.text(key, string(value))))
}

func (o object) AddArray(key string, value zapcore.ArrayMarshaler) error {
	if o.names.hide(key) {
		value = zapcore.ArrayMarshalerFunc(func(into zapcore.ArrayEncoder) error {
			into.AppendString(redaction.Hidden)
			return nil
		})
	}
	return o.ObjectEncoder.AddArray(key, o.names.array(value))
}

func (o object) AddObject(key string, value zapcore.ObjectMarshaler) error {
	if o.names.hide(key) {
		o.ObjectEncoder.AddString(key, redaction.Hidden)
		return nil
	}
	return o.ObjectEncoder.AddObject(key, o.names.object(value))
}

func (o object) AddReflected(key string, value any) error {
	if o.names.hide(key) {
		o.ObjectEncoder.AddString(key, redaction.Hidden)
		return nil
	}
	if header, ok := value.(http.Header); ok {
		return o.AddObject(key, logged(header))
	}
	return o.ObjectEncoder.AddReflected(key, value)
}

// logged is a header as Caddy's loggers write it.
type logged http.Header

func (h logged) MarshalLogObject(into zapcore.ObjectEncoder) error {
	for name, values := range h {
		if err := into.AddArray(name, zapcore.ArrayMarshalerFunc(func(list zapcore.ArrayEncoder) error {
			for _, value := range values {
				list.AppendString(value)
			}
			return nil
		})); err != nil {
			return err
		}
	}
	return nil
}

func (n names) object(value zapcore.ObjectMarshaler) zapcore.ObjectMarshaler {
	return zapcore.ObjectMarshalerFunc(func(into zapcore.ObjectEncoder) error {
		return value.MarshalLogObject(object{into, n})
	})
}

func (n names) array(value zapcore.ArrayMarshaler) zapcore.ArrayMarshaler {
	return zapcore.ArrayMarshalerFunc(func(into zapcore.ArrayEncoder) error {
		return value.MarshalLogArray(array{into, n})
	})
}

// array adds elements to another array.
type array struct {
	zapcore.ArrayEncoder
	names names
}

func (a array) AppendString(value string) { a.ArrayEncoder.AppendString(redaction.Address(value)) }

func (a array) AppendArray(value zapcore.ArrayMarshaler) error {
	return a.ArrayEncoder.AppendArray(a.names.array(value))
}

func (a array) AppendObject(value zapcore.ObjectMarshaler) error {
	return a.ArrayEncoder.AppendObject(a.names.object(value))
}

// checkHeaders refuses what is not the name of a header.
func checkHeaders(headers []string) error {
	for _, name := range headers {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("headers: %q is not a header name", name)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner                = (*Encoder)(nil)
	_ caddy.Validator                  = (*Encoder)(nil)
	_ caddy.ConfiguresFormatterDefault = (*Encoder)(nil)
	_ zapcore.Encoder                  = (*Encoder)(nil)
)
