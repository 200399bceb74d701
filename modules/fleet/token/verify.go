package token

import (
	"encoding/base64"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Caps on a token. They are looked at before anything is decoded.
const (
	// MaxLength is the longest token, in bytes.
	MaxLength = 4 << 10
	// maxHeader is the longest header, decoded.
	maxHeader = 512
	// maxDepth is how deep claims may nest.
	maxDepth = 8
)

// Verifier tells good tokens from others. It looks in this order: length,
// characters and dots, header, key, algorithm, signature, and only then the
// claims.
type Verifier struct {
	// Keys verify. Required.
	Keys *KeySet
	// Issuer is the `iss` to expect.
	Issuer string
	// Audience is the values of `aud` to expect one of. Empty: any or none.
	Audience []string
	// MaxLifetime is the longest time from `iat` to `exp`.
	MaxLifetime time.Duration
	// Leeway is how far clocks may be ahead of ours: for `iat`, `nbf` and the
	// lifetime. It never prolongs a token: `exp` is exact.
	Leeway time.Duration
	// Epochs are the seconds in which nodes were last revoked, by slug. What a
	// node is given right then is of the second that follows, whatever the
	// clock says.
	Epochs map[string]int64
	// Self are the names by which we sign what we send to nodes: none of it
	// proves to us who a node is.
	Self []string
}

// Verified is a good token.
type Verified struct {
	Claims Claims
	// Key is what it was signed with.
	Key *Key
	// Legacy is why the token is good only for the compatible face, or nil.
	Legacy *Refusal
}

// Verify checks a whole token. With legacy it accepts what the old fleet
// makes: tokens without `kid`, which are checked against the secrets of the
// set, without `jti`, `iat` or `aud`, and of any issuer.
func (v *Verifier) Verify(raw string, now time.Time, legacy bool) (*Verified, *Refusal) {
	signed, refusal := v.Keys.Signature(raw, legacy)
	if refusal != nil {
		return nil, refusal
	}
	claims, refusal := DecodeClaims(signed.Payload)
	if refusal != nil {
		return nil, refusal
	}
	refusal, old := v.Check(&claims, signed.Key, now)
	if refusal != nil {
		return nil, refusal
	}
	if old != nil && !legacy {
		return nil, old
	}
	if signed.Legacy != nil {
		old = signed.Legacy
	}
	return &Verified{Claims: claims, Key: signed.Key, Legacy: old}, nil
}

// Signed is a token whose signature is good, and of which nothing else is known.
type Signed struct {
	// Payload is the decoded second part.
	Payload []byte
	// Key is what it was signed with.
	Key *Key
	// Legacy is why it is good only for the compatible face, or nil.
	Legacy *Refusal
}

// strict decodes base64url without padding, and refuses bits that do not belong.
var strict = jwt.NewParser(jwt.WithStrictDecoding())

// Signature checks everything but the claims.
func (s *KeySet) Signature(raw string, legacy bool) (Signed, *Refusal) {
	header, payload, signature, refusal := split(raw)
	if refusal != nil {
		return Signed{}, refusal
	}
	if base64.RawURLEncoding.DecodedLen(len(header)) > maxHeader {
		return Signed{}, ErrHeaderLong
	}
	text, err := strict.DecodeSegment(header)
	if err != nil {
		return Signed{}, ErrMalformed
	}
	head, refusal := decodeHeader(text)
	if refusal != nil {
		return Signed{}, refusal
	}
	signed := Signed{}
	var candidates []*Key
	if head.hasKeyID {
		key := s.byID[head.keyID]
		if key == nil {
			return Signed{}, ErrUnknown
		}
		if head.algorithm != key.Algorithm {
			return Signed{}, ErrAlgorithm
		}
		signed.Key = key
	} else {
		if signed.Legacy = ErrNoKeyID; !legacy {
			return Signed{}, ErrNoKeyID
		}
		if candidates = s.secrets; head.algorithm != HS256 || len(candidates) == 0 {
			return Signed{}, ErrAlgorithm
		}
	}
	proof, err := strict.DecodeSegment(signature)
	if err != nil {
		return Signed{}, ErrMalformed
	}
	if signed.Payload, err = strict.DecodeSegment(payload); err != nil {
		return Signed{}, ErrMalformed
	}
	input := raw[:len(header)+1+len(payload)]
	if signed.Key != nil {
		if signed.Key.method.Verify(input, proof, signed.Key.verify) != nil {
			return Signed{}, ErrSignature
		}
		return signed, nil
	}
	for _, key := range candidates {
		if key.method.Verify(input, proof, key.verify) == nil {
			signed.Key = key
			return signed, nil
		}
	}
	return Signed{}, ErrSignature
}

// split cuts a token at its two dots, when it has no other character than
// base64url has.
func split(raw string) (header, payload, signature string, refusal *Refusal) {
	if len(raw) > MaxLength {
		return "", "", "", ErrTooLong
	}
	first, second := -1, -1
	for i := range len(raw) {
		switch c := raw[i]; {
		case base64url[c]:
		case c != '.' || second >= 0:
			return "", "", "", ErrMalformed
		case first < 0:
			first = i
		default:
			second = i
		}
	}
	if second < 0 || first == 0 || second == len(raw)-1 {
		return "", "", "", ErrMalformed
	}
	return raw[:first], raw[first+1 : second], raw[second+1:], nil
}

// base64url is the alphabet of RFC 4648 section 5.
var base64url = func() (is [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		is[c] = true
	}
	return is
}()

// LooksLikeJWT tells whether a credential is to be read as a token: it has
// two dots.
func LooksLikeJWT(raw string) bool { return strings.Count(raw, ".") == 2 }
