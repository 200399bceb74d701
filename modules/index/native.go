package index

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// What a request may ask for; the same as of a gateway.
const (
	maxBody      = 64 << 10
	maxQuery     = 4096
	maxLimit     = 100
	defaultLimit = 10
)

// nativeRequest is the part of the native face that one index can answer.
type nativeRequest struct {
	Query       string         `json:"query"`
	Limit       *int           `json:"limit"`
	Offset      int            `json:"offset"`
	Collections []string       `json:"collections"`
	Filters     jsontext.Value `json:"filters"`
	Options     jsontext.Value `json:"options"`
}

type nativeAnswer struct {
	Query    string       `json:"query"`
	TraceID  string       `json:"trace_id"`
	TookMS   float64      `json:"took_ms"`
	Partial  bool         `json:"partial"`
	Fallback bool         `json:"fallback"`
	Total    nativeTotal  `json:"total"`
	Hits     []nativeHit  `json:"hits"`
	Nodes    []nativeNode `json:"nodes"`
}

type nativeTotal struct {
	Value    int    `json:"value"`
	Relation string `json:"relation"`
}

type nativeHit struct {
	ID       jsontext.Value `json:"id"`
	Title    jsontext.Value `json:"title,omitzero"`
	Content  jsontext.Value `json:"content,omitzero"`
	URL      jsontext.Value `json:"url,omitzero"`
	Score    float64        `json:"score"`
	Rank     int            `json:"rank"`
	Node     string         `json:"node"`
	Metadata jsontext.Value `json:"metadata"`
}

type nativeNode struct {
	Node   string  `json:"node"`
	Status string  `json:"status"`
	Hits   int     `json:"hits"`
	TookMS float64 `json:"took_ms"`
	Reason string  `json:"reason"`
}

func refuse(status int, code, detail string) *problem.Problem {
	return &problem.Problem{Status: status, Code: code, Detail: detail}
}

// readBody reads a request's body, or refuses it.
func readBody(r *http.Request) ([]byte, *problem.Problem) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "unreadable_body", "the body could not be read to its end")
	}
	if len(body) > maxBody {
		return nil, refuse(http.StatusRequestEntityTooLarge, "too_large", "the body is larger than 64 KiB")
	}
	return body, nil
}

func (h *Handler) parseNative(r *http.Request) (*nativeRequest, *problem.Problem) {
	var req nativeRequest
	switch r.Method {
	case http.MethodGet:
		for name, values := range r.URL.Query() {
			n, err := strconv.Atoi(values[0])
			switch name {
			case "q", "query":
				req.Query, err = values[0], nil
			case "limit":
				req.Limit = &n
			case "offset":
				req.Offset = n
			case "collections":
				req.Collections, err = strings.Split(values[0], ","), nil
			default:
				return nil, refuse(http.StatusBadRequest, "invalid_request", "unknown parameter; known are q, limit, offset, collections")
			}
			if err != nil {
				return nil, refuse(http.StatusBadRequest, "invalid_request", name+": expected a whole number")
			}
		}
	default:
		body, refused := readBody(r)
		if refused != nil {
			return nil, refused
		}
		if err := json.Unmarshal(body, &req, json.RejectUnknownMembers(true)); err != nil {
			detail := "the body is not valid JSON, expected an object with query, limit, offset, collections, filters, options"
			var semantic *json.SemanticError
			if errors.As(err, &semantic) && semantic.JSONPointer != "" && len(semantic.JSONPointer) < 64 {
				detail = strings.TrimPrefix(string(semantic.JSONPointer), "/") + ": unknown field, or not of the type that is expected"
			}
			return nil, refuse(http.StatusBadRequest, "invalid_request", detail)
		}
	}
	req.Query = strings.TrimSpace(req.Query)
	if n := utf8.RuneCountInString(req.Query); n == 0 || n > maxQuery || !utf8.ValidString(req.Query) {
		return nil, refuse(http.StatusBadRequest, "invalid_request", "query: required, 1 to 4096 characters")
	}
	if req.Limit == nil {
		limit := defaultLimit
		req.Limit = &limit
	}
	if *req.Limit < 1 || *req.Limit > maxLimit || req.Offset < 0 || req.Offset > 1000-*req.Limit {
		return nil, refuse(http.StatusBadRequest, "invalid_request", "limit: 1 to 100; offset + limit: at most 1000")
	}
	if req.Filters.Kind() == 'n' {
		req.Filters = nil
	}
	if req.Filters != nil && req.Filters.Kind() != '{' {
		return nil, refuse(http.StatusBadRequest, "invalid_request", "filters: expected an object")
	}
	return &req, nil
}

// serveSearch answers as a gateway with one node would.
func (h *Handler) serveSearch(w http.ResponseWriter, r *http.Request) error {
	start := time.Now()
	trace := fleet.TraceFromRequest(r)
	w.Header().Set("X-Trace-Id", trace.ID)
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		return refuse(http.StatusMethodNotAllowed, "method_not_allowed", "a search is a GET or a POST").Write(w, r)
	}
	req, refused := h.parseNative(r)
	if refused != nil {
		refused.TraceID = trace.ID
		return refused.Write(w, r)
	}
	found, err := h.Search(r.Context(), &fleet.SearchQuery{
		Text: req.Query, Limit: req.Offset + *req.Limit, Collections: req.Collections, Filters: req.Filters,
	})
	if err != nil {
		p := failure(err)
		p.TraceID = trace.ID
		return p.Write(w, r)
	}
	answer := nativeAnswer{
		Query: req.Query, TraceID: trace.ID, Hits: []nativeHit{},
		Total: nativeTotal{Value: found.Total, Relation: "eq"},
	}
	for i, hit := range found.Hits[min(req.Offset, len(found.Hits)):] {
		answer.Hits = append(answer.Hits, nativeHit{
			ID: hit.ID, Title: hit.Title, Content: hit.Content, URL: hit.URL, Score: hit.Score,
			Rank: req.Offset + i + 1, Node: h.Name, Metadata: hit.Metadata,
		})
	}
	status := "ok"
	if len(answer.Hits) == 0 {
		status = "empty"
	}
	answer.TookMS = float64(time.Since(start).Microseconds()) / 1000
	answer.Nodes = []nativeNode{{Node: h.Name, Status: status, Hits: len(found.Hits), TookMS: answer.TookMS, Reason: found.Note}}
	return write(w, http.StatusOK, "application/json", answer)
}

// failure is how a search of the index that failed is told.
func failure(err error) *problem.Problem {
	var payload *fleet.PayloadError
	switch {
	case errors.As(err, &payload):
		return refuse(http.StatusBadRequest, "invalid_request", payload.Reason)
	case fleet.Timeout(err):
		return refuse(http.StatusGatewayTimeout, "timeout", "the search ran out of time")
	default:
		return refuse(http.StatusServiceUnavailable, "index_unavailable", "the index cannot be searched now")
	}
}

// serveHealth answers with an application/health+json document.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return refuse(http.StatusMethodNotAllowed, "method_not_allowed", "health is a GET").Write(w, r)
	}
	info := h.Describe()
	document := struct {
		Status      string             `json:"status"`
		Description string             `json:"description"`
		Output      string             `json:"output,omitempty"`
		Documents   uint64             `json:"documents"`
		Collections []fleet.Collection `json:"collections"`
	}{"pass", "index " + h.Name, info.Error, info.Documents, info.Collections}
	switch {
	case info.Error != "":
		document.Status = "warn"
	case !info.Ready:
		document.Status, document.Output = "warn", noteBuilding
	}
	return write(w, http.StatusOK, "application/health+json", document)
}

// write sends a JSON document.
func write(w http.ResponseWriter, status int, contentType string, document any) error {
	body, err := json.Marshal(document, json.FormatNilSliceAsNull(false))
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-cache, private")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}
