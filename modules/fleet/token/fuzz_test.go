package token

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// FuzzVerify: whatever comes, there is no panic, only good tokens are good,
// and what is accepted strictly is accepted by the compatible face too.
func FuzzVerify(f *testing.F) {
	for _, token := range readContract(f).Tokens {
		f.Add(token.Token, false)
	}
	for _, claims := range []string{good, "{}", "[]", `{"exp":1e999}`, `{"sub":{"a":[1]}}`, `{"a":` + strings.Repeat("[", 100)} {
		f.Add(hs256(claims), true)
		f.Add(claims, false)
		f.Add(claims, true)
	}
	f.Add(`{"alg":"HS256","kid":"main","jwk":{}}`, true)
	key := secretKey(f, "main", secret)
	v := verifier(f, key)
	f.Fuzz(func(t *testing.T, raw string, sign bool) {
		if sign { // what is behind the signature
			raw = hs256(raw)
		}
		strict, refusal := v.Verify(raw, now, false)
		if (strict == nil) == (refusal == nil) {
			t.Fatal("neither good nor refused")
		}
		if refusal != nil && refusal.Reason == "" {
			t.Fatal("refused without a reason")
		}
		legacy, refusal := v.Verify(raw, now, true)
		if strict == nil {
			return
		}
		if refusal != nil || legacy.Legacy != nil || strict.Legacy != nil {
			t.Fatalf("the compatible face is stricter: %v", refusal)
		}
		c := strict.Claims
		if c.Expires <= now.Unix() || c.Expires-c.IssuedAt > 3630 || c.ID == "" || c.Issuer != v.Issuer || c.SubjectID <= 0 && c.Subject == "" {
			t.Fatalf("accepted %+v", c)
		}
		// the library alone agrees
		if _, err := jwt.Parse(raw, func(*jwt.Token) (any, error) { return []byte(secret), nil },
			jwt.WithValidMethods([]string{"HS256"}), jwt.WithLeeway(v.Leeway), jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithStrictDecoding()); err != nil {
			t.Fatalf("golang-jwt refuses it: %v", err)
		}
	})
}

// FuzzJWKS: whatever a server sends, there is no panic and no key that signs.
func FuzzJWKS(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","kid":"a","alg":"HS256","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseJWKS(text)
		if (err == nil) != (len(keys) > 0) {
			t.Fatal("neither keys nor an error")
		}
		for _, key := range keys {
			if key.CanSign() || key.Secret() != nil || key.ID == "" {
				t.Fatalf("got %v", key.ID)
			}
		}
	})
}
