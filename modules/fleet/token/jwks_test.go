package token

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestJWKS writes the public keys and reads them as another gateway would.
func TestJWKS(t *testing.T) {
	rsaKey, _ := pemKey(t, "r", RS256)
	ecKey, _ := pemKey(t, "e", ES256)
	edKey, _ := pemKey(t, "d", EdDSA)
	own, _ := pemKey(t, "own", EdDSA)
	foreign, _ := pemKey(t, "foreign", EdDSA)
	foreign.Remote = true
	set := keySet(t, secretKey(t, "s", secret), rsaKey, ecKey, edKey, own.For("shop"), foreign)
	text, err := set.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []string{`"d":`, `"k":`, `"p":`, secret, `"own"`, `"foreign"`, "oct"} {
		if strings.Contains(string(text), private) {
			t.Errorf("the document holds %s: %s", private, text)
		}
	}
	keys, err := ParseJWKS(text)
	if err != nil || len(keys) != 3 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for i, key := range []*Key{rsaKey, ecKey, edKey} {
		if !key.VerifyOnly().Same(keys[i]) {
			t.Errorf("key %s came back as another", key.ID)
		}
		raw, err := key.Sign(claimsOf(now))
		if err != nil {
			t.Fatal(err)
		}
		if _, refusal := verifier(t, keys...).Verify(raw, now, false); refusal != nil {
			t.Errorf("key %s: %v", key.ID, refusal)
		}
	}
	empty, err := keySet(t, secretKey(t, "s", secret)).JWKS()
	if err != nil || string(empty) != `{"keys":[]}` {
		t.Errorf("no public key: %s, %v", empty, err)
	}
}

func TestBrokenJWKS(t *testing.T) {
	const ed = `{"kty":"OKP","crv":"Ed25519","kid":"%s","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"%s}`
	many := make([]string, maxJWKS+1)
	for i := range many {
		many[i] = fmt.Sprintf(ed, fmt.Sprint(i), "")
	}
	for name, c := range map[string]struct{ keys, says string }{
		"no key":      {``, "no key that verifies"},
		"two of one":  {fmt.Sprintf(ed, "a", "") + "," + fmt.Sprintf(ed, "a", ""), "two keys"},
		"symmetric":   {`{"kty":"oct","kid":"s","alg":"HS256","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, "symmetric"},
		"no kid":      {fmt.Sprintf(ed, "", ""), "no key that verifies"},
		"use":         {fmt.Sprintf(ed, "a", `,"use":"enc"`), "no key that verifies"},
		"key_ops":     {fmt.Sprintf(ed, "a", `,"key_ops":["sign"]`), "no key that verifies"},
		"alg":         {fmt.Sprintf(ed, "a", `,"alg":"RS256"`), "no key that verifies"},
		"alg unknown": {fmt.Sprintf(ed, "a", `,"alg":"none"`), "no key that verifies"},
		"too many":    {strings.Join(many, ","), "at most"},
	} {
		if _, err := ParseJWKS([]byte(`{"keys":[` + c.keys + `]}`)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "[]", "<html>", `{"keys":{}}`} {
		if _, err := ParseJWKS([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	// what is not ours is left out, and the rest is read
	keys, err := ParseJWKS([]byte(`{"keys":[{"kty":"XYZ"},` + fmt.Sprintf(ed, "a", `,"use":"sig","key_ops":["verify"]`) + `]}`))
	if err != nil || len(keys) != 1 || keys[0].Algorithm != EdDSA {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	var private json.RawMessage = []byte(`{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}`)
	if key, err := ParseJWK(private); err != nil || key.CanSign() {
		t.Errorf("the private part of a published key: %v", err)
	}
}
