package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
)

func TestKeySet(t *testing.T) {
	first, second := secretKey(t, "a", secret), secretKey(t, "b", secret+"2")
	own := secretKey(t, "c", secret+"3").For("shop")
	if _, err := NewKeySet(first, second, secretKey(t, "a", "x")); err == nil {
		t.Error("two keys of one id were taken")
	}
	if _, err := NewKeySet(secretKey(t, "", "x")); err == nil {
		t.Error("a key without an id was taken")
	}
	set := keySet(t, first.VerifyOnly(), second, own)
	if set.Signing("shop").ID != "c" || set.Signing("docs").ID != "b" || set.Signing("").ID != "b" {
		t.Error("the wrong key signs")
	}
	if !set.Bound("shop") || set.Bound("docs") || len(set.Secrets()) != 2 {
		t.Error("the bound key is not apart")
	}
	// a token without a kid is tried with every secret of all, and with no node's own
	for i, c := range []struct {
		secret  string
		refusal *Refusal
	}{{secret, nil}, {secret + "2", nil}, {secret + "3", ErrSignature}} {
		input := encode(`{"alg":"HS256"}`) + "." + encode(good)
		mac := hmac.New(sha256.New, []byte(c.secret))
		mac.Write([]byte(input))
		if _, refusal := set.Signature(input+"."+encode(string(mac.Sum(nil))), true); refusal != c.refusal {
			t.Errorf("secret %d: %v", i, refusal)
		}
	}
}

func TestSameKey(t *testing.T) {
	rsaKey, public := pemKey(t, "k", RS256)
	again, err := NewPEM("k", RS256, public)
	if err != nil {
		t.Fatal(err)
	}
	if !rsaKey.VerifyOnly().Same(again) || rsaKey.Same(again) {
		t.Error("one key read twice")
	}
	ec, _ := pemKey(t, "k", ES256)
	if ec.Same(rsaKey) || secretKey(t, "k", "a").Same(secretKey(t, "k", "b")) || !secretKey(t, "k", "a").Same(secretKey(t, "k", "a")) {
		t.Error("different keys are the same")
	}
}

func TestBrokenPEM(t *testing.T) {
	_, public := pemKey(t, "k", RS256)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&small.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der384, err := x509.MarshalPKIXPublicKey(&curve.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		algorithm string
		text      []byte
		says      string
	}{
		"nothing":        {RS256, nil, "holds no key for RS256"},
		"a secret":       {ES256, []byte("hunter2"), "holds no key for ES256"},
		"another kind":   {ES256, public, "holds no key for ES256"},
		"for Ed25519":    {EdDSA, public, "holds no key for EdDSA"},
		"too small":      {RS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "1024 bits"},
		"of wrong curve": {ES256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der384}), "P-384"},
	} {
		if _, err := NewPEM("k", c.algorithm, c.text); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
