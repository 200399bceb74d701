package token

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// contract is ../../../testdata/contract/jwt.json: tokens as the old fleet
// makes them, with the verdict a gateway must give.
type contract struct {
	Secret string `json:"secret"`
	Now    int64  `json:"now"`
	Tokens []struct {
		Name, What, Token, Gateway string
	} `json:"tokens"`
	RefreshTokens struct {
		Valid struct{ Token, SHA256 string } `json:"valid"`
	} `json:"refresh_tokens"`
	APIKeys struct {
		Valid string `json:"valid"`
	} `json:"api_keys"`
}

func readContract(t testing.TB) (c contract) {
	t.Helper()
	text, err := os.ReadFile("../../../testdata/contract/jwt.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func secretKey(t testing.TB, id, secret string) *Key {
	t.Helper()
	key, err := NewSecret(id, secret)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keySet(t testing.TB, keys ...*Key) *KeySet {
	t.Helper()
	set, err := NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestContract gives every token of the old fleet its verdict, and none a
// better one where the old fleet is not accepted.
func TestContract(t *testing.T) {
	c := readContract(t)
	v := Verifier{Keys: keySet(t, secretKey(t, "main", c.Secret)), Issuer: "caddy-federation", MaxLifetime: time.Hour, Leeway: 30 * time.Second}
	now := time.Unix(c.Now, 0)
	for _, token := range c.Tokens {
		t.Run(token.Name, func(t *testing.T) {
			// settings named in the verdicts: one refused token is good with another key set or audience
			expected := strings.HasPrefix(token.Gateway, "accept")
			switch token.Gateway {
			case "accept", "reject", "accept (coerce)", "accept within configured leeway", "accept when the audience matches or none is configured",
				"reject unless lenient mode is on": // there is no such mode
			case "accept when no key set is configured, else look up": // a federation's keys are always a set
				other := v
				other.Keys = keySet(t, secretKey(t, "k1", c.Secret))
				if _, refusal := other.Verify(token.Token, now, true); refusal != nil {
					t.Errorf("refused although its key is there: %v", refusal)
				}
				expected = false
			case "accept only if shared_secret mode is enabled; constant time compare": // no token: the fleet compares it
				expected = false
			default:
				t.Fatalf("a verdict this test does not know: %s", token.Gateway)
			}
			verified, refusal := v.Verify(token.Token, now, true)
			if (refusal == nil) != expected {
				t.Fatalf("%s: got %v, expected %s", token.What, refusal, token.Gateway)
			}
			if refusal != nil {
				return
			}
			if verified.Claims.SubjectID != 1 || verified.Legacy == nil {
				t.Errorf("got %+v", verified)
			}
			if _, refusal := v.Verify(token.Token, now, false); refusal != ErrNoKeyID {
				t.Errorf("outside the compatible face: %v", refusal)
			}
		})
	}
	for audience, expected := range map[string]*Refusal{"orchard-shop": nil, "mill": ErrAudience} {
		v := v
		v.Audience = []string{"x", audience}
		for _, token := range c.Tokens {
			if token.Name == "valid_with_aud" {
				if _, refusal := v.Verify(token.Token, now, true); refusal != expected {
					t.Errorf("audience %s: %v", audience, refusal)
				}
			}
		}
	}
	if !LooksLikeRefresh(c.RefreshTokens.Valid.Token) || Hash(c.RefreshTokens.Valid.Token) != c.RefreshTokens.Valid.SHA256 {
		t.Error("the refresh token of the old fleet is not understood")
	}
	if !Importable(c.APIKeys.Valid) {
		t.Error("the api key of the old fleet is not understood")
	}
}
