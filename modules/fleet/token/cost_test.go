package token

import (
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The pair that holds "an uncached verification costs at most 1.3 times
// golang-jwt's own parse"; TestCost compares them in one run.
func BenchmarkVerify(b *testing.B) {
	v, raw := verifier(b, secretKey(b, "main", secret)), hs256(good)
	b.ReportAllocs()
	for b.Loop() {
		if _, refusal := v.Verify(raw, now, false); refusal != nil {
			b.Fatal(refusal)
		}
	}
}

func BenchmarkLibrary(b *testing.B) {
	parse, raw := library(), hs256(good)
	b.ReportAllocs()
	for b.Loop() {
		if err := parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// library is golang-jwt's own parse with the options that a careful caller sets.
func library() func(raw string) error {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithStrictDecoding(), jwt.WithExpirationRequired(),
		jwt.WithIssuer("caddy-federation"), jwt.WithTimeFunc(func() time.Time { return now }))
	keys := map[string][]byte{"main": []byte(secret)}
	return func(raw string) error {
		_, err := parser.Parse(raw, func(token *jwt.Token) (any, error) {
			id, _ := token.Header["kid"].(string)
			return keys[id], nil
		})
		return err
	}
}

// TestCost compares the two in alternating rounds, so that a busy machine
// slows both.
func TestCost(t *testing.T) {
	v, parse, raw := verifier(t, secretKey(t, "main", secret)), library(), hs256(good)
	best := 0.0
	for range 5 { // one calm round is enough
		var ours, theirs time.Duration
		for range 40 {
			start := time.Now()
			for range 100 {
				if _, refusal := v.Verify(raw, now, false); refusal != nil {
					t.Fatal(refusal)
				}
			}
			middle := time.Now()
			for range 100 {
				if err := parse(raw); err != nil {
					t.Fatal(err)
				}
			}
			ours, theirs = ours+middle.Sub(start), theirs+time.Since(middle)
		}
		if best = float64(ours) / float64(theirs); best <= 1.3 {
			t.Logf("%.2f times golang-jwt's parse", best)
			return
		}
	}
	t.Errorf("%.2f times golang-jwt's parse, expected at most 1.3", best)
}

func Example() {
	key, err := NewSecret("2026-11", "a secret of more than thirty-two bytes")
	if err != nil {
		panic(err)
	}
	now := time.Unix(1_767_268_800, 0)
	raw, err := key.Sign(jwt.MapClaims{
		"iss": "caddy-federation", "sub": 4, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": ID(), "type": "child",
	})
	if err != nil {
		panic(err)
	}
	keys, err := NewKeySet(key)
	if err != nil {
		panic(err)
	}
	verifier := Verifier{Keys: keys, Issuer: "caddy-federation", MaxLifetime: time.Hour, Leeway: 30 * time.Second}
	for _, at := range []time.Duration{0, time.Hour} {
		verified, refusal := verifier.Verify(raw, now.Add(at), false)
		if refusal != nil {
			fmt.Println(refusal)
			continue
		}
		fmt.Println("node", verified.Claims.SubjectID)
	}
	// Output:
	// node 4
	// the token has expired (exp)
}
