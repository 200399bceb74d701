package search

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/search/fusion"
)

// Limits of a request.
const (
	maxBody   = 64 << 10
	maxQuery  = 4096 // characters
	maxWindow = 1000 // offset + limit
)

// request is a search as it was asked, after validation.
type request struct {
	Query       string         `json:"query"`
	Limit       *int           `json:"limit"`
	Offset      int            `json:"offset"`
	Nodes       []string       `json:"nodes"`
	Collections []string       `json:"collections"`
	Filters     jsontext.Value `json:"filters"`
	Options     jsontext.Value `json:"options"`
	TimeoutMS   *int           `json:"timeout_ms"`
	MinNodes    *int           `json:"min_nodes"`
	Fusion      string         `json:"fusion"`
	Dedup       string         `json:"dedup"`

	limit   int
	timeout time.Duration
}

// requestFields are the members a request may have, for hints.
var requestFields = []string{
	"query", "limit", "offset", "nodes", "collections", "filters", "options", "timeout_ms", "min_nodes", "fusion", "dedup",
}

// parameters are what a GET may carry.
var parameters = []string{"q", "query", "limit", "offset", "nodes", "collections", "timeout_ms", "min_nodes", "fusion", "dedup"}

// badRequest is a request that is refused: what, where, and what was expected.
type badRequest struct {
	status int
	code   string
	field  string
	detail string
}

func (e *badRequest) Error() string { return e.detail }

func invalid(field, format string, args ...any) *badRequest {
	return &badRequest{http.StatusBadRequest, "invalid_request", field, field + ": " + fmt.Sprintf(format, args...)}
}

// readBody reads the whole body, or refuses it.
func readBody(r *http.Request) ([]byte, *badRequest) {
	tooLarge := &badRequest{http.StatusRequestEntityTooLarge, "too_large", "", "the body is larger than 64 KiB"}
	if r.ContentLength > maxBody {
		return nil, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, &badRequest{http.StatusBadRequest, "unreadable_body", "", "the body could not be read to its end"}
	}
	if len(body) > maxBody {
		return nil, tooLarge
	}
	return body, nil
}

// parseNative reads a search of the native face from body or query.
func (h *Handler) parseNative(r *http.Request) (*request, *badRequest) {
	req := new(request)
	if r.Method == http.MethodGet {
		if bad := req.fromQuery(r.URL.RawQuery); bad != nil {
			return nil, bad
		}
	} else {
		body, bad := readBody(r)
		if bad != nil {
			return nil, bad
		}
		if bad := decodeRequest(body, req); bad != nil {
			return nil, bad
		}
	}
	return req, req.validate(h)
}

// decodeRequest reads the JSON of a request; members it does not know are refused.
func decodeRequest(body []byte, req *request) *badRequest {
	if len(strings.TrimSpace(string(body))) == 0 {
		return &badRequest{http.StatusBadRequest, "invalid_json", "", "the body is empty, expected a JSON object with query"}
	}
	err := json.Unmarshal(body, req, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		pointer := strings.TrimPrefix(string(semantic.JSONPointer), "/")
		if errors.Is(err, json.ErrUnknownName) {
			return invalid(clip(pointer), "unknown field%s", subdirective.Hint(pointer, requestFields))
		}
		if pointer == "" {
			return &badRequest{http.StatusBadRequest, "invalid_json", "", "the body is not a JSON object"}
		}
		return invalid(clip(pointer), "expected %s, got %s", expected(pointer), kindName(semantic.JSONKind))
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return invalid(clip(strings.TrimPrefix(string(syntactic.JSONPointer), "/")), "the field is given twice")
		}
		return &badRequest{http.StatusBadRequest, "invalid_json", "", fmt.Sprintf("the body is not valid JSON (at byte %d)", syntactic.ByteOffset)}
	}
	return &badRequest{http.StatusBadRequest, "invalid_json", "", "the body is not valid JSON"}
}

// expected says in words what a field takes.
func expected(pointer string) string {
	field, _, inside := strings.Cut(pointer, "/")
	switch field {
	case "limit", "offset", "timeout_ms", "min_nodes":
		return "a whole number"
	case "nodes", "collections":
		if inside {
			return "a string"
		}
		return "an array of strings"
	case "filters", "options":
		return "an object"
	default:
		return "a string"
	}
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number that does not fit"
	case '{':
		return "an object"
	case '[':
		return "an array"
	default:
		return "something else"
	}
}

// clip keeps a name from the request short enough for an answer.
func clip(name string) string {
	if len(name) <= 64 {
		return name
	}
	return strings.ToValidUTF8(name[:64], "") + "…"
}

// fromQuery reads `?q=…&limit=…&nodes=a,b`.
func (req *request) fromQuery(raw string) *badRequest {
	if len(raw) > maxBody {
		return &badRequest{http.StatusRequestEntityTooLarge, "too_large", "", "the query string is larger than 64 KiB"}
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return &badRequest{http.StatusBadRequest, "invalid_request", "", "the query string is not valid"}
	}
	for name, given := range values {
		if len(given) != 1 {
			return invalid(clip(name), "the parameter is given %d times", len(given))
		}
		value := given[0]
		var target **int
		switch name {
		case "q", "query":
			if req.Query != "" {
				return invalid(name, "q and query are the same; give one")
			}
			req.Query = value
			continue
		case "nodes":
			req.Nodes = splitList(value)
			continue
		case "collections":
			req.Collections = splitList(value)
			continue
		case "fusion":
			req.Fusion = value
			continue
		case "dedup":
			req.Dedup = value
			continue
		case "offset":
			n, err := strconv.Atoi(value)
			if err != nil {
				return invalid(name, "expected a whole number")
			}
			req.Offset = n
			continue
		case "limit":
			target = &req.Limit
		case "timeout_ms":
			target = &req.TimeoutMS
		case "min_nodes":
			target = &req.MinNodes
		default:
			if name == "filters" || name == "options" {
				return invalid(name, "a GET cannot carry it; send a POST with a JSON object")
			}
			return invalid(clip(name), "unknown parameter%s", subdirective.Hint(name, parameters))
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return invalid(name, "expected a whole number")
		}
		*target = &n
	}
	return nil
}

func splitList(value string) []string {
	var list []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// validate checks the values and fills in the handler's defaults.
func (req *request) validate(h *Handler) *badRequest {
	req.Query = strings.TrimSpace(req.Query)
	switch n := utf8.RuneCountInString(req.Query); {
	case n == 0:
		return invalid("query", "required, 1 to %d characters", maxQuery)
	case n > maxQuery:
		return invalid("query", "%d characters, expected at most %d", n, maxQuery)
	case !utf8.ValidString(req.Query):
		return invalid("query", "expected valid UTF-8")
	}
	req.limit = h.Limit
	if req.Limit != nil {
		req.limit = *req.Limit
	}
	if req.limit < 1 || req.limit > h.MaxLimit {
		return invalid("limit", "expected 1 to %d, got %d", h.MaxLimit, req.limit)
	}
	if req.Offset < 0 || req.Offset > maxWindow || req.Offset+req.limit > maxWindow {
		return invalid("offset", "offset + limit must be 1 to %d", maxWindow)
	}
	req.timeout = time.Duration(h.Timeout)
	if req.TimeoutMS != nil {
		if *req.TimeoutMS < 1 {
			return invalid("timeout_ms", "expected a number above 0")
		}
		req.lower(time.Duration(min(*req.TimeoutMS, 1<<31)) * time.Millisecond)
	}
	if req.MinNodes == nil {
		req.MinNodes = &h.MinNodes
	} else if *req.MinNodes < 1 {
		return invalid("min_nodes", "expected a number above 0")
	}
	if req.Fusion == "" {
		req.Fusion = h.Fusion
	}
	if fusion.Methods[req.Fusion] == nil {
		return invalid("fusion", "unknown method%s", subdirective.Hint(req.Fusion, methodNames()))
	}
	if req.Dedup == "" {
		req.Dedup = h.Dedup
	}
	if !slices.Contains(dedupNames, req.Dedup) {
		return invalid("dedup", "unknown%s", subdirective.Hint(req.Dedup, dedupNames))
	}
	for name, value := range map[string]*jsontext.Value{"filters": &req.Filters, "options": &req.Options} {
		if *value == nil || value.Kind() == 'n' {
			*value = nil
		} else if value.Kind() != '{' {
			return invalid(name, "expected an object")
		}
	}
	return nil
}

// lower shortens the time the search may take; a caller never lengthens it.
func (req *request) lower(timeout time.Duration) {
	req.timeout = min(req.timeout, timeout)
}

// preferWait reads `Prefer: wait=<seconds>` (RFC 7240), which lowers the timeout too.
func (req *request) preferWait(header http.Header) {
	for _, line := range header.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
			if !strings.EqualFold(name, "wait") {
				continue
			}
			if seconds, err := strconv.Atoi(strings.Trim(value, `"`)); err == nil && seconds > 0 && seconds < 1<<20 {
				req.lower(time.Duration(seconds) * time.Second)
			}
		}
	}
}

// query is what each node is asked.
func (req *request) query(via []string) *fleet.SearchQuery {
	return &fleet.SearchQuery{
		Text: req.Query, Limit: req.Offset + req.limit, Collections: req.Collections,
		Filters: req.Filters, Options: req.Options, Via: via,
	}
}
