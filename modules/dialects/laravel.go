package dialects

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() { caddy.RegisterModule(new(Laravel)) }

// Laravel speaks to Laravel AI Engine nodes of every era: bare and enveloped
// bodies, `[]` for `{}`, numbers as integers, floats or strings.
type Laravel struct {
	// Prefix is what the paths begin with. Default: /api/ai-engine.
	Prefix string `json:"prefix,omitempty"`
	// Paths replace single paths, by operation: search, health, manifest,
	// collections, chat, tools/execute or actions. They are below the node's URL, not below Prefix. Default: none.
	Paths map[string]string `json:"paths,omitempty"`
	// TokenHeader carries the token: authorization, x-node-token or both.
	// Default: both, which every era reads.
	TokenHeader string `json:"token_header,omitempty"`
	// Threshold is the least score that the node should return, sent as
	// options.threshold. Default: the node's own (0.7, 0.3 or 0, by era).
	Threshold *float64 `json:"threshold,omitempty"`

	where  fleet.TokenHeader
	learnt atomic.Pointer[[]string]
	// learning is a lock that gives up with its caller.
	learning chan struct{}
	tried    time.Time // guarded by learning
}

// laravelMaxLimit is what the nodes accept, per collection.
const laravelMaxLimit = 100

// learnPause is how long a node that told of no collections is not asked again.
const learnPause = 30 * time.Second

var (
	laravelOperations = []string{
		"search", "health", "manifest", "collections", fleet.RelayChat, fleet.RelayTools, fleet.RelayActions,
	}
	tokenHeaders = []string{"authorization", "x-node-token", "both"}
)

// laravelBudget is what every node allows one identity: 60 calls in a minute
// to each path, fixed in its routes.
var laravelBudget = func() *fleet.Budget {
	budget, err := fleet.NewBudget(60, time.Minute, true)
	if err != nil {
		panic(err) // of constants
	}
	return budget
}()

// Budget implements [fleet.Budgeted].
func (*Laravel) Budget() *fleet.Budget { return laravelBudget }

// CaddyModule returns the Caddy module information.
func (*Laravel) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: fleet.DialectNamespace + ".laravel", New: func() caddy.Module { return new(Laravel) }}
}

// Provision fills in the defaults.
func (l *Laravel) Provision(caddy.Context) error {
	l.learning = make(chan struct{}, 1)
	if l.Prefix == "" {
		l.Prefix = "/api/ai-engine"
	}
	l.Prefix = strings.TrimRight(l.Prefix, "/")
	if !strings.HasPrefix(l.Prefix, "/") {
		return fmt.Errorf("prefix %q does not begin with a slash", l.Prefix)
	}
	for operation, path := range l.Paths {
		if !slices.Contains(laravelOperations, operation) {
			return fmt.Errorf("paths: unknown operation %q%s", operation, subdirective.Hint(operation, laravelOperations))
		}
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("path %s: %q does not begin with a slash", operation, path)
		}
	}
	switch l.TokenHeader {
	case "", "both":
		l.where = fleet.TokenBoth
	case "authorization":
		l.where = fleet.TokenAuthorization
	case "x-node-token":
		l.where = fleet.TokenXNodeToken
	default:
		return fmt.Errorf("unknown token_header %q%s", l.TokenHeader, subdirective.Hint(l.TokenHeader, tokenHeaders))
	}
	return nil
}

func (l *Laravel) path(operation string) string {
	if path, ok := l.Paths[operation]; ok {
		return path
	}
	return l.Prefix + "/" + operation
}

// Search implements [fleet.Dialect].
func (l *Laravel) Search(ctx context.Context, node fleet.Caller, query *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
	collections := query.Collections
	if len(collections) == 0 {
		collections = l.collections(ctx, node)
	}
	limit := min(query.Limit, laravelMaxLimit)
	body, err := l.searchBody(query, collections, limit)
	if err != nil {
		return nil, err
	}
	response, err := node.Do(ctx, &fleet.Request{Path: l.path("search"), Body: body, TokenHeader: l.where})
	if err != nil {
		return nil, err
	}
	answer, err := decodeLaravelSearch(response.Body)
	if err != nil {
		return nil, err
	}
	answer.More = len(answer.Hits) >= limit
	if len(collections) > 1 || len(answer.Hits) > query.Limit {
		// the limit is per collection, and collections come one after the other
		slices.SortStableFunc(answer.Hits, func(a, b fleet.Hit) int {
			switch {
			case a.Score > b.Score:
				return -1
			case a.Score < b.Score:
				return 1
			default:
				return 0
			}
		})
		answer.Hits = answer.Hits[:min(query.Limit, len(answer.Hits))]
	}
	if query.Limit > laravelMaxLimit {
		answer.Capped = fmt.Sprintf("the node returns at most %d hits per collection", laravelMaxLimit)
	}
	if len(collections) == 0 && len(answer.Hits) == 0 {
		answer.Note = "the node told of no collections, and searches nothing without"
	}
	return answer, nil
}

// searchBody writes {query, limit, options}. Null is never sent: the nodes refuse it.
func (l *Laravel) searchBody(query *fleet.SearchQuery, collections []string, limit int) ([]byte, error) {
	options := make(map[string]any)
	if query.Options != nil {
		var given map[string]jsontext.Value
		if err := json.Unmarshal(query.Options, &given); err != nil {
			return nil, fmt.Errorf("reading options: %w", err)
		}
		for name, value := range given {
			if value.Kind() != 'n' {
				options[name] = value
			}
		}
	}
	if len(collections) > 0 {
		options["collections"] = collections
	}
	if query.Filters != nil {
		options["filters"] = query.Filters
	}
	if _, given := options["threshold"]; !given && l.Threshold != nil {
		options["threshold"] = *l.Threshold
	}
	request := struct {
		Query   string         `json:"query"`
		Limit   int            `json:"limit"`
		Options map[string]any `json:"options,omitempty"`
	}{query.Text, limit, options}
	return json.Marshal(request, json.Deterministic(true))
}

// collections returns what the node can be asked for when a search names
// nothing: without collections such a node finds nothing.
func (l *Laravel) collections(ctx context.Context, node fleet.Caller) []string {
	if classes := node.Node().CollectionClasses(); len(classes) > 0 {
		return classes
	}
	if learnt := l.learnt.Load(); learnt != nil {
		return *learnt
	}
	if node.Node().Facts() != nil {
		return nil // it was asked, and told of none
	}
	select {
	case l.learning <- struct{}{}:
		defer func() { <-l.learning }()
	case <-ctx.Done():
		return nil
	}
	if learnt := l.learnt.Load(); learnt != nil {
		return *learnt
	}
	if time.Since(l.tried) < learnPause {
		return nil
	}
	report := new(fleet.Report)
	if err := l.inventory(ctx, node, report); err != nil && ctx.Err() != nil {
		return nil // the caller ran out of time; the next one asks again
	}
	l.tried = time.Now()
	if len(report.Collections) == 0 {
		return nil
	}
	classes := make([]string, len(report.Collections))
	for i, c := range report.Collections {
		classes[i] = c.Class
	}
	l.learnt.Store(&classes)
	return classes
}

// hitMembers are the members of an item that become fields of a hit.
var hitMembers = []string{"id", "title", "content", "score"}

// decodeLaravelSearch reads a search answer, bare or enveloped.
func decodeLaravelSearch(body []byte) (*fleet.SearchAnswer, error) {
	s := newScanner(body)
	defer s.release()
	if s.kind() != '{' {
		return nil, fleet.BadPayload("the answer is not an object")
	}
	answer := &fleet.SearchAnswer{Total: -1, Known: hitMembers}
	found := false
	var visit func(name []byte) error
	visit = func(name []byte) error {
		switch {
		case string(name) == "results":
			found = true
			return decodeItems(s, answer)
		case string(name) == "data" && !found && s.kind() == '{':
			return s.object(visit)
		default:
			return s.skip()
		}
	}
	if err := s.object(visit); err != nil {
		return nil, err
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	if !found {
		return nil, fleet.BadPayload("the member results is missing, expected an array")
	}
	return answer, nil
}

// decodeItems reads a list, or what PHP makes of a list with gaps: an object
// with numbers for names.
func decodeItems(s *scanner, answer *fleet.SearchAnswer) error {
	item := func() error {
		if len(answer.Hits) >= maxHits {
			answer.More = true
			return s.skip()
		}
		hit, err := decodeItem(s)
		if err == nil {
			answer.Hits = append(answer.Hits, hit)
		}
		return err
	}
	answer.Hits = make([]fleet.Hit, 0, 20)
	switch s.kind() {
	case '[':
		return s.array(item)
	case '{':
		return s.object(func([]byte) error { return item() })
	default:
		if err := s.skip(); err != nil {
			return err
		}
		return fleet.BadPayload("the member results is not an array")
	}
}

func decodeItem(s *scanner) (hit fleet.Hit, err error) {
	if s.kind() != '{' {
		if err := s.skip(); err != nil {
			return hit, err
		}
		return hit, fleet.BadPayload("an entry of results is not an object")
	}
	start := s.position()
	var name, body, object, metadata, vector, url, ref jsontext.Value
	err = s.object(func(member []byte) error {
		value, err := s.value()
		if err != nil {
			return err
		}
		switch string(member) {
		case "id":
			hit.ID = identifier(value)
		case "title":
			hit.Title = nonEmpty(value)
		case "content":
			hit.Content = nonEmpty(value)
		case "score":
			hit.Score, hit.HasScore = number(value)
			if !hit.HasScore && value.Kind() != 'n' {
				return fleet.BadPayload("the member score of an entry is not a number")
			}
		case "name":
			name = nonEmpty(value)
		case "body":
			body = nonEmpty(value)
		case "object":
			object = value
		case "metadata":
			metadata = value
		case "vector_metadata":
			vector = value
		case "entity_ref":
			ref = value
		case "url":
			url = webURL(value)
		}
		return nil
	})
	if err != nil {
		return hit, err
	}
	hit.Raw = s.body[start:s.decoder.InputOffset()]
	complete(&hit, name, body, url, object, metadata, vector, ref)
	return hit, nil
}

// complete looks for what the item says elsewhere, only where it is missing.
func complete(hit *fleet.Hit, name, body, url, object, metadata, vector, ref jsontext.Value) {
	hit.URL = url
	if hit.Title == nil {
		hit.Title = name
	}
	if hit.Content == nil {
		hit.Content = body
	}
	if hit.Title == nil || hit.Content == nil || hit.URL == nil {
		m := members(object, "title", "summary", "url")
		if hit.Title == nil {
			hit.Title = nonEmpty(m[0])
		}
		if hit.Content == nil {
			hit.Content = nonEmpty(m[1])
		}
		if hit.URL == nil {
			hit.URL = webURL(m[2])
		}
	}
	if hit.Title == nil || hit.URL == nil || hit.ID == nil {
		for _, value := range []jsontext.Value{metadata, vector, ref} {
			m := members(value, "title", "url", "model_id")
			if hit.Title == nil {
				hit.Title = nonEmpty(m[0])
			}
			if hit.URL == nil {
				hit.URL = webURL(m[1])
			}
			if hit.ID == nil {
				hit.ID = identifier(m[2])
			}
		}
	}
}

// Interface guards
var (
	_ fleet.Dialect     = (*Laravel)(nil)
	_ fleet.Checker     = (*Laravel)(nil)
	_ caddy.Provisioner = (*Laravel)(nil)
)
