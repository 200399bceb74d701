package caddyfile

import (
	_ "embed"
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterDirective("federation", parseSugar)
	httpcaddyfile.RegisterDirectiveOrder("federation", httpcaddyfile.Before, "handle")
}

// sugar is what the site directive stands for, as a Caddyfile.
//
//go:embed sugar.caddyfile
var sugar string

// sugarAdmin keeps the admin pages of old nodes shut, also outside a prefix.
//
//go:embed sugar_admin.caddyfile
var sugarAdmin string

// sugarFirst keeps credentials out of the logs, also those of requests that go on
// to the rest of the site.
const sugarFirst = "federation_redact\n"

// sugarRest ends what is below a prefix: with the prefix taken away, the rest of
// the site would take the request for one of its own, past what it guards.
const sugarRest = `handle {
	header Content-Type application/problem+json
	respond ` + "`" + `{"type":"about:blank","title":"Not Found","status":404,"code":"not_found","detail":"there is nothing at this path"}` + "`" + ` 404
}
`

// parseSugar reads the site directive. Syntax:
//
//	federation [/prefix/* | @<matcher>]
//
// It is federation_redact and the lines of sugar_admin.caddyfile, for all of the
// site, and those of sugar.caddyfile: with a prefix, below it, with the prefix
// taken away, and what is not its own there is 404; with a matcher, for the
// requests that match. All other requests go on to the rest of the site.
func parseSugar(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // federation
	var matcher caddy.ModuleMap
	prefix := ""
	if h.NextArg() {
		switch argument := h.Val(); {
		case argument == "*":
		case strings.HasPrefix(argument, "@"):
			h.Prev()
			var err error
			if matcher, err = h.ExtractMatcherSet(); err != nil {
				return nil, err
			}
			h.Next()
		case len(argument) > 2 && strings.HasPrefix(argument, "/") && strings.HasSuffix(argument, "/*") && strings.Count(argument, "*") == 1:
			prefix = argument
		default:
			return nil, h.Errf("federation: %s is no prefix as in /federation/*, and no @matcher", argument)
		}
	}
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	if h.NextBlock(0) {
		return nil, h.Errf("federation: the site directive takes no block; for other settings write the lines that it stands for, as caddy adapt shows them")
	}
	first, rest := sugarFirst+sugarAdmin, sugar
	if prefix != "" {
		rest = "handle_path " + prefix + " {\n" + sugar + sugarRest + "}\n"
	}
	if matcher == nil {
		whole, err := subroute(h, first+rest)
		if err != nil {
			return nil, err
		}
		return h.NewRoute(nil, whole), nil
	}
	whole, err := subroute(h, first)
	if err != nil {
		return nil, err
	}
	matched, err := subroute(h, rest)
	if err != nil {
		return nil, err
	}
	whole.Routes = append(whole.Routes, caddyhttp.Route{
		MatcherSetsRaw: []caddy.ModuleMap{matcher},
		HandlersRaw:    []json.RawMessage{caddyconfig.JSONModuleObject(matched, "handler", "subroute", nil)},
	})
	return h.NewRoute(nil, whole), nil
}

// subroute reads lines of a Caddyfile as if they stood at the directive.
func subroute(h httpcaddyfile.Helper, lines string) (*caddyhttp.Subroute, error) {
	tokens, err := caddyfile.Tokenize([]byte("federation {\n"+lines+"}\n"), h.File())
	if err != nil {
		return nil, err
	}
	for i := range tokens {
		tokens[i].File, tokens[i].Line = h.File(), h.Line()+tokens[i].Line-1
	}
	handler, err := httpcaddyfile.ParseSegmentAsSubroute(h.WithDispenser(caddyfile.NewDispenser(tokens)))
	if err != nil {
		return nil, err
	}
	return handler.(*caddyhttp.Subroute), nil
}
