package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
)

// Inspection says in words what a credential is and why it would be refused.
// The credential itself is not in it.
type Inspection struct {
	// Kind is jwt, api_key, refresh_token, shared_secret or unknown.
	Kind string `json:"kind"`
	// Verdict is the whole of it in one sentence.
	Verdict string `json:"verdict"`
	// Accepted by every face; Compatible by those with `compat laravel`.
	Accepted   bool `json:"accepted"`
	Compatible bool `json:"compatible"`
	// Header and Claims are a token's own words, believed or not.
	Header json.RawMessage `json:"header,omitempty"`
	Claims json.RawMessage `json:"claims,omitempty"`
	// Checks are in the order they are made.
	Checks []InspectionCheck `json:"checks,omitempty"`
	// Identity is who it stands for.
	Identity *Identity `json:"identity,omitempty"`
}

// InspectionCheck is one check of an [Inspection].
type InspectionCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// in words, for reasons that do not come from the token itself.
var inWords = map[string]string{
	"revoked":            "it was revoked, or its node or family was",
	"wrong_key":          "its key does not speak for this node",
	"wrong_node":         "its sub and its node_slug are two nodes",
	"unknown_node":       "no node of the registry is its sub",
	"unknown_key":        "there is no such api key, or it was deleted",
	"expired":            "it has expired",
	"starting":           "the gateway has not read its store yet",
	"method_not_allowed": "it is neither a token nor an api key",
}

// InspectToken explains a credential: an access token with each check, an API
// key or the shared secret with whom it stands for. It changes nothing.
func (a *App) InspectToken(ctx context.Context, raw string) Inspection {
	raw = strings.TrimSpace(raw)
	if !token.LooksLikeJWT(raw) {
		return a.inspectOpaque(ctx, raw)
	}
	keys, now := a.authority.keys.Load(), time.Now()
	seen := a.authority.verifier(keys, a.authority.current()).Inspect(raw, now)
	result := Inspection{Kind: "jwt", Header: asJSON(seen.Header), Claims: asJSON(seen.Payload)}
	var strict, everywhere string // why native faces refuse it first, and why all do
	for _, step := range seen.Steps {
		check := InspectionCheck{Name: step.Name, OK: step.Refusal == nil}
		if step.Refusal != nil {
			check.Detail = step.Refusal.Detail
			if step.Legacy {
				check.Detail += "; compat laravel does not ask for that"
				strict = cmp.Or(strict, step.Refusal.Detail)
			} else {
				everywhere = cmp.Or(everywhere, check.Detail)
			}
		}
		result.Checks = append(result.Checks, check)
	}
	if seen.Verified != nil {
		good := &goodToken{claims: seen.Verified.Claims, key: seen.Verified.Key, id: tokenID(raw, &seen.Verified.Claims)}
		check := InspectionCheck{Name: "node", OK: true}
		g := a.authority.current()
		if g == nil {
			g = new(grants)
		}
		identity, refused := resolve(good, a.Snapshot(), g, keys)
		if refused != nil {
			check.OK, check.Detail = false, words(refused)
			everywhere = cmp.Or(everywhere, check.Detail)
		} else if everywhere == "" {
			result.Identity = identity
		}
		result.Checks = append(result.Checks, check)
	}
	result.Compatible = everywhere == ""
	result.Accepted = result.Compatible && strict == ""
	switch {
	case result.Accepted:
		result.Verdict = "accepted as " + result.Identity.ID
	case result.Compatible:
		result.Verdict = "accepted as " + result.Identity.ID + " under compat laravel only: " + strict
	default:
		result.Verdict = "refused: " + everywhere
	}
	return result
}

func words(err *AuthError) string {
	if text := inWords[err.Reason]; text != "" {
		return text
	}
	if err.NodeStatus != "" {
		return "its node may not act: its admin_state is " + err.NodeStatus
	}
	return err.Reason
}

// inspectOpaque explains what is no token.
func (a *App) inspectOpaque(ctx context.Context, raw string) Inspection {
	identity, err := a.Authenticate(ctx, raw, MethodAPIKey|MethodSharedSecret, AuthPolicy{})
	result := Inspection{Kind: "unknown", Identity: identity}
	switch {
	case err == nil && identity.Method == "shared_secret":
		result.Kind, result.Accepted, result.Compatible = "shared_secret", true, true
		result.Verdict = "accepted where shared_secret is allowed, as " + identity.ID
	case err == nil:
		result.Kind, result.Accepted, result.Compatible = "api_key", true, true
		result.Verdict = "accepted as " + identity.ID
	case err.Missing:
		result.Verdict = "refused: there is nothing to look at"
	case token.IsAPIKey(raw):
		result.Kind, result.Verdict = "api_key", "refused: "+words(err)
		if _, ok := token.APIKeyID(raw); !ok {
			result.Verdict = "refused: the key is mistyped: its checksum does not fit"
		}
	case token.LooksLikeRefresh(raw):
		result.Kind, result.Verdict = "refresh_token", "refused: it has the form of a refresh token, which is good for refreshing only; or it is an api key that nobody imported"
	default:
		result.Verdict = "refused: " + words(err)
	}
	return result
}

// asJSON is the text when it is JSON.
func asJSON(text []byte) json.RawMessage {
	if !json.Valid(text) {
		return nil
	}
	return text
}
