// Package problem writes the errors of our HTTP faces: RFC 9457
// application/problem+json, and in the compatible face the members that
// clients of the old fleet read, in the same body.
package problem

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Problem is one error as a client sees it. Nothing internal may get into it:
// no secret, address, stack or chain of Go errors.
type Problem struct {
	// Status is the HTTP status.
	Status int
	// Code is a word for programs ("invalid_request"). It never changes once published.
	Code string
	// Detail says what happened, where, and what was expected.
	Detail string
	// RetryAfter is when to try again, in whole seconds rounded up; 0: not said.
	RetryAfter time.Duration
	// TraceID finds the request in logs.
	TraceID string
	// Nodes is the report per node as a JSON array, or nil.
	Nodes jsontext.Value
	// NodeStatus is the state of a node that may not act, or empty.
	NodeStatus string
	// Compatible adds the members old clients read: success, error, message,
	// and errors when Fields is set.
	Compatible bool
	// Error is the `error` member of the compatible face. Default: the
	// status's own text.
	Error string
	// Fields are the refused request fields with their reasons.
	Fields map[string][]string
}

type body struct {
	Type       string              `json:"type"`
	Title      string              `json:"title"`
	Status     int                 `json:"status"`
	Detail     string              `json:"detail"`
	Instance   string              `json:"instance,omitempty"`
	Code       string              `json:"code"`
	TraceID    string              `json:"trace_id,omitempty"`
	RetryAfter int64               `json:"retry_after,omitzero"`
	Nodes      jsontext.Value      `json:"nodes,omitzero"`
	NodeStatus string              `json:"node_status,omitempty"`
	Success    *bool               `json:"success,omitempty"`
	Error      string              `json:"error,omitempty"`
	Message    string              `json:"message,omitempty"`
	Errors     map[string][]string `json:"errors,omitempty"`
}

// Write sends the problem as the answer to r.
func (p Problem) Write(w http.ResponseWriter, r *http.Request) error {
	b := body{
		Type: "about:blank", Title: http.StatusText(p.Status), Status: p.Status, Detail: p.Detail,
		Instance: r.URL.Path, Code: p.Code, TraceID: p.TraceID, Nodes: p.Nodes, NodeStatus: p.NodeStatus,
	}
	header := w.Header()
	if p.RetryAfter > 0 {
		b.RetryAfter = int64(math.Ceil(p.RetryAfter.Seconds()))
		header.Set("Retry-After", strconv.FormatInt(b.RetryAfter, 10))
	}
	contentType := "application/problem+json"
	if p.Compatible {
		no := false
		b.Success, b.Error, b.Message, b.Errors = &no, p.Error, p.Detail, p.Fields
		if b.Error == "" && p.Fields == nil {
			b.Error = b.Title
		}
		contentType = "application/json"
	}
	text, err := json.Marshal(b, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(p.Status)
	_, err = w.Write(text)
	return err
}
