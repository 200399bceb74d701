package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/requestbody"
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

// read decodes the body, which must be one JSON object without unknown members.
func (x *exchange) read(value any, limit int64) error {
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d MiB", limit>>20)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "the body could not be read")
	}
	if err := requestbody.Decode(body, value); err != nil {
		return refuse(http.StatusBadRequest, "%s", err)
	}
	return nil
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
	if node := x.app.Snapshot().Node(slug); node != nil {
		return node, nil
	}
	word, err := x.app.WordOnName(x.Context(), slug)
	if err != nil || word == nil { // nothing more is known of the name
		return nil, refuse(http.StatusNotFound, "there is no node %q", clip(slug))
	}
	said := "a limit of capabilities"
	if word.State != "" {
		said = string(word.State)
	}
	return nil, refuse(http.StatusNotFound, "no node has the name %q now, but what an operator said of the name counts for the next one: %s; "+
		"`nodes enable` lets it in, `nodes rm` frees the name, and so does `nodes add`", slug, said)
}
