package token

import (
	"encoding/json"
	"os"
	"testing"
)

// vectors is a file of Wycheproof.
type vectors struct {
	NumberOfTests int
	TestGroups    []struct {
		Public, Private json.RawMessage
		Tests           []struct {
			TcID            int `json:"tcId"`
			Comment, Result string
			JWS             json.RawMessage
		}
	}
}

func readVectors(t *testing.T, file string) (v vectors) {
	t.Helper()
	text, err := os.ReadFile("../../../testdata/vectors/wycheproof/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// compact returns a vector's token; the JSON serialisation as its text.
func compact(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return string(raw)
	}
	return text
}

// TestWycheproofSignatures gives every vector the verdict of
// ../../../testdata/vectors/README.md.
func TestWycheproofSignatures(t *testing.T) {
	leftOut := map[int]string{
		367: "byte-identical to the valid 357: its padding was lost when the suite became JSON",
		370: "byte-identical to the valid 357: its padding was lost when the suite became JSON",
	}
	refused := map[int]string{372: "a ? inside the base64", 373: "a ? inside the base64"}
	file := readVectors(t, "json_web_signature_test.json")
	count, accepted := 0, 0
	for _, group := range file.TestGroups {
		text := group.Public
		if text == nil {
			text = group.Private
		}
		keys := new(KeySet)
		key, err := ParseJWK(text)
		if err == nil {
			keys = keySet(t, key)
		}
		for _, test := range group.Tests {
			count++
			if leftOut[test.TcID] != "" {
				continue
			}
			// a key of another algorithm is no key of ours: its tokens are refused by policy
			expected := test.Result == "valid" && err == nil && refused[test.TcID] == ""
			_, refusal := keys.Signature(compact(test.JWS), false)
			if (refusal == nil) != expected {
				t.Errorf("%d %s: got %v, expected %s", test.TcID, test.Comment, refusal, test.Result)
			}
			if refusal == nil {
				accepted++
			}
		}
	}
	if count != 401 || count != file.NumberOfTests {
		t.Errorf("%d vectors, expected 401", count)
	}
	// of 46 valid ones: 26 are of algorithms that are not ours (RS384, RS512, PS*, ES512), two are 372 and 373
	if accepted != 18 {
		t.Errorf("%d were accepted, expected 18", accepted)
	}
}

// TestWycheproofKeys holds the key loader to the suite's key sets.
func TestWycheproofKeys(t *testing.T) {
	file := readVectors(t, "json_web_key_test.json")
	count := 0
	for _, group := range file.TestGroups {
		text := group.Public
		if text == nil {
			text = group.Private
		}
		keys := parseAny(text)
		for _, test := range group.Tests {
			count++
			expected := test.Result == "valid"
			switch test.TcID {
			case 14, 15: // HS384 and HS512 are not ours
				expected = false
			}
			if _, refusal := keys.Signature(compact(test.JWS), false); (refusal == nil) != expected {
				t.Errorf("%d %s: got %v, expected %s", test.TcID, test.Comment, refusal, test.Result)
			}
		}
	}
	if count != file.NumberOfTests || count == 0 {
		t.Errorf("%d vectors of %d", count, file.NumberOfTests)
	}
}

// parseAny reads a JWKS, also one with nothing but symmetric keys.
func parseAny(text []byte) *KeySet {
	keys, err := ParseJWKS(text)
	if err != nil {
		var document struct{ Keys []json.RawMessage }
		if json.Unmarshal(text, &document) != nil {
			return new(KeySet)
		}
		for _, raw := range document.Keys {
			key, err := ParseJWK(raw)
			if err != nil || key.Algorithm != HS256 {
				return new(KeySet)
			}
			keys = append(keys, key)
		}
	}
	set, err := NewKeySet(keys...)
	if err != nil {
		return new(KeySet)
	}
	return set
}
