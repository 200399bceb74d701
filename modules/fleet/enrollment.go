package fleet

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

// The modes of enrollment.
const (
	// EnrollmentOff: only an operator adds nodes.
	EnrollmentOff = "off"
	// EnrollmentSecret: who knows the secret is a node at once.
	EnrollmentSecret = "secret"
	// EnrollmentApproval: anybody may ask, and waits for an operator's word.
	EnrollmentApproval = "approval"
)

// EnrollmentConfig says who may register as a node.
type EnrollmentConfig struct {
	// Mode is off, secret or approval. Default: off.
	Mode string `json:"mode,omitempty"`
	// Secret is what a node must show with mode secret, at least 16 bytes.
	// Placeholders such as {env.ENROLLMENT_SECRET} are replaced when the
	// config is loaded. Default: none.
	Secret string `json:"secret,omitempty"`
}

// minEnrollmentSecret is the shortest secret: shorter ones can be guessed.
const minEnrollmentSecret = 16

// enrollment is who may register.
type enrollment struct {
	mode string
	hash [sha256.Size]byte // of the secret
}

func (c *EnrollmentConfig) load(repl *caddy.Replacer) (e enrollment, err error) {
	if c == nil || c.Mode == "" || c.Mode == EnrollmentOff {
		return enrollment{mode: EnrollmentOff}, nil
	}
	switch c.Mode {
	case EnrollmentApproval:
		return enrollment{mode: EnrollmentApproval}, nil
	case EnrollmentSecret:
		secret, err := repl.ReplaceOrErr(c.Secret, true, true)
		if err != nil {
			return e, fmt.Errorf("enrollment secret: %w", err)
		}
		if len(secret) < minEnrollmentSecret {
			return e, fmt.Errorf("enrollment secret: it has %d bytes, expected at least %d", len(secret), minEnrollmentSecret)
		}
		return enrollment{mode: EnrollmentSecret, hash: sha256.Sum256([]byte(secret))}, nil
	default:
		return e, errors.New("enrollment: unknown mode, expected off, secret or approval")
	}
}

// knows tells whether the secret is the right one, in the same time for every
// wrong one.
func (e enrollment) knows(secret string) bool {
	shown := sha256.Sum256([]byte(secret))
	return e.mode == EnrollmentSecret && subtle.ConstantTimeCompare(shown[:], e.hash[:]) == 1
}
