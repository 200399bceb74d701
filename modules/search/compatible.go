package search

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// compatibleMaxLimit is what the old nodes accept.
const compatibleMaxLimit = 100

// serveCompatible answers `POST /api/ai-engine/search` as an old master would
// read it: a bare body, lenient about numbers in strings, strict about null.
func (h *Handler) serveCompatible(w http.ResponseWriter, r *http.Request) error {
	trace := fleet.TraceFromRequest(r)
	echoTrace(w, r, trace)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		return problem.Problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Compatible: true,
			Detail: "a search is a POST", TraceID: trace.ID}.Write(w, r)
	}
	req, refused := h.parseCompatible(r)
	if refused == nil {
		refused = h.standing(w, r)
	}
	if refused == nil {
		var found *result
		found, refused = h.search(r, req, trace)
		countSearch(r, found, refused)
		if r.Context().Err() != nil {
			return nil
		}
		if found != nil {
			h.setHeaders(w.Header(), found)
		}
		if refused == nil {
			return found.write(w, found.appendCompatible)
		}
		refused.Error = "Search failed"
	} else {
		countSearch(r, nil, refused)
	}
	refused.Compatible, refused.TraceID = true, trace.ID
	return refused.Write(w, r)
}

// parseCompatible reads {query, limit, options}. What it does not know is
// ignored, as the old nodes do; a body that is not JSON is an empty one.
func (h *Handler) parseCompatible(r *http.Request) (*request, *problem.Problem) {
	body, bad := readBody(r)
	if bad != nil {
		return nil, bad.problem()
	}
	fields := compatibleFields(r.Header.Get("Content-Type"), body)
	refused := make(map[string][]string)
	req := new(request)

	query := fields["query"]
	switch query.Kind() {
	case '"':
		req.Query = strings.TrimSpace(string(text(query)))
		if n := utf8.RuneCountInString(req.Query); n == 0 {
			refused["query"] = []string{"query is required"}
		} else if n > maxQuery {
			refused["query"] = []string{"query must be at most 4096 characters"}
		}
	case 'n', jsontext.KindInvalid:
		refused["query"] = []string{"query is required"}
	default:
		refused["query"] = []string{"query must be a string"}
	}
	if value, given := fields["limit"]; given {
		n, ok := compatibleInteger(value)
		switch {
		case !ok:
			refused["limit"] = []string{"limit must be a whole number"}
		case n < 1:
			refused["limit"] = []string{"limit must be at least 1"}
		case n > min(compatibleMaxLimit, h.MaxLimit):
			refused["limit"] = []string{"limit must be at most " + strconv.Itoa(min(compatibleMaxLimit, h.MaxLimit))}
		default:
			req.Limit = &n
		}
	}
	if value, given := fields["options"]; given {
		if reason := req.compatibleOptions(value); reason != "" {
			refused["options"] = []string{reason}
		}
	}
	if len(refused) > 0 {
		return nil, &problem.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_request",
			Detail: "the request was refused", Fields: refused}
	}
	if bad := req.validate(h); bad != nil {
		return nil, &problem.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_request",
			Detail: "the request was refused", Fields: map[string][]string{bad.field: {bad.detail}}}
	}
	return req, nil
}

// compatibleFields returns the members of a JSON object or a form.
func compatibleFields(contentType string, body []byte) map[string]jsontext.Value {
	fields := make(map[string]jsontext.Value)
	media, _, _ := mime.ParseMediaType(contentType)
	// curl names JSON a form unless it is told otherwise
	if media == "application/x-www-form-urlencoded" && !strings.HasPrefix(strings.TrimSpace(string(body)), "{") {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return fields
		}
		for _, name := range []string{"query", "limit"} {
			if form.Has(name) {
				quoted, err := jsontext.AppendQuote(nil, form.Get(name))
				if err == nil {
					fields[name] = quoted
				}
			}
		}
		return fields
	}
	if err := jsonv2.Unmarshal(body, &fields); err != nil {
		return make(map[string]jsontext.Value)
	}
	return fields
}

// compatibleInteger accepts 5 and "5", as the old validation does.
func compatibleInteger(value jsontext.Value) (int, bool) {
	digits := string(value)
	if value.Kind() == '"' {
		digits = strings.TrimSpace(string(text(value)))
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// compatibleOptions takes collections and filters out of the options and
// passes the rest on. It returns a reason to refuse them, or nothing.
func (req *request) compatibleOptions(value jsontext.Value) string {
	switch value.Kind() {
	case '[':
		return "" // an empty PHP array, or a list that names nothing
	case '{':
	default:
		return "options must be an array"
	}
	var options map[string]jsontext.Value
	if err := jsonv2.Unmarshal(value, &options); err != nil {
		return "options must be an array"
	}
	if collections, given := options["collections"]; given {
		if err := jsonv2.Unmarshal(collections, &req.Collections); err != nil {
			return "options.collections must be an array of strings"
		}
		delete(options, "collections")
	}
	if filters := options["filters"]; filters.Kind() == '{' {
		req.Filters = filters
	}
	delete(options, "filters")
	if len(options) > 0 {
		rest, err := json.Marshal(options)
		if err != nil {
			return "options must be an array"
		}
		req.Options = rest
	}
	return ""
}

// appendCompatible writes what an old master read: the items as the nodes sent
// them, with their source.
func (f *result) appendCompatible(b []byte) []byte {
	page := f.page()
	perNode := make([]int, len(f.reports))
	b = append(b, `{"results":[`...)
	for i, d := range page {
		if i > 0 {
			b = append(b, ',')
		}
		best := d.copies[0]
		perNode[best.list]++
		b = f.appendItem(b, best, d.score)
	}
	b = append(b, `],"count":`...)
	b = strconv.AppendInt(b, int64(len(page)), 10)
	b = append(b, `,"duration_ms":`...)
	b = appendMS(b, time.Since(f.start))
	b = append(b, `,"query":`...)
	b = appendString(b, f.request.Query)
	b = append(b, `,"total_results":`...)
	b = strconv.AppendInt(b, int64(len(page)), 10)
	b = append(b, `,"nodes_searched":`...)
	searched := f.asked
	if len(f.reports) > 0 && f.reports[len(f.reports)-1].local {
		searched++
	}
	b = strconv.AppendInt(b, int64(searched), 10)
	b = append(b, `,"node_breakdown":{`...)
	first := true
	for i, n := range perNode {
		if n == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, '"')
		b = append(b, f.reports[i].slug...)
		b = append(b, `":`...)
		b = strconv.AppendInt(b, int64(n), 10)
	}
	b = append(b, '}')
	if f.fallback() {
		b = append(b, `,"fallback":true`...)
	}
	return append(b, '}', '\n')
}

// appendItem writes one result: id, content, title and url, the merged score,
// and what else the node said.
func (f *result) appendItem(b []byte, best copyOf, score float64) []byte {
	hit := best.hit
	b = append(b, `{"id":`...)
	if hit.ID == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, hit.ID...)
	}
	b = append(b, `,"content":`...)
	b = appendText(b, hit.Content)
	if hit.Title != nil {
		b = append(b, `,"title":`...)
		b = appendText(b, hit.Title)
	}
	if hit.URL != nil {
		b = append(b, `,"url":`...)
		b = appendText(b, hit.URL)
	}
	b = append(b, `,"score":`...)
	if hit.HasScore {
		b = appendFloat(b, hit.Score)
	} else {
		b = appendFloat(b, score)
	}
	if hit.Metadata.Kind() == '{' {
		b = append(b, `,"metadata":`...)
		b = append(b, hit.Metadata...)
	} else {
		eachMember(hit, f.reports[best.list].answer.Known, func(name, value []byte) {
			switch string(text(name)) {
			case "id", "content", "title", "url", "score", "source_node", "source_node_name":
				return
			}
			b = append(b, ',')
			b = append(b, name...)
			b = append(b, ':')
			b = append(b, value...)
		})
	}
	b = append(b, `,"source_node":"`...)
	b = append(b, f.reports[best.list].slug...)
	b = append(b, `","source_node_name":`...)
	b = appendString(b, f.reports[best.list].name)
	return append(b, '}')
}
