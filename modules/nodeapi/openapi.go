package nodeapi

import (
	_ "embed"
	"net/http"
)

// document describes the native face (OpenAPI 3.1). The answers of all
// handlers are tested against it.
//
//go:embed openapi.json
var document []byte

// openapi answers GET /v1/openapi.json.
func (h *Handler) openapi(x *exchange) error {
	header := x.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "public, max-age=300")
	header.Set("X-Content-Type-Options", "nosniff")
	x.w.WriteHeader(http.StatusOK)
	if x.Method == http.MethodHead {
		return nil
	}
	_, err := x.w.Write(document)
	return err
}
