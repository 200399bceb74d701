package dialects

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() { caddy.RegisterModule(new(Gateway)) }

// Gateway speaks to another gateway of ours, or to a node served by
// federation_index: federations of federations. A search tells whom it has
// passed, and one that comes round is refused with 508.
type Gateway struct {
	// Prefix is what the paths begin with. Default: none, so that searches go
	// to /v1/search.
	Prefix string `json:"prefix,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Gateway) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: fleet.DialectNamespace + ".gateway", New: func() caddy.Module { return new(Gateway) }}
}

// Provision checks the prefix.
func (g *Gateway) Provision(caddy.Context) error {
	g.Prefix = strings.TrimRight(g.Prefix, "/")
	if g.Prefix != "" && !strings.HasPrefix(g.Prefix, "/") {
		return fmt.Errorf("prefix %q does not begin with a slash", g.Prefix)
	}
	return nil
}

// gatewayMaxLimit is what another gateway accepts unless it is configured otherwise.
const gatewayMaxLimit = 100

// Search implements [fleet.Dialect].
func (g *Gateway) Search(ctx context.Context, node fleet.Caller, query *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
	limit := min(query.Limit, gatewayMaxLimit)
	body, err := appendGatewaySearch(make([]byte, 0, 64+2*len(query.Text)), query, limit)
	if err != nil {
		return nil, fmt.Errorf("writing the search: %w", err)
	}
	request := &fleet.Request{Path: g.Prefix + "/v1/search", Body: body}
	if len(query.Via) > 0 {
		request.Header = http.Header{fleet.ViaHeader: {strings.Join(query.Via, ", ")}}
	}
	response, err := node.Do(ctx, request)
	if err != nil {
		return nil, err
	}
	answer, err := decodeGatewaySearch(response.Body)
	if err != nil {
		return nil, err
	}
	if query.Limit > gatewayMaxLimit {
		answer.Capped = fmt.Sprintf("the node returns at most %d hits", gatewayMaxLimit)
	}
	return answer, nil
}

// appendGatewaySearch writes what the native face takes, and no more: it
// refuses members it does not know.
func appendGatewaySearch(b []byte, query *fleet.SearchQuery, limit int) ([]byte, error) {
	b = append(b, `{"query":`...)
	b, err := jsontext.AppendQuote(b, query.Text)
	if err != nil {
		return nil, err
	}
	b = append(b, `,"limit":`...)
	b = strconv.AppendInt(b, int64(limit), 10)
	if len(query.Collections) > 0 {
		names, err := json.Marshal(query.Collections)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"collections":`...), names...)
	}
	if query.Filters != nil {
		b = append(append(b, `,"filters":`...), query.Filters...)
	}
	if query.Options != nil {
		b = append(append(b, `,"options":`...), query.Options...)
	}
	return append(b, '}'), nil
}

// gatewayMembers are the members of a hit that are not the node's to pass on.
var gatewayMembers = []string{"id", "title", "content", "url", "score", "rank", "node", "sources", "also", "metadata"}

func decodeGatewaySearch(body []byte) (*fleet.SearchAnswer, error) {
	s := newScanner(body)
	defer s.release()
	if s.kind() != '{' {
		return nil, fleet.BadPayload("the answer is not an object")
	}
	answer := &fleet.SearchAnswer{Total: -1, Known: gatewayMembers}
	found := false
	err := s.object(func(name []byte) error {
		switch string(name) {
		case "hits":
			found = true
			if s.kind() != '[' {
				return fleet.BadPayload("the member hits is not an array")
			}
			answer.Hits = make([]fleet.Hit, 0, 20)
			return s.array(func() error { return decodeGatewayHit(s, answer) })
		case "partial":
			value, err := s.value()
			if answer.Partial = value.Kind() == 't'; answer.Partial {
				answer.Note = "the node's own answer is partial"
			}
			return err
		case "total":
			value, err := s.value()
			m := members(value, "value", "relation")
			if total, ok := number(m[0]); ok && total >= 0 && total < 1e15 {
				answer.Total = int(total)
			}
			answer.More = answer.More || string(unquoted(m[1])) == "gte"
			return err
		default:
			return s.skip()
		}
	})
	if err != nil {
		return nil, err
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	if !found {
		return nil, fleet.BadPayload("the member hits is missing, expected an array")
	}
	answer.More = answer.More || answer.Total > len(answer.Hits)
	return answer, nil
}

func decodeGatewayHit(s *scanner, answer *fleet.SearchAnswer) error {
	if s.kind() != '{' {
		if err := s.skip(); err != nil {
			return err
		}
		return fleet.BadPayload("an entry of hits is not an object")
	}
	if len(answer.Hits) >= maxHits {
		answer.More = true
		return s.skip()
	}
	var hit fleet.Hit
	start := s.position()
	err := s.object(func(name []byte) error {
		value, err := s.value()
		if err != nil {
			return err
		}
		switch string(name) {
		case "id":
			hit.ID = identifier(value)
		case "title":
			hit.Title = nonEmpty(value)
		case "content":
			hit.Content = nonEmpty(value)
		case "url":
			hit.URL = nonEmpty(value)
		case "score":
			if hit.Score, hit.HasScore = number(value); !hit.HasScore && value.Kind() != 'n' {
				return fleet.BadPayload("the member score of an entry is not a number")
			}
		case "metadata":
			if value.Kind() == '{' {
				hit.Metadata = value
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	hit.Raw = s.body[start:s.decoder.InputOffset()]
	answer.Hits = append(answer.Hits, hit)
	return nil
}

// Probe implements [fleet.Dialect]. A gateway that serves searches and no
// health document is known by how it refuses a search without a query.
func (g *Gateway) Probe(ctx context.Context, node fleet.Caller) (*fleet.Report, error) {
	response, err := node.Do(ctx, &fleet.Request{Path: g.Prefix + "/v1/health"})
	var status *fleet.StatusError
	switch {
	case err == nil:
		return decodeGatewayHealth(response.Body)
	case errors.As(err, &status) && isHealthDocument(status):
		return decodeGatewayHealth(status.Body)
	case !errors.As(err, &status) || status.Status != http.StatusNotFound && status.Status != http.StatusMethodNotAllowed:
		return nil, err
	}
	_, err = node.Do(ctx, &fleet.Request{Path: g.Prefix + "/v1/search"})
	if errors.As(err, &status) && status.Status == http.StatusBadRequest &&
		strings.HasPrefix(status.Header.Get("Content-Type"), "application/problem+json") {
		return &fleet.Report{Dialect: "gateway", Health: fleet.HealthHealthy}, nil
	}
	if err == nil {
		err = fleet.BadPayload("a search without a query was not refused")
	}
	return nil, err
}

func isHealthDocument(status *fleet.StatusError) bool {
	return strings.HasPrefix(status.Header.Get("Content-Type"), "application/health+json") && fleet.CheckJSON(status.Body) == nil
}

// decodeGatewayHealth reads an application/health+json document.
func decodeGatewayHealth(body []byte) (*fleet.Report, error) {
	m := members(body, "status", "version", "description", "output", "collections")
	report := &fleet.Report{
		Dialect: "gateway", Version: clean(unquoted(m[1]), 64), Description: clean(unquoted(m[2]), 1000),
		Collections: collections(m[4]),
	}
	switch strings.ToLower(clean(unquoted(m[0]), 64)) {
	case "pass", "ok", "up":
		report.Health = fleet.HealthHealthy
	case "warn":
		report.Health = fleet.HealthDegraded
	case "fail", "error", "down":
		report.Health = fleet.HealthUnhealthy
	default:
		return nil, fleet.BadPayload("the health document has no status that is pass, warn or fail")
	}
	if report.Health != fleet.HealthHealthy {
		report.Reason = "the node's status is " + string(unquoted(m[0]))
		if output := clean(unquoted(m[3]), 200); output != "" {
			report.Reason += ": " + output
		}
	}
	return report, nil
}

// UnmarshalCaddyfile reads the dialect's block. Syntax:
//
//	dialect gateway {
//	    prefix <path>
//	}
func (g *Gateway) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // gateway
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("dialect gateway", "prefix")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "prefix" {
			return block.Unknown(d)
		}
		var err error
		if g.Prefix, err = block.Value(d); err != nil {
			return err
		}
		if !strings.HasPrefix(g.Prefix, "/") {
			return d.Errf("prefix %s does not begin with a slash", g.Prefix)
		}
	}
	return nil
}

// Interface guards
var (
	_ fleet.Dialect         = (*Gateway)(nil)
	_ caddy.Provisioner     = (*Gateway)(nil)
	_ caddyfile.Unmarshaler = (*Gateway)(nil)
)
