// Package strictjson decodes configurations as Caddy does, and names the member
// that is wrong. encoding/json does not where a type reads itself, as Caddy's
// durations do: of `{"breaker": {"open": "x"}}` it says only that x is no
// duration.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Unmarshal decodes data into what into points to, and refuses members that it
// does not have. An error of a value begins with the member's path, as in
// "nodes[1].timeout: …". The type that into points to must not implement
// [json.Unmarshaler] by this function.
func Unmarshal(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		return nil
	}
	if path, cause := culprit(data, reflect.TypeOf(into).Elem()); path != "" {
		return fmt.Errorf("%s: %w", path, cause)
	}
	return err
}

var (
	durationType    = reflect.TypeFor[caddy.Duration]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

// culprit returns the path of the value that cannot be decoded as its type, and
// why; an empty path when it is data itself.
func culprit(data []byte, typ reflect.Type) (string, error) {
	err := json.Unmarshal(data, reflect.New(typ).Interface())
	if err == nil {
		return "", nil
	}
	if typ == durationType {
		return "", fmt.Errorf(`%s is not a duration, expected one as in "5s", or nanoseconds`, data)
	}
	if reflect.PointerTo(typ).Implements(unmarshalerType) {
		return "", err
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return culprit(data, typ.Elem())
	case reflect.Slice:
		var elements []json.RawMessage
		if json.Unmarshal(data, &elements) != nil {
			return "", err
		}
		for i, element := range elements {
			if path, cause := culprit(element, typ.Elem()); cause != nil {
				return joined(fmt.Sprintf("[%d]", i), path), cause
			}
		}
	case reflect.Struct:
		var members map[string]json.RawMessage
		if json.Unmarshal(data, &members) != nil {
			return "", err
		}
		for _, field := range reflect.VisibleFields(typ) { // those of embedded ones too
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			for given, value := range members {
				if !strings.EqualFold(given, name) {
					continue
				}
				if path, cause := culprit(value, field.Type); cause != nil {
					return joined(name, path), cause
				}
			}
		}
	}
	return "", err
}

func joined(name, below string) string {
	if below == "" || strings.HasPrefix(below, "[") {
		return name + below
	}
	return name + "." + below
}
