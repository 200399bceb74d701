package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
)

// AlertWebhook is where alerts are sent.
type AlertWebhook struct {
	// URL is where messages are posted: http or https. Placeholders such as
	// {env.ALERT_URL} are replaced when the config is loaded. A user and
	// password in it are sent as Basic authentication. Logs and answers have
	// its scheme and host alone.
	URL string `json:"url"`
	// Secret signs each attempt with HMAC-SHA256 over "<unix time>.<body>", at
	// least 16 bytes. Placeholders are replaced when the config is loaded.
	// Default: none, and nothing is signed.
	Secret string `json:"secret,omitempty"`
	// On are the kinds that are sent: node_down, node_up, breaker_open,
	// breaker_closed, store_down, action_stuck, flapping, prober_unhealthy and
	// refresh_replayed. Default: all.
	On []string `json:"on,omitempty"`
	// Format is json, alertmanager or slack. Default: json.
	Format string `json:"format,omitempty"`
	// Repeat is after how long what is still firing is sent again, from 1m to
	// 168h; negative: never. Default: 4h.
	Repeat caddy.Duration `json:"repeat,omitempty"`
}

const (
	defaultAlertRepeat = 4 * time.Hour
	minAlertRepeat     = time.Minute
	maxAlertRepeat     = 7 * 24 * time.Hour
	minAlertSecret     = 16
	minAlertGroup      = time.Second
	maxAlertGroup      = 10 * time.Minute
)

// validAlertGroup checks how long changes are grouped, 0 for the default.
func validAlertGroup(group caddy.Duration) error {
	if d := time.Duration(group); d != 0 && (d < minAlertGroup || d > maxAlertGroup) {
		return fmt.Errorf("alert group %v is not from %v to %v", d, minAlertGroup, maxAlertGroup)
	}
	return nil
}

// Validate checks the values as they are configured. The error names the field
// and what was expected, and no value that may be secret.
func (c AlertWebhook) Validate() error {
	if c.URL == "" {
		return errors.New("the url is missing")
	}
	if !strings.Contains(c.URL, "{") {
		if _, err := parseAlertURL(c.URL); err != nil {
			return err
		}
	}
	seen := make(map[string]bool)
	for _, kind := range c.On {
		if !alert.Kind(kind).Known() {
			return fmt.Errorf("on: unknown kind %q, expected one of %s", kind, strings.Join(alertKinds(), ", "))
		}
		if seen[kind] {
			return fmt.Errorf("on: %s is set twice", kind)
		}
		seen[kind] = true
	}
	switch alert.Format(c.Format) {
	case "", alert.JSON, alert.Alertmanager, alert.Slack:
	default:
		return fmt.Errorf("unknown format %q, expected json, alertmanager or slack", c.Format)
	}
	if repeat := time.Duration(c.Repeat); repeat > 0 && (repeat < minAlertRepeat || repeat > maxAlertRepeat) {
		return fmt.Errorf("repeat %v is not from %v to %v, or off", repeat, minAlertRepeat, maxAlertRepeat)
	}
	return nil
}

func alertKinds() []string {
	names := make([]string, len(alert.Kinds))
	for i, kind := range alert.Kinds {
		names[i] = string(kind)
	}
	return names
}

// parseAlertURL reads an address. Its errors do not quote it.
func parseAlertURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "" {
		return nil, errors.New("the url is not an http or https URL with a host and without a fragment")
	}
	return u, nil
}

// alertHook is a webhook of a loaded config.
type alertHook struct {
	number int    // as it is configured, from 1
	id     string // of its queue; it tells nothing of the URL
	url    string
	name   string // for people: no user, path or query
	secret string
	format alert.Format
	route  alert.Route
	client *http.Client
}

// provisionAlerts reads the webhooks. It opens no connection.
func (a *App) provisionAlerts(repl *caddy.Replacer) error {
	if err := validAlertGroup(a.AlertGroup); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for i, config := range a.AlertWebhooks {
		hook, err := config.load(i+1, repl)
		if err == nil && seen[hook.id] {
			err = errors.New("its url and format are those of another one")
		}
		if err != nil {
			return fmt.Errorf("alert webhook %d: %w", i+1, err)
		}
		seen[hook.id] = true
		a.alertHooks = append(a.alertHooks, hook)
	}
	return nil
}

func (c AlertWebhook) load(number int, repl *caddy.Replacer) (*alertHook, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	text, err := repl.ReplaceOrErr(c.URL, true, true)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	u, err := parseAlertURL(text)
	if err != nil {
		return nil, err
	}
	h := &alertHook{
		number: number, url: text, name: u.Scheme + "://" + u.Host, format: alert.Format(c.Format),
		route: alert.Route{Repeat: time.Duration(c.Repeat)},
	}
	if c.Secret != "" {
		if h.secret, err = repl.ReplaceOrErr(c.Secret, true, true); err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
		if len(h.secret) < minAlertSecret {
			return nil, fmt.Errorf("secret: it has %d bytes, expected at least %d", len(h.secret), minAlertSecret)
		}
	}
	if h.format == "" {
		h.format = alert.JSON
	}
	if h.format == alert.Alertmanager {
		h.route.Ends, h.route.Most = true, alert.AlertmanagerMost
	}
	switch {
	case h.route.Repeat == 0:
		h.route.Repeat = defaultAlertRepeat
	case h.route.Repeat < 0:
		h.route.Repeat = 0
	}
	if len(c.On) > 0 {
		h.route.On = make(map[alert.Kind]bool)
		for _, kind := range c.On {
			h.route.On[alert.Kind(kind)] = true
		}
	}
	sum := sha256.Sum256([]byte(string(h.format) + " " + text))
	h.id = hex.EncodeToString(sum[:12])
	h.route.Webhook = h.id[:8] // it stands in each alert: enough to tell a handful apart
	transport := newTransport(2, nil)
	transport.Proxy = http.ProxyFromEnvironment
	h.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h, nil
}
