package token

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// maxJWKS is how many keys a JWKS document may have.
const maxJWKS = 64

// ParseJWKS reads the keys of a JWKS document (RFC 7517) that verify
// signatures of our algorithms; others in it are left out, and no key ever
// signs. The document is refused when it holds a symmetric key, which is no
// key to publish, or two keys of one id.
func ParseJWKS(text []byte) ([]*Key, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, errors.New("the document is not a JWKS: a JSON object with the keys in `keys`")
	}
	if len(document.Keys) > maxJWKS {
		return nil, fmt.Errorf("the JWKS has %d keys, expected at most %d", len(document.Keys), maxJWKS)
	}
	var keys []*Key
	seen := make(map[string]bool)
	for _, raw := range document.Keys {
		key, err := ParseJWK(raw)
		if err != nil {
			continue
		}
		if key.Algorithm == HS256 {
			return nil, fmt.Errorf("the JWKS holds a symmetric key %q", key.ID)
		}
		if seen[key.ID] {
			return nil, fmt.Errorf("the JWKS has two keys %q", key.ID)
		}
		seen[key.ID] = true
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("the JWKS has no key that verifies RS256, ES256 or EdDSA signatures")
	}
	return keys, nil
}

// ParseJWK reads one JSON Web Key that may verify signatures. The key never
// signs, also when the document has its private part.
func ParseJWK(text []byte) (*Key, error) {
	var use struct {
		Use        string   `json:"use"`
		Operations []string `json:"key_ops"`
	}
	var jwk jose.JSONWebKey
	if json.Unmarshal(text, &use) != nil || json.Unmarshal(text, &jwk) != nil {
		return nil, errors.New("the key is not a JSON Web Key") // the library's text can quote it
	}
	switch {
	case jwk.KeyID == "":
		return nil, errors.New("the key has no kid")
	case use.Use != "" && use.Use != "sig":
		return nil, fmt.Errorf("the key %q is not for signatures (use)", jwk.KeyID)
	case len(use.Operations) > 0 && !slices.Contains(use.Operations, "verify"):
		return nil, fmt.Errorf("the key %q is not for verifying (key_ops)", jwk.KeyID)
	}
	material := jwk.Key
	if secret, symmetric := material.([]byte); symmetric {
		if jwk.Algorithm != HS256 || len(secret) < MinSecretBytes {
			return nil, fmt.Errorf("the symmetric key %q is not for HS256, or shorter than %d bytes", jwk.KeyID, MinSecretBytes)
		}
		key, err := NewSecret(jwk.KeyID, string(secret))
		if err != nil {
			return nil, err
		}
		return key.VerifyOnly(), nil
	}
	if private, ok := material.(crypto.Signer); ok {
		material = private.Public()
	}
	algorithm := jwk.Algorithm
	if algorithm == "" {
		algorithm = naturalAlgorithm(material)
	}
	if method(algorithm) == nil {
		return nil, fmt.Errorf("the key %q is of an algorithm that is not ours", jwk.KeyID)
	}
	key, err := newPublic(jwk.KeyID, algorithm, material)
	if err != nil {
		return nil, fmt.Errorf("the key %q: %w", jwk.KeyID, err)
	}
	return key, nil
}

// JWKS writes the public keys that verify tokens of the whole federation, as
// a JWKS document. Secrets, keys of one node and keys of others are left out.
func (s *KeySet) JWKS() ([]byte, error) {
	document := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range s.keys {
		if key.Algorithm == HS256 || key.Node != "" || key.Remote {
			continue
		}
		document.Keys = append(document.Keys, jose.JSONWebKey{Key: key.verify, KeyID: key.ID, Algorithm: key.Algorithm, Use: "sig"})
	}
	return json.Marshal(document)
}
