package redaction

import (
	"fmt"
	"net/http"
	"reflect"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// extraFields are those that handlers have added to the request's access line,
// such as log_append and tracing. Caddy has no way to read them but in its own
// server, so they are read by reflection, and are lost when Caddy changes their
// type; a test tells.
func extraFields(r *http.Request) []zap.Field {
	extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if !ok || extra == nil {
		return nil
	}
	list := reflect.ValueOf(extra).Elem().FieldByName("fields")
	if !list.IsValid() || list.Type() != reflect.TypeFor[[]zapcore.Field]() {
		return nil
	}
	fields := make([]zap.Field, list.Len())
	for i := range fields {
		f := list.Index(i)
		field := zap.Field{
			Key: f.FieldByName("Key").String(), Type: zapcore.FieldType(f.FieldByName("Type").Uint()),
			Integer: f.FieldByName("Integer").Int(), String: f.FieldByName("String").String(),
		}
		if value := f.FieldByName("Interface"); !value.IsNil() {
			field = zap.String(field.Key, fmt.Sprint(value)) // what is not exported may be looked at, not taken
		}
		if CredentialInQuery(field.String) { // {query} or {uri}
			field.String = Query(field.String)
		}
		fields[i] = field
	}
	return fields
}
