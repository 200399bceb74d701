package token

import (
	"strings"
	"testing"
)

func TestAPIKey(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		key, id := NewAPIKey()
		got, ok := APIKeyID(key)
		if !ok || got != id || seen[key] || len(strings.Split(key, "_")) != 4 || Importable(key) {
			t.Fatalf("%s of %s: %s, %v", key, id, got, ok)
		}
		seen[key] = true
	}
	key, _ := NewAPIKey()
	for i := range len(key) { // no single mistyped character passes
		changed := []byte(key)
		if changed[i]++; changed[i] == key[i] {
			continue
		}
		if _, ok := APIKeyID(string(changed)); ok {
			t.Fatalf("%s passes for %s", changed, key)
		}
	}
	for _, wrong := range []string{"", "fed_", key + "x", key[1:], strings.ToUpper(key), strings.Repeat("fed_", 17) + "ab"} {
		if _, ok := APIKeyID(wrong); ok {
			t.Errorf("%q passes", wrong)
		}
	}
}

func TestImportable(t *testing.T) {
	for text, expected := range map[string]bool{
		strings.Repeat("a", 64): true, strings.Repeat("a", 31): false, strings.Repeat("a", 256): false,
		strings.Repeat("a", 63) + " ": false, strings.Repeat("a", 63) + "\n": false, strings.Repeat("é", 32): false,
		strings.Repeat("a", 40) + ".b.c": false,
	} {
		if Importable(text) != expected {
			t.Errorf("%q: expected %v", text, expected)
		}
	}
}

func TestRefresh(t *testing.T) {
	a, b := NewRefresh(), NewRefresh()
	if a == b || !LooksLikeRefresh(a) || len(Hash(a)) != 64 || Hash(a) == Hash(b) {
		t.Error("refresh tokens are not random, or not as the old fleet has them")
	}
	for _, text := range []string{"", a[1:], a + "0", strings.ToUpper(a[:63]) + "G", a[:63] + "\x00"} {
		if LooksLikeRefresh(text) {
			t.Errorf("%q looks like one", text)
		}
	}
}

func TestSeal(t *testing.T) {
	first, err := Seal("secret", "text")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Seal("secret", "text")
	if err != nil {
		t.Fatal(err)
	}
	if string(first) == string(second) || strings.Contains(string(first), "text") {
		t.Error("the seal shows what is in it")
	}
	if text, err := Open("secret", first); err != nil || text != "text" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := Open("Secret", first); err == nil {
		t.Error("another secret opens it")
	}
	for i := range first {
		first[i] ^= 1
		if _, err := Open("secret", first); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
		first[i] ^= 1
	}
	for cut := range len(first) {
		if _, err := Open("secret", first[:cut]); err == nil {
			t.Errorf("it can be cut at %d", cut)
		}
	}
}

func FuzzAPIKey(f *testing.F) {
	key, _ := NewAPIKey()
	f.Add(key)
	f.Add("fed_")
	f.Add(strings.Repeat("_", 69))
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := APIKeyID(text); ok && (len(id) != apiKeyIDLength || !strings.Contains(text, id)) {
			t.Fatalf("%q has the id %q", text, id)
		}
		Importable(text)
	})
}
