package dialects

import (
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// UnmarshalCaddyfile reads the dialect's block. Syntax:
//
//	dialect json {
//	    path        <path with {query}, {limit}, {collections}>
//	    method      <method>
//	    request     <JSON text with placeholders>
//	    header      <name> <value>
//	    hits        <pointer>
//	    total       <pointer>
//	    id          <pointer>
//	    title       <pointer>
//	    content     <pointer>
//	    score       <pointer> [desc|asc]
//	    url         <pointer>
//	    max_limit   <n>
//	    health      <path>
//	}
func (j *JSON) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // json
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("dialect json", "path", "method", "request", "header", "hits", "total", "id", "title",
		"content", "score", "url", "max_limit", "health")
	texts := map[string]*string{
		"path": &j.Path, "method": &j.Method, "request": &j.Request, "hits": &j.Hits, "total": &j.Total, "id": &j.ID,
		"title": &j.Title, "content": &j.Content, "url": &j.URL, "health": &j.Health,
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := j.unmarshalSubdirective(d, block, texts); err != nil {
			return err
		}
	}
	if j.Path == "" {
		return d.Errf("dialect json: path is missing, as in path /search?q={query}")
	}
	if err := new(JSON).copyFrom(j).Provision(caddy.Context{}); err != nil {
		return d.Errf("dialect json: %v", err)
	}
	return nil
}

// copyFrom takes the configuration of another, to try it without keeping the
// defaults that trying fills in.
func (j *JSON) copyFrom(other *JSON) *JSON {
	*j = *other
	return j
}

func (j *JSON) unmarshalSubdirective(d *caddyfile.Dispenser, block *subdirective.Block, texts map[string]*string) (err error) {
	switch name := d.Val(); name {
	case "header":
		args := d.RemainingArgs()
		if len(args) != 2 {
			return d.Errf("header takes <name> <value>, got %d arguments", len(args))
		}
		if j.Headers == nil {
			j.Headers = make(http.Header)
		}
		j.Headers.Add(args[0], args[1])
	case "score":
		var args []string
		if args, err = block.Values(d); err != nil {
			return err
		}
		if len(args) > 2 {
			return d.Errf("score takes <pointer> [desc|asc], got %d arguments", len(args))
		}
		if j.Score = args[0]; len(args) == 2 {
			j.ScoreOrder = args[1]
		}
	case "max_limit":
		var text string
		if text, err = block.Value(d); err != nil {
			return err
		}
		if j.MaxLimit, err = strconv.Atoi(text); err != nil || j.MaxLimit < 1 {
			return d.Errf("max_limit %s is not a whole number above 0", text)
		}
	default:
		target := texts[name]
		if target == nil {
			return block.Unknown(d)
		}
		*target, err = block.Value(d)
	}
	return err
}

// Interface guards
var (
	_ fleet.Dialect         = (*JSON)(nil)
	_ caddy.Provisioner     = (*JSON)(nil)
	_ caddyfile.Unmarshaler = (*JSON)(nil)
)
