package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// The largest bodies. An import holds a fleet.
const (
	maxBody   = 1 << 20
	maxImport = 32 << 20
)

// exchange is one request to one federation.
type exchange struct {
	*http.Request
	w   http.ResponseWriter
	app *fleet.App
}

// read decodes the body, which must be one JSON value without unknown members.
func (x *exchange) read(value any, limit int64) error {
	decoder := json.NewDecoder(http.MaxBytesReader(x.w, x.Body, limit))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(value)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return refuse(http.StatusBadRequest, "the body has more than one JSON value")
	}
	var tooLarge *http.MaxBytesError
	var wrong *json.UnmarshalTypeError
	name, unknown := strings.CutPrefix(err.Error(), "json: unknown field ")
	switch {
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d MiB", limit>>20)
	case unknown:
		return refuse(http.StatusBadRequest, "%s: unknown field", clip(strings.Trim(name, `"`)))
	case errors.As(err, &wrong) && wrong.Field != "":
		return refuse(http.StatusBadRequest, "%s: a %s does not fit", wrong.Field, wrong.Value)
	case errors.Is(err, io.EOF):
		return refuse(http.StatusBadRequest, "the body is empty, expected a JSON object")
	default:
		return refuse(http.StatusBadRequest, "the body is not the JSON object that was expected")
	}
}

// answer writes a JSON document.
func (x *exchange) answer(status int, body any) error {
	return x.answerAs("application/json", status, body)
}

func (x *exchange) answerAs(contentType string, status int, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	header := x.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-store") // some hold a key that is shown once
	x.w.WriteHeader(status)
	_, _ = x.w.Write(append(encoded, '\n')) // if the caller left, there is nobody to tell
	return nil
}

// node returns the node that the path names.
func (x *exchange) node() (*fleet.Node, error) { return x.nodeNamed(x.PathValue("slug")) }

func (x *exchange) nodeNamed(slug string) (*fleet.Node, error) {
	node := x.app.Snapshot().Node(slug)
	if node == nil {
		return nil, refuse(http.StatusNotFound, "there is no node %q", clip(slug))
	}
	return node, nil
}
