package fleet

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestAKeyInPlaceOfItsFileIsNotRepeated: who gives the key itself where a file is
// expected does not find it in the log.
func TestAKeyInPlaceOfItsFileIsNotRepeated(t *testing.T) {
	for _, secret := range []string{
		"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----\n", `-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA`,
		"MC4CAQAwBQYDK2VwBCIEIA", "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tMC4CAQAwBQYDK2VwBCIEIA==", "x\nMC4CAQAwBQYDK2VwBCIEIA.pem",
	} {
		_, err := KeyConfig{ID: "main", Algorithm: "EdDSA", Secret: secret}.load(caddy.NewReplacer())
		if err == nil || strings.Contains(err.Error(), "MC4CAQ") || strings.Contains(err.Error(), "LS0t") || !strings.Contains(err.Error(), "expected the name of a file") {
			t.Errorf("%q: %v", secret, err)
		}
	}
	_, err := KeyConfig{ID: "main", Algorithm: "EdDSA", Secret: "/nowhere/key.pem"}.load(caddy.NewReplacer())
	if err == nil || !strings.Contains(err.Error(), "/nowhere/key.pem: no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestTheAddressOfAJWKSForLogs(t *testing.T) {
	if got := (JWKSConfig{URL: "https://user:secret@keys.example.com/jwks?k=secret"}).address(); got != "https://keys.example.com/jwks" {
		t.Errorf("it is %s", got)
	}
}
