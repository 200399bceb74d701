package dialects

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
)

// UnmarshalCaddyfile reads the dialect's block. Syntax:
//
//	dialect laravel {
//	    prefix       <path>
//	    path         search|health|manifest|collections <path>
//	    token_header authorization | x-node-token | both
//	    threshold    <number>
//	}
func (l *Laravel) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // laravel
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("dialect laravel", "prefix", "path", "token_header", "threshold")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "prefix":
			l.Prefix, err = block.Value(d)
			if err == nil && !strings.HasPrefix(l.Prefix, "/") {
				return d.Errf("prefix %s does not begin with a slash", l.Prefix)
			}
		case "path":
			args := d.RemainingArgs()
			if len(args) != 2 || !slices.Contains(laravelOperations, args[0]) || !strings.HasPrefix(args[1], "/") {
				return d.Errf("path takes search, health, manifest or collections and a path that begins with a slash")
			}
			if l.Paths == nil {
				l.Paths = make(map[string]string)
			}
			if _, twice := l.Paths[args[0]]; twice {
				return d.Errf("path %s is set twice", args[0])
			}
			l.Paths[args[0]] = args[1]
		case "token_header":
			l.TokenHeader, err = block.Value(d)
			l.TokenHeader = strings.ToLower(l.TokenHeader)
			if err == nil && !slices.Contains(tokenHeaders, l.TokenHeader) {
				return d.Errf("unknown token_header %s%s", l.TokenHeader, subdirective.Hint(l.TokenHeader, tokenHeaders))
			}
		case "threshold":
			var text string
			if text, err = block.Value(d); err == nil {
				n, ok := number(jsontext.Value(text))
				if !ok {
					return d.Errf("threshold %s is not a number", text)
				}
				l.Threshold = &n
			}
		default:
			err = block.Unknown(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Laravel)(nil)
