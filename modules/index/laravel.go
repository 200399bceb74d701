package index

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// The laravel face answers as the nodes of the old fleet do, so that an old
// master can ask an index: bare as in December 2025, or enveloped as in June
// 2026. Unlike them it searches everything when no collections are named.

// laravelItem is one result. The class of a document is its collection.
type laravelItem struct {
	ID         jsontext.Value `json:"id"`
	Content    jsontext.Value `json:"content"`
	Score      float64        `json:"score"`
	ModelClass string         `json:"model_class"`
	ModelType  string         `json:"model_type"`
	Title      jsontext.Value `json:"title,omitzero"`
	URL        jsontext.Value `json:"url,omitzero"`
	Metadata   jsontext.Value `json:"metadata,omitzero"`
}

type laravelAnswer struct {
	Results    []laravelItem `json:"results"`
	Count      int           `json:"count"`
	DurationMS float64       `json:"duration_ms"`
}

func (h *Handler) serveLaravel(w http.ResponseWriter, r *http.Request, operation string) error {
	method := http.MethodGet
	if operation == "search" {
		method = http.MethodPost
	}
	enveloped := h.Dialect == "laravel_enveloped"
	switch {
	case operation != "health" && operation != "search" && (operation != "manifest" || !enveloped) && (operation != "collections" || enveloped):
		return write(w, http.StatusNotFound, "application/json", map[string]string{"message": ""})
	case r.Method != method:
		w.Header().Set("Allow", method)
		return write(w, http.StatusMethodNotAllowed, "application/json", map[string]string{"message": "this path takes " + method})
	case operation == "search":
		return h.laravelSearch(w, r)
	case operation == "health":
		return h.laravelHealth(w)
	default:
		return h.laravelInventory(w, operation)
	}
}

// answerLaravel writes a body, in the envelope where the node has one.
func (h *Handler) answerLaravel(w http.ResponseWriter, status int, message string, data any) error {
	if h.Dialect != "laravel_enveloped" {
		return write(w, status, "application/json", data)
	}
	type failed struct {
		Message    string `json:"message"`
		StatusCode int    `json:"status_code"`
	}
	envelope := struct {
		Success bool    `json:"success"`
		Message string  `json:"message"`
		Data    any     `json:"data"`
		Error   *failed `json:"error"`
		Meta    struct {
			StatusCode int    `json:"status_code"`
			Schema     string `json:"schema"`
		} `json:"meta"`
	}{Success: status < 400, Message: message, Data: data}
	envelope.Meta.StatusCode, envelope.Meta.Schema = status, "ai-engine.v1"
	if status >= 400 {
		envelope.Error = &failed{message, status}
	}
	return write(w, status, "application/json", envelope)
}

func (h *Handler) laravelSearch(w http.ResponseWriter, r *http.Request) error {
	start := time.Now()
	body, refused := readBody(r)
	if refused != nil {
		return refused.Write(w, r)
	}
	asked, fields := laravelQuery(body)
	if len(fields) > 0 {
		if h.Dialect == "laravel_enveloped" {
			return h.answerLaravel(w, http.StatusUnprocessableEntity, "the request was refused", map[string]any{"errors": fields})
		}
		return write(w, http.StatusUnprocessableEntity, "application/json", map[string]any{"message": "the request was refused", "errors": fields})
	}
	found, err := h.Search(r.Context(), asked)
	if err != nil {
		detail := failure(err).Detail
		if h.Dialect == "laravel_enveloped" {
			return h.answerLaravel(w, http.StatusInternalServerError, "Search failed", []string{})
		}
		return write(w, http.StatusInternalServerError, "application/json", map[string]string{"error": "Search failed", "message": detail})
	}
	answer := laravelAnswer{Results: []laravelItem{}, Count: len(found.Hits)}
	for _, hit := range found.Hits {
		answer.Results = append(answer.Results, h.item(hit))
	}
	answer.DurationMS = float64(time.Since(start).Microseconds()/10) / 100
	return h.answerLaravel(w, http.StatusOK, "search done", answer)
}

func (h *Handler) item(hit fleet.Hit) laravelItem {
	class := h.Name
	var stored struct {
		Collection string `json:"collection"`
	}
	if json.Unmarshal(hit.Raw, &stored) == nil && stored.Collection != "" {
		class = stored.Collection
	}
	item := laravelItem{ID: hit.ID, Content: hit.Content, Score: hit.Score, ModelClass: class, ModelType: class, Title: hit.Title, URL: hit.URL}
	if item.Content == nil {
		item.Content = jsontext.Value(`""`)
	}
	if h.Dialect == "laravel_enveloped" {
		item.Metadata = hit.Metadata
	}
	return item
}

// laravelQuery reads {query, limit, options}; what it does not know is ignored.
func laravelQuery(body []byte) (*fleet.SearchQuery, map[string][]string) {
	fields := make(map[string]jsontext.Value)
	if json.Unmarshal(body, &fields) != nil {
		fields = nil // broken JSON reads as an empty body
	}
	refused := make(map[string][]string)
	asked := &fleet.SearchQuery{Limit: defaultLimit}
	switch query := fields["query"]; query.Kind() {
	case '"':
		if json.Unmarshal(query, &asked.Text) != nil || strings.TrimSpace(asked.Text) == "" {
			refused["query"] = []string{"query is required"}
		}
	case 'n', jsontext.KindInvalid:
		refused["query"] = []string{"query is required"}
	default:
		refused["query"] = []string{"query must be a string"}
	}
	if limit, given := fields["limit"]; given {
		n, err := strconv.Atoi(string(bytes.Trim(limit, `"`)))
		if err != nil || n < 1 || n > maxLimit {
			refused["limit"] = []string{"limit must be a whole number from 1 to 100"}
		}
		asked.Limit = n
	}
	if options, given := fields["options"]; given {
		var known struct {
			Collections []string       `json:"collections"`
			Filters     jsontext.Value `json:"filters"`
		}
		switch options.Kind() {
		case '[':
		case '{':
			if json.Unmarshal(options, &known) != nil {
				refused["options"] = []string{"options.collections must be an array of strings"}
			}
			asked.Collections = known.Collections
			if known.Filters.Kind() == '{' {
				asked.Filters = known.Filters
			}
		default:
			refused["options"] = []string{"options must be an array"}
		}
	}
	return asked, refused
}

// timestamp is how the old nodes write times.
func timestamp() string { return time.Now().UTC().Format("2006-01-02T15:04:05+00:00") }

func (h *Handler) laravelHealth(w http.ResponseWriter) error {
	info := h.Describe()
	capabilities := []string{"search"}
	if h.Dialect == "laravel" {
		return write(w, http.StatusOK, "application/json", struct {
			Status       string   `json:"status"`
			Version      string   `json:"version"`
			Capabilities []string `json:"capabilities"`
			Timestamp    string   `json:"timestamp"`
		}{"healthy", "1.0.0", capabilities, timestamp()})
	}
	status, state := http.StatusOK, "healthy"
	if info.Error != "" {
		status, state = http.StatusServiceUnavailable, "degraded"
	}
	return h.answerLaravel(w, status, "health", map[string]any{
		"status": state, "ready": info.Error == "", "version": "1.0.0", "name": h.Name,
		"node": map[string]any{"slug": h.Name, "name": h.Name, "label": "index", "role": "client", "type": "child", "aliases": []string{}},
		"checks": map[string]any{
			"documents": map[string]any{"required": true, "healthy": info.Error == "", "message": info.Error},
		},
		"timestamp": timestamp(),
	})
}

// laravelInventory answers the manifest, or the collections before there was one.
func (h *Handler) laravelInventory(w http.ResponseWriter, operation string) error {
	collections := []map[string]any{}
	names := []string{}
	for _, c := range h.Describe().Collections {
		names = append(names, c.Name)
		collections = append(collections, map[string]any{
			"name": c.Name, "class": c.Class, "display_name": c.Name, "description": "", "aliases": []string{},
		})
	}
	if operation == "collections" {
		return write(w, http.StatusOK, "application/json", map[string]any{
			"collections": collections, "count": len(collections), "timestamp": timestamp(),
		})
	}
	return h.answerLaravel(w, http.StatusOK, "manifest", map[string]any{
		"node": map[string]any{"slug": h.Name, "name": h.Name, "label": "index", "role": "client", "type": "child",
			"aliases": []string{}, "version": "1.0.0", "description": ""},
		"capabilities": []string{"search"}, "domains": []string{}, "data_types": names, "keywords": []string{},
		"collections": collections, "ownership": map[string]any{"collections": names, "tools": []string{}},
		"auth": map[string]any{"scheme": "none"}, "timestamp": timestamp(),
	})
}
