package token

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// Hash is how an API key or refresh token is stored: the lower-case hex
// SHA-256 of its text, as the old fleet has it. Both are random enough that
// a slow hash would add nothing.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// IDLength is the length of an [ID].
const IDLength = 32

// ID returns a new random id of 128 bits as 32 lower-case hex digits: a `jti`,
// a family.
func ID() string { return randomHex(IDLength / 2) }

// NewRefresh returns a new refresh token: 256 bits as 64 lower-case hex
// digits, which is the format that clients of the old fleet know.
func NewRefresh() string { return randomHex(32) }

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// LooksLikeRefresh tells whether the text has the format of a refresh token.
func LooksLikeRefresh(text string) bool {
	if len(text) != 64 {
		return false
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// The parts of an API key, fed_<id>_<secret>_<checksum>, all base62. The
// prefix and checksum let secret scanners find lost keys, and a mistyped one
// is refused without a lookup.
const (
	apiKeyPrefix   = "fed_"
	apiKeyIDLength = 10
	apiKeySecret   = 43 // 256 bits
	apiKeyChecksum = 6
	base62         = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewAPIKey returns a new key and the public id in it.
func NewAPIKey() (key, id string) {
	id = randomBase62(apiKeyIDLength)
	body := apiKeyPrefix + id + "_" + randomBase62(apiKeySecret)
	return body + "_" + checksum(body), id
}

func randomBase62(length int) string {
	var text strings.Builder
	buffer := make([]byte, 64)
	for text.Len() < length {
		_, _ = rand.Read(buffer)
		for _, b := range buffer {
			// bytes past the last multiple of 62 would favour the first digits
			if int(b) < 256-256%len(base62) && text.Len() < length {
				text.WriteByte(base62[int(b)%len(base62)])
			}
		}
	}
	return text.String()
}

// checksum is the CRC-32 (IEEE) of the text in six base62 digits.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	digits := make([]byte, apiKeyChecksum)
	for i := range digits {
		digits[len(digits)-1-i] = base62[sum%uint32(len(base62))]
		sum /= uint32(len(base62))
	}
	return string(digits)
}

// IsAPIKey tells whether the text claims to be one of our API keys.
func IsAPIKey(text string) bool { return strings.HasPrefix(text, apiKeyPrefix) }

// APIKeyID returns the public id of an API key whose form and checksum are right.
func APIKeyID(key string) (id string, ok bool) {
	const length = len(apiKeyPrefix) + apiKeyIDLength + 1 + apiKeySecret + 1 + apiKeyChecksum
	if len(key) != length || !IsAPIKey(key) {
		return "", false
	}
	body, sum := key[:length-1-apiKeyChecksum], key[length-apiKeyChecksum:]
	id = key[len(apiKeyPrefix) : len(apiKeyPrefix)+apiKeyIDLength]
	secret := body[len(apiKeyPrefix)+apiKeyIDLength+1:]
	if body[len(apiKeyPrefix)+apiKeyIDLength] != '_' || key[len(body)] != '_' || !isBase62(id) || !isBase62(secret) || checksum(body) != sum {
		return "", false
	}
	return id, true
}

func isBase62(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// Sizes of an API key that another system made.
const (
	minImportedKey = 32
	maxImportedKey = 255
)

// Importable tells whether the text can be an API key that another system
// made: 32 to 255 visible ASCII characters, and neither the form of a token
// nor of our own keys. The old fleet's have 64 letters and digits by default.
func Importable(text string) bool {
	if len(text) < minImportedKey || len(text) > maxImportedKey || IsAPIKey(text) || LooksLikeJWT(text) {
		return false
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// sealInfo separates this use of a token from every other.
const sealInfo = "caddy-federation refresh reply v1"

// Seal encrypts a text so that only who knows the secret can read it:
// AES-256-GCM under a key derived from the secret by HKDF-SHA-256.
func Seal(secret, text string) ([]byte, error) {
	aead, err := sealer(secret)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(text)+aead.Overhead())
	_, _ = rand.Read(nonce)
	return aead.Seal(nonce, nonce, []byte(text), nil), nil
}

// Open decrypts what [Seal] made with the same secret.
func Open(secret string, sealed []byte) (string, error) {
	aead, err := sealer(secret)
	if err != nil {
		return "", err
	}
	if len(sealed) < aead.NonceSize() {
		return "", errors.New("the sealed text is cut short")
	}
	text, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
	if err != nil {
		return "", errors.New("the sealed text is of another secret or was changed")
	}
	return string(text), nil
}

func sealer(secret string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, sealInfo, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of a seal: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making the cipher of a seal: %w", err)
	}
	return cipher.NewGCM(block)
}
