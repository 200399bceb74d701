package fleet

import (
	"crypto"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/golang-jwt/jwt/v5"
)

// KeyConfig is one key of the federation.
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

// MinSecretBytes is the shortest HS256 secret without a warning: RFC 7518
// section 3.2 asks for as many bits as the hash, and php-jwt 7 refuses less.
const MinSecretBytes = 32

// signingKey is a key that may sign.
type signingKey struct {
	id     string
	method jwt.SigningMethod
	key    crypto.PrivateKey
}

// load reads the key. It returns nil for a key that only verifies.
func (k KeyConfig) load(repl *caddy.Replacer) (key *signingKey, short bool, err error) {
	if k.ID == "" {
		return nil, false, fmt.Errorf("a key needs an id")
	}
	secret, err := repl.ReplaceOrErr(k.Secret, true, true)
	if err != nil {
		return nil, false, fmt.Errorf("key %q: %w", k.ID, err)
	}
	if secret == "" {
		return nil, false, fmt.Errorf("key %q: the secret is empty", k.ID)
	}
	method, err := signingMethod(k.Algorithm)
	if err != nil {
		return nil, false, fmt.Errorf("key %q: %w", k.ID, err)
	}
	if k.VerifyOnly {
		return nil, false, nil
	}
	key = &signingKey{id: k.ID, method: method}
	if method == jwt.SigningMethodHS256 {
		key.key = []byte(secret)
		return key, len(secret) < MinSecretBytes, nil
	}
	pem, err := os.ReadFile(secret)
	if err != nil {
		return nil, false, fmt.Errorf("key %q: reading its PEM file: %w", k.ID, err)
	}
	switch method {
	case jwt.SigningMethodRS256:
		key.key, err = jwt.ParseRSAPrivateKeyFromPEM(pem)
	case jwt.SigningMethodES256:
		key.key, err = jwt.ParseECPrivateKeyFromPEM(pem)
	default:
		key.key, err = jwt.ParseEdPrivateKeyFromPEM(pem)
	}
	if err != nil {
		// the parser's own text can quote the file
		return nil, false, fmt.Errorf("key %q: the file holds no private key for %s", k.ID, method.Alg())
	}
	return key, false, nil
}

func signingMethod(algorithm string) (jwt.SigningMethod, error) {
	switch strings.ToUpper(algorithm) {
	case "HS256":
		return jwt.SigningMethodHS256, nil
	case "RS256":
		return jwt.SigningMethodRS256, nil
	case "ES256":
		return jwt.SigningMethodES256, nil
	case "EDDSA":
		return jwt.SigningMethodEdDSA, nil
	default:
		return nil, fmt.Errorf("unknown algorithm %q, expected hs256, rs256, es256 or eddsa", algorithm)
	}
}
