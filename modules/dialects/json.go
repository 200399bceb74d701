package dialects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() { caddy.RegisterModule(new(JSON)) }

// JSON speaks to any search API that answers JSON: Elasticsearch, Meilisearch,
// Typesense, Solr, or your own. Where things stand in the answer is said by
// JSON pointers (RFC 6901); those of a hit are relative to the hit.
type JSON struct {
	// Method of the search. Default: POST with a Request, else GET.
	Method string `json:"method,omitempty"`
	// Path of the search, below the node's URL, with the placeholders
	// {query}, {limit} and {collections} (comma separated). Required.
	Path string `json:"path,omitempty"`
	// Request is the body to send: a JSON text in whose strings the
	// placeholders {query}, {limit}, {collections}, {filters} and {options}
	// stand. A string that is one placeholder and nothing else becomes the
	// value itself: "{limit}" becomes 10, not "10". Default: no body.
	Request string `json:"request,omitempty"`
	// Headers to send beside the usual ones. Default: none.
	Headers http.Header `json:"headers,omitempty"`
	// Hits is where the array of hits is. Default: the first of /hits/hits,
	// /hits, /results, /data, /items and the whole answer that is an array.
	Hits string `json:"hits,omitempty"`
	// Total is where the number of all matches is. Default: not read.
	Total string `json:"total,omitempty"`
	// ID is where a hit's id is. Default: /id.
	ID string `json:"id,omitempty"`
	// Title is where a hit's title is. Default: /title.
	Title string `json:"title,omitempty"`
	// Content is where a hit's text is. Default: /content.
	Content string `json:"content,omitempty"`
	// Score is where a hit's score is. Default: /score.
	Score string `json:"score,omitempty"`
	// ScoreOrder is desc when a higher score is better, asc when a lower one
	// is (a distance). Default: desc.
	ScoreOrder string `json:"score_order,omitempty"`
	// URL is where a hit's address is. Default: /url.
	URL string `json:"url,omitempty"`
	// MaxLimit is the most hits the API returns. Default: 1,000.
	MaxLimit int `json:"max_limit,omitempty"`
	// Health is a path that answers 2xx while the node is well. Default: a
	// search is not tried, and the node's health stays unknown.
	Health string `json:"health,omitempty"`

	path, request template
	pointers      struct{ hits, total, id, title, content, score, url []string }
	known         []string
}

// CaddyModule returns the Caddy module information.
func (*JSON) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: fleet.DialectNamespace + ".json", New: func() caddy.Module { return new(JSON) }}
}

// Provision reads templates and pointers, so that a mistake shows when the
// config is loaded.
func (j *JSON) Provision(caddy.Context) (err error) {
	if !strings.HasPrefix(j.Path, "/") {
		return fmt.Errorf("path %q does not begin with a slash", j.Path)
	}
	if j.path, err = pathTemplate(j.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if j.Request != "" {
		if j.request, err = jsonTemplate(j.Request); err != nil {
			return fmt.Errorf("request: %w", err)
		}
	}
	if j.Method == "" {
		j.Method = http.MethodGet
		if j.Request != "" {
			j.Method = http.MethodPost
		}
	}
	if !httpguts.ValidHeaderFieldName(j.Method) {
		return fmt.Errorf("method %q is not an HTTP method", j.Method)
	}
	switch j.ScoreOrder {
	case "":
		j.ScoreOrder = "desc"
	case "asc", "desc":
	default:
		return fmt.Errorf("unknown score_order %q%s", j.ScoreOrder, subdirective.Hint(j.ScoreOrder, []string{"asc", "desc"}))
	}
	if j.Health != "" && !strings.HasPrefix(j.Health, "/") {
		return fmt.Errorf("health %q does not begin with a slash", j.Health)
	}
	if j.MaxLimit == 0 {
		j.MaxLimit = 1000
	}
	return j.provisionPointers()
}

func (j *JSON) provisionPointers() (err error) {
	p := &j.pointers
	for _, field := range []struct {
		name, text, standard string
		target               *[]string
	}{
		{"hits", j.Hits, "", &p.hits}, {"total", j.Total, "", &p.total}, {"id", j.ID, "/id", &p.id},
		{"title", j.Title, "/title", &p.title}, {"content", j.Content, "/content", &p.content},
		{"score", j.Score, "/score", &p.score}, {"url", j.URL, "/url", &p.url},
	} {
		text := field.text
		if text == "" {
			text = field.standard
		}
		if *field.target, err = parsePointer(text); err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
		if len(*field.target) == 1 && field.name != "hits" && field.name != "total" {
			j.known = append(j.known, (*field.target)[0])
		}
	}
	return nil
}

// Search implements [fleet.Dialect].
func (j *JSON) Search(ctx context.Context, node fleet.Caller, query *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
	asked := *query
	asked.Limit = min(query.Limit, j.MaxLimit)
	request := &fleet.Request{Method: j.Method, Path: string(j.path.expand(nil, &asked)), Header: j.Headers}
	if j.request != nil {
		request.Body = j.request.expand(nil, &asked)
	}
	response, err := node.Do(ctx, request)
	if err != nil {
		return nil, err
	}
	answer, err := j.decode(response.Body)
	if err != nil {
		return nil, err
	}
	answer.More = answer.More || len(answer.Hits) >= asked.Limit || answer.Total > len(answer.Hits)
	if asked.Limit < query.Limit {
		answer.Capped = fmt.Sprintf("the node returns at most %d hits", j.MaxLimit)
	}
	return answer, nil
}

// usualHits is where hits are found in most APIs.
var usualHits = [][]string{{"hits", "hits"}, {"hits"}, {"results"}, {"data"}, {"items"}, {}}

func (j *JSON) decode(body []byte) (*fleet.SearchAnswer, error) {
	root := jsontext.Value(bytes.TrimSpace(body))
	if !root.IsValid() {
		return nil, fleet.BadPayload("the answer is not valid JSON")
	}
	var list jsontext.Value
	if j.Hits != "" {
		if list = resolve(root, j.pointers.hits); list.Kind() != '[' {
			return nil, fleet.BadPayload("there is no array at %s", j.Hits)
		}
	} else {
		for _, pointer := range usualHits {
			if list = resolve(root, pointer); list.Kind() == '[' {
				break
			}
		}
		if list.Kind() != '[' {
			return nil, fleet.BadPayload("there is no array of hits; say where with hits <pointer>")
		}
	}
	answer := &fleet.SearchAnswer{Total: -1, Known: j.known, Hits: make([]fleet.Hit, 0, 20)}
	if j.Total != "" {
		if total, ok := number(resolve(root, j.pointers.total)); ok && total >= 0 && total < 1e15 {
			answer.Total = int(total)
		}
	}
	s := newScanner(list)
	defer s.release()
	err := s.array(func() error {
		value, err := s.value()
		if err != nil {
			return err
		}
		if len(answer.Hits) >= maxHits {
			answer.More = true
			return nil
		}
		hit, err := j.hit(value)
		answer.Hits = append(answer.Hits, hit)
		return err
	})
	return answer, err
}

func (j *JSON) hit(value jsontext.Value) (fleet.Hit, error) {
	if value.Kind() != '{' {
		return fleet.Hit{}, fleet.BadPayload("a hit is not an object")
	}
	p := &j.pointers
	hit := fleet.Hit{
		ID: identifier(resolve(value, p.id)), Title: nonEmpty(first(resolve(value, p.title))),
		Content: nonEmpty(first(resolve(value, p.content))), URL: nonEmpty(first(resolve(value, p.url))),
		Raw: value,
	}
	if score := resolve(value, p.score); score != nil && score.Kind() != 'n' {
		if hit.Score, hit.HasScore = number(score); !hit.HasScore {
			return hit, fleet.BadPayload("the score of a hit is not a number")
		}
		if j.ScoreOrder == "asc" {
			hit.Score = -hit.Score
		}
	}
	return hit, nil
}

// first takes the first string of an array, as Solr sends every field.
func first(value jsontext.Value) jsontext.Value {
	if value.Kind() != '[' {
		return value
	}
	return resolve(value, []string{"0"})
}

// Probe implements [fleet.Dialect].
func (j *JSON) Probe(ctx context.Context, node fleet.Caller) (*fleet.Report, error) {
	if j.Health == "" {
		return &fleet.Report{Dialect: "json", Health: fleet.HealthUnknown}, nil
	}
	if _, err := node.Do(ctx, &fleet.Request{Path: j.Health, Header: j.Headers}); err != nil {
		return nil, err
	}
	return &fleet.Report{Dialect: "json", Health: fleet.HealthHealthy}, nil
}

// parsePointer reads a JSON pointer into its reference tokens.
func parsePointer(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] != '/' {
		return nil, fmt.Errorf("%q is not a JSON pointer, which begins with a slash", text)
	}
	tokens := strings.Split(text[1:], "/")
	if len(tokens) > fleet.MaxJSONDepth {
		return nil, fmt.Errorf("%q is deeper than %d levels", text, fleet.MaxJSONDepth)
	}
	for i, token := range tokens {
		for k := range len(token) {
			if token[k] == '~' && (k+1 == len(token) || token[k+1] != '0' && token[k+1] != '1') {
				return nil, fmt.Errorf("%q is not a JSON pointer: ~ is written ~0", text)
			}
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

// resolve follows a pointer; nil where it leads nowhere.
func resolve(value jsontext.Value, pointer []string) jsontext.Value {
	for _, token := range pointer {
		switch value.Kind() {
		case '{':
			value = members(value, token)[0]
		case '[':
			value = element(value, token)
		default:
			return nil
		}
	}
	return value
}

// element returns an array's element by its decimal index.
func element(value jsontext.Value, token string) (found jsontext.Value) {
	index, ok := number(jsontext.Value(token))
	if !ok || index < 0 {
		return nil
	}
	s := newScanner(value)
	defer s.release()
	i := 0
	_ = s.array(func() error {
		v, err := s.value()
		if i == int(index) {
			found = v
			return errFound
		}
		i++
		return err
	})
	return found
}

// errFound ends a walk early; nobody sees it.
var errFound = errors.New("found")
