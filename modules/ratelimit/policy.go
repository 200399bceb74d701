package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
)

// Policy is one limit (GCRA): so many events over a window, spread evenly
// after a first burst. It takes the same little memory for every key.
type Policy struct {
	// Name is in the headers, metrics and logs, and tells whose counts are
	// shared: 1 to 64 letters, digits and `_.-`. Required.
	Name string `json:"name,omitempty"`
	// Limit is how many events the window allows. Required.
	Limit int `json:"limit,omitempty"`
	// Window is what Limit is counted over. Required.
	Window caddy.Duration `json:"window,omitempty"`
	// Burst is how many events fit at once. Default: Limit.
	Burst int `json:"burst,omitempty"`
	// Key tells whose events are counted together; it may hold placeholders.
	// Where it turns out empty, the default stands in. Default: the
	// authenticated caller, else the client's address (IPv6: its /64). A key
	// with a placeholder for a credential is kept and shown as its SHA-256.
	Key string `json:"key,omitempty"`
	// Cost is how many events a request counts for: a number or a
	// placeholder. What is no whole number above 0 counts as 1. Default: 1.
	Cost string `json:"cost,omitempty"`
	// PerPath counts each path by itself. Default: false.
	PerPath bool `json:"per_path,omitempty"`

	policy    *limiter.Policy
	fixedCost int // 0: a placeholder
	secret    bool
}

var policyName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// credentialPlaceholder finds placeholders whose value may be a credential.
var credentialPlaceholder = regexp.MustCompile(`(?i)\{http\.request\.(header\.[^}]*(auth|cookie|key|secret|session|token)|cookie\.|uri\.query\.[^}]*(key|token))`)

func (p *Policy) provision() (err error) {
	if !policyName.MatchString(p.Name) {
		return errors.New("a name is 1 to 64 letters, digits and _.-")
	}
	if p.policy, err = limiter.NewPolicy(p.Name, p.Limit, time.Duration(p.Window), p.Burst); err != nil {
		return err
	}
	p.secret = credentialPlaceholder.MatchString(p.Key)
	p.fixedCost, err = parseCost(p.Cost)
	if err == nil && p.fixedCost > p.policy.Burst {
		return fmt.Errorf("the cost %d is above the burst %d: nothing would pass", p.fixedCost, p.policy.Burst)
	}
	return err
}

// parseCost reads a configured cost. A placeholder is 0.
func parseCost(text string) (int, error) {
	if text == "" {
		return 1, nil
	}
	if strings.Contains(text, "{") {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("the cost %q is neither a whole number above 0 nor a placeholder", text)
	}
	return n, nil
}

func (p *Policy) cost(repl *caddy.Replacer) int {
	if p.fixedCost > 0 {
		return p.fixedCost
	}
	// a number that is out of range is the largest there is, which never fits
	n, err := strconv.Atoi(strings.TrimSpace(repl.ReplaceAll(p.Cost, "")))
	if err != nil && !errors.Is(err, strconv.ErrRange) || n < 1 {
		return 1
	}
	return n
}

// appendKey appends the whole key: the policy, whose events, and the path.
func (p *Policy) appendKey(b []byte, r *http.Request, repl *caddy.Replacer) []byte {
	b = append(b, p.Name...)
	b = append(b, ':')
	begin := len(b)
	value := ""
	if p.Key != "" {
		value = repl.ReplaceAll(p.Key, "")
	}
	if p.secret && value != "" {
		sum := sha256.Sum256([]byte(value))
		value = "sha256=" + hex.EncodeToString(sum[:16])
	}
	switch {
	case value == "":
		b = appendCaller(b, r, repl)
	case p.PerPath && strings.ContainsAny(value, " +%"):
		b = append(b, url.QueryEscape(value)...) // so that the space below is the first
	default:
		b = append(b, value...)
	}
	if p.PerPath {
		b = append(b, ' ')
		b = append(b, cleanPath(r.URL.Path)...)
	}
	return limiter.ShortenKey(b, begin)
}

// cleanPath makes the spellings of one path one.
func cleanPath(path string) string {
	if strings.Contains(path, "//") || strings.Contains(path, "/.") {
		path = caddyhttp.CleanPath(path, true)
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

// appendCaller appends who is calling.
func appendCaller(b []byte, r *http.Request, repl *caddy.Replacer) []byte {
	if id := fleet.IdentityOf(r); id != nil && id.ID != "" {
		return append(append(b, "id="...), id.ID...)
	}
	if id, ok := repl.GetString("http.auth.user.id"); ok && id != "" {
		return append(append(b, "id="...), id...)
	}
	b = append(b, "ip="...)
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	address, err := netip.ParseAddr(text)
	if err != nil {
		return append(b, text...)
	}
	if address = address.Unmap().WithZone(""); address.Is6() {
		// one subscriber has at least so many addresses
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.AppendTo(b)
		}
	}
	return address.AppendTo(b)
}
