package fleet

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
)

// tokenSubdirectives are those of the federation block that are about tokens.
var tokenSubdirectives = []string{"issuer", "audience", "key", "jwks", "access_ttl", "refresh_ttl", "refresh_grace", "leeway"}

// unmarshalTokens reads one of [tokenSubdirectives].
func (a *App) unmarshalTokens(d *caddyfile.Dispenser, block *subdirective.Block) (err error) {
	switch d.Val() {
	case "issuer":
		a.Issuer, err = block.Value(d)
	case "audience":
		a.Audience, err = block.Values(d)
	case "key":
		err = unmarshalKey(d, "federation", &a.Keys)
	case "jwks":
		err = a.unmarshalJWKS(d)
	case "access_ttl":
		a.AccessTTL, err = unmarshalTTL(d, block, 24*time.Hour, false)
	case "refresh_ttl":
		a.RefreshTTL, err = unmarshalTTL(d, block, 366*24*time.Hour, false)
	case "refresh_grace":
		a.RefreshGrace, err = unmarshalTTL(d, block, 10*time.Minute, true)
	case "leeway":
		a.Leeway, err = unmarshalTTL(d, block, 10*time.Minute, true)
	default:
		err = block.Unknown(d)
	}
	return err
}

// unmarshalTTL reads a duration from a second to the longest, or off.
func unmarshalTTL(d *caddyfile.Dispenser, block *subdirective.Block, longest time.Duration, canBeOff bool) (caddy.Duration, error) {
	name := d.Val()
	text, err := block.Value(d)
	if err != nil {
		return 0, err
	}
	if canBeOff && (text == "off" || text == "-1") {
		return -1, nil
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration < time.Second || duration > longest {
		return 0, d.Errf("federation: %s %s is not a duration from 1s to %v, as in 30s", name, text, longest)
	}
	return caddy.Duration(duration), nil
}

// unmarshalKey reads `key <kid> <algorithm> <secret or file> [verify_only]`.
func unmarshalKey(d *caddyfile.Dispenser, owner string, keys *[]KeyConfig) error {
	args := d.RemainingArgs()
	if len(args) != 3 && len(args) != 4 {
		return d.Errf("%s: key takes <kid> <algorithm> <secret or file> [verify_only]", owner)
	}
	key := KeyConfig{ID: args[0], Secret: args[2]}
	var err error
	if key.Algorithm, err = token.Algorithm(args[1]); err != nil {
		return d.Errf("%s: key %s: %v", owner, args[0], err)
	}
	if len(args) == 4 {
		if args[3] != "verify_only" {
			return d.Errf("%s: key %s: expected verify_only, got %s", owner, args[0], args[3])
		}
		key.VerifyOnly = true
	}
	for _, other := range *keys {
		if other.ID == key.ID {
			return d.Errf("%s: key %s is set twice", owner, key.ID)
		}
	}
	*keys = append(*keys, key)
	return nil
}

// unmarshalJWKS reads `jwks <url> [<iss>]`.
func (a *App) unmarshalJWKS(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 && len(args) != 2 {
		return d.Errf("federation: jwks takes <url> [<iss>], got %d arguments", len(args))
	}
	if err := checkJWKSURL(args[0]); err != nil {
		return d.Errf("federation: jwks: %v", err)
	}
	config := JWKSConfig{URL: args[0]}
	if len(args) == 2 {
		config.Issuer = args[1]
	}
	for _, other := range a.RemoteKeys {
		if other.URL == config.URL {
			return d.Errf("federation: jwks %s is set twice", config.URL)
		}
	}
	a.RemoteKeys = append(a.RemoteKeys, config)
	return nil
}
