package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
)

// KeyConfig is one key of the federation, or of one node.
type KeyConfig struct {
	// ID is the `kid` of the tokens that the key signs.
	ID string `json:"id"`
	// Algorithm is HS256, RS256, ES256 or EdDSA.
	Algorithm string `json:"algorithm"`
	// Secret is the shared secret of HS256, as it is (an APP_KEY with its
	// "base64:" prefix is not decoded), or the path of a PEM file for the
	// others. Placeholders such as {env.JWT_SECRET} are replaced when the
	// config is loaded.
	Secret string `json:"secret"`
	// VerifyOnly keys never sign. Default: false.
	VerifyOnly bool `json:"verify_only,omitempty"`
}

// JWKSConfig is where somebody else publishes keys. They verify and never sign.
type JWKSConfig struct {
	// URL is the document's address: https, or http on this machine.
	URL string `json:"url"`
	// Issuer is the `iss` of the tokens that the keys sign. Default: the
	// federation's own issuer.
	Issuer string `json:"issuer,omitempty"`
}

// address is the URL for logs: without a query or user, which may be secret.
func (c JWKSConfig) address() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// MinSecretBytes is the shortest HS256 secret without a warning: RFC 7518
// section 3.2 asks for as many bits as the hash, and php-jwt 7 refuses less.
const MinSecretBytes = token.MinSecretBytes

// leastSecretBytes is the shortest HS256 secret that is taken at all: NIST SP
// 800-131A calls less than 112 bits too weak to be used.
const leastSecretBytes = 14

// keyFileError is why a PEM file cannot be read. What does not look like its name
// may be the key itself, and is not repeated.
func keyFileError(name string, err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	switch filepath.Ext(name) {
	case ".pem", ".key", ".pub", ".crt":
		if !strings.Contains(name, "\n") {
			return fmt.Errorf("reading its PEM file %s: %w", name, err)
		}
	}
	return fmt.Errorf("reading its PEM file: %w; expected the name of a file, not the key itself", err)
}

// load reads the key.
func (k KeyConfig) load(repl *caddy.Replacer) (*token.Key, error) {
	if k.ID == "" {
		return nil, errors.New("a key needs an id")
	}
	failed := func(err error) (*token.Key, error) { return nil, fmt.Errorf("key %q: %w", k.ID, err) }
	secret, err := repl.ReplaceOrErr(k.Secret, true, true)
	if err != nil {
		return failed(err)
	}
	if secret == "" {
		return failed(errors.New("the secret is empty"))
	}
	algorithm, err := token.Algorithm(k.Algorithm)
	if err != nil {
		return failed(err)
	}
	var key *token.Key
	if algorithm == token.HS256 {
		if len(secret) < leastSecretBytes {
			return failed(fmt.Errorf("its secret has fewer than %d bytes and could be found by trying; give it %d", leastSecretBytes, MinSecretBytes))
		}
		key, err = token.NewSecret(k.ID, secret)
	} else {
		text, readErr := os.ReadFile(secret)
		if readErr != nil {
			return failed(keyFileError(secret, readErr))
		}
		if key, err = token.NewPEM(k.ID, algorithm, text); err == nil && !k.VerifyOnly && !key.CanSign() {
			err = fmt.Errorf("the file holds no private key for %s; for a public one add verify_only", algorithm)
		}
	}
	if err != nil {
		return failed(err)
	}
	if k.VerifyOnly {
		key = key.VerifyOnly()
	}
	return key, nil
}

// loadKeys reads the keys of the federation and of the nodes of the file.
func (a *App) loadKeys() error {
	repl := caddy.NewReplacer()
	var keys []*token.Key
	load := func(config KeyConfig, node string) error {
		key, err := config.load(repl)
		if err != nil {
			return err
		}
		if key.Short() {
			a.logger.Warn("secret is short: newer nodes refuse tokens signed with it",
				zap.String("key", config.ID), zap.Int("recommended_bytes", MinSecretBytes))
		}
		keys = append(keys, key.For(node))
		return nil
	}
	for _, config := range a.Keys {
		if err := load(config, ""); err != nil {
			return err
		}
	}
	for _, node := range a.Nodes {
		for _, config := range node.Keys {
			if err := load(config, node.Slug); err != nil {
				return fmt.Errorf("node %q: %w", node.Slug, err)
			}
		}
	}
	if a.NodeDefaults != nil && len(a.NodeDefaults.Keys) > 0 {
		return errors.New("node_defaults cannot have a key: it would be every node's")
	}
	for _, config := range a.RemoteKeys {
		if err := checkJWKSURL(config.URL); err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
	}
	var err error
	if a.keys, err = token.NewKeySet(keys...); err != nil {
		return err
	}
	a.localKeys = keys
	a.jwks, err = a.keys.JWKS()
	return err
}

// The defaults of tokens.
const (
	defaultAccessTTL    = time.Hour
	defaultRefreshTTL   = 30 * 24 * time.Hour
	defaultRefreshGrace = 30 * time.Second
	defaultLeeway       = 30 * time.Second
)

// defaultTokens fills in how long tokens live.
func (a *App) defaultTokens() error {
	for _, d := range []struct {
		name       string
		value      *caddy.Duration
		standard   time.Duration
		max        time.Duration
		canBeUnset bool
	}{
		{"access_ttl", &a.AccessTTL, defaultAccessTTL, 24 * time.Hour, false},
		{"refresh_ttl", &a.RefreshTTL, defaultRefreshTTL, 366 * 24 * time.Hour, false},
		{"refresh_grace", &a.RefreshGrace, defaultRefreshGrace, 10 * time.Minute, true},
		{"leeway", &a.Leeway, defaultLeeway, 10 * time.Minute, true},
	} {
		switch value := time.Duration(*d.value); {
		case value == 0:
			*d.value = caddy.Duration(d.standard)
		case value < 0 && d.canBeUnset:
			*d.value = 0
		case value < time.Second || value > d.max:
			return fmt.Errorf("%s %v is not from 1s to %v", d.name, value, d.max)
		}
	}
	return nil
}

// checkJWKSURL looks at the address of a JWKS document. Keys that came over a
// connection that others can change would let them in.
func checkJWKSURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return errors.New("expected an https URL without user and fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return fmt.Errorf("%s is not https; http is only for this machine", u.Redacted())
	}
	return nil
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
