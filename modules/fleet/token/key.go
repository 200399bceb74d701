// Package token is the federation's tokens as plain values: keys, signatures
// and claims of JSON Web Tokens, API keys and refresh tokens. It knows no
// request, no node and no store, does no I/O and has no clock of its own.
package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms a key can have.
const (
	HS256 = "HS256"
	RS256 = "RS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// Sizes of keys.
const (
	// MinSecretBytes is the shortest secret that HS256 should have: RFC 7518
	// section 3.2 asks for as many bits as the hash, and php-jwt 7 refuses less.
	MinSecretBytes = 32
	// minRSABits is what RFC 7518 section 3.3 asks for.
	minRSABits = 2048
)

// Key is one key, pinned to its algorithm. It is never changed.
type Key struct {
	// ID is the `kid`.
	ID string
	// Algorithm is HS256, RS256, ES256 or EdDSA.
	Algorithm string
	// Node is the slug of the only node that the key speaks for. Empty: all.
	Node string
	// Issuer is the `iss` that tokens of the key must have. Empty: the
	// federation's own.
	Issuer string
	// Remote keys were read from somebody else's JWKS.
	Remote bool

	method jwt.SigningMethod
	verify any // what method.Verify takes
	sign   any // what method.Sign takes; nil when the key only verifies
}

// method returns the signing method of an algorithm's exact name.
func method(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case HS256:
		return jwt.SigningMethodHS256
	case RS256:
		return jwt.SigningMethodRS256
	case ES256:
		return jwt.SigningMethodES256
	case EdDSA:
		return jwt.SigningMethodEdDSA
	default:
		return nil
	}
}

// Algorithm returns the exact name of an algorithm as a config has it, in any
// case.
func Algorithm(name string) (string, error) {
	for _, known := range []string{HS256, RS256, ES256, EdDSA} {
		if strings.EqualFold(known, name) {
			return known, nil
		}
	}
	return "", fmt.Errorf("unknown algorithm %q, expected hs256, rs256, es256 or eddsa", name)
}

// NewSecret returns an HS256 key. The secret is taken as it is.
func NewSecret(id, secret string) (*Key, error) {
	if secret == "" {
		return nil, errors.New("the secret is empty")
	}
	return &Key{ID: id, Algorithm: HS256, method: jwt.SigningMethodHS256, verify: []byte(secret), sign: []byte(secret)}, nil
}

// NewPEM returns a key of an asymmetric algorithm from PEM text: a private
// key signs and verifies, a public one or a certificate only verifies.
func NewPEM(id, algorithm string, text []byte) (*Key, error) {
	if private, err := parsePrivate(algorithm, text); err == nil {
		key, err := newPublic(id, algorithm, private.Public())
		if err != nil {
			return nil, err
		}
		key.sign = private
		return key, nil
	}
	public, err := parsePublic(algorithm, text)
	if err != nil {
		// the parser's own text can quote the file
		return nil, fmt.Errorf("the file holds no key for %s", algorithm)
	}
	return newPublic(id, algorithm, public)
}

func parsePrivate(algorithm string, text []byte) (crypto.Signer, error) {
	switch algorithm {
	case RS256:
		return jwt.ParseRSAPrivateKeyFromPEM(text)
	case ES256:
		return jwt.ParseECPrivateKeyFromPEM(text)
	default:
		key, err := jwt.ParseEdPrivateKeyFromPEM(text)
		if err != nil {
			return nil, err
		}
		return key.(ed25519.PrivateKey), nil
	}
}

func parsePublic(algorithm string, text []byte) (crypto.PublicKey, error) {
	switch algorithm {
	case RS256:
		return jwt.ParseRSAPublicKeyFromPEM(text)
	case ES256:
		return jwt.ParseECPublicKeyFromPEM(text)
	default:
		return jwt.ParseEdPublicKeyFromPEM(text)
	}
}

// newPublic returns a key that verifies, when the public key is one that the
// algorithm may be used with.
func newPublic(id, algorithm string, public crypto.PublicKey) (*Key, error) {
	key := &Key{ID: id, Algorithm: algorithm, method: method(algorithm), verify: public}
	switch public := public.(type) {
	case *rsa.PublicKey:
		switch {
		case algorithm != RS256:
			return nil, fmt.Errorf("an RSA key is not for %s", algorithm)
		case public.N.BitLen() < minRSABits:
			return nil, fmt.Errorf("the RSA key has %d bits, expected at least %d", public.N.BitLen(), minRSABits)
		case public.E < 3 || public.E&1 == 0:
			return nil, errors.New("the RSA key's exponent is not an odd number above 2")
		case roca(public.N):
			return nil, errors.New("the RSA key was made by a broken generator (CVE-2017-15361)")
		}
	case *ecdsa.PublicKey:
		if algorithm != ES256 || public.Curve != elliptic.P256() {
			return nil, fmt.Errorf("an EC key of curve %s is not for %s, which takes P-256 with ES256", public.Params().Name, algorithm)
		}
		if _, err := public.ECDH(); err != nil {
			return nil, errors.New("the EC key is no point of its curve")
		}
	case ed25519.PublicKey:
		if algorithm != EdDSA || len(public) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an Ed25519 key is not for %s", algorithm)
		}
	default:
		return nil, fmt.Errorf("a key of this type is not for %s", algorithm)
	}
	return key, nil
}

// naturalAlgorithm is what a public key is for that does not say it.
func naturalAlgorithm(public crypto.PublicKey) string {
	switch public.(type) {
	case *rsa.PublicKey:
		return RS256
	case *ecdsa.PublicKey:
		return ES256
	case ed25519.PublicKey:
		return EdDSA
	default:
		return ""
	}
}

// CanSign tells whether the key signs.
func (k *Key) CanSign() bool { return k.sign != nil }

// VerifyOnly returns the key without what it signs with.
func (k *Key) VerifyOnly() *Key {
	copied := *k
	copied.sign = nil
	return &copied
}

// For returns the key bound to one node.
func (k *Key) For(node string) *Key {
	copied := *k
	copied.Node = node
	return &copied
}

// Short tells whether the key is a secret with less than [MinSecretBytes].
func (k *Key) Short() bool {
	secret, symmetric := k.verify.([]byte)
	return symmetric && len(secret) < MinSecretBytes
}

// Secret returns the secret of an HS256 key, else nil. Do not change it.
func (k *Key) Secret() []byte {
	secret, _ := k.verify.([]byte)
	return secret
}

// Same tells whether both are the same key with the same duties.
func (k *Key) Same(other *Key) bool {
	if k.ID != other.ID || k.Algorithm != other.Algorithm || k.Node != other.Node || k.Issuer != other.Issuer ||
		k.Remote != other.Remote || k.CanSign() != other.CanSign() {
		return false
	}
	if secret := k.Secret(); secret != nil {
		return string(secret) == string(other.Secret())
	}
	public, ok := k.verify.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(other.verify)
}

// Sign returns a signed token with the claims.
func (k *Key) Sign(claims jwt.Claims) (string, error) {
	if k.sign == nil {
		return "", fmt.Errorf("key %q only verifies", k.ID)
	}
	unsigned := jwt.NewWithClaims(k.method, claims)
	unsigned.Header["kid"] = k.ID
	signed, err := unsigned.SignedString(k.sign)
	if err != nil {
		return "", fmt.Errorf("signing with key %q failed", k.ID) // the library's text could quote the claims
	}
	return signed, nil
}
