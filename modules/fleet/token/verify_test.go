package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const secret = "a secret of more than thirty-two bytes"

var now = time.Unix(1_767_268_800, 0)

// good are claims that every face accepts.
const good = `{"iss":"caddy-federation","sub":1,"node_slug":"shop","iat":1767268800,"exp":1767269100,"jti":"j1","capabilities":["search"],"type":"child"}`

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// signed signs whatever it is given with the secret.
func signed(header, claims string) string {
	input := encode(header) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(input))
	return input + "." + encode(string(mac.Sum(nil)))
}

func hs256(claims string) string { return signed(`{"typ":"JWT","alg":"HS256","kid":"main"}`, claims) }

// counted is a signing method that tells how often it was asked.
type counted struct {
	jwt.SigningMethod
	asked int
}

func (c *counted) Verify(input string, proof []byte, key any) error {
	c.asked++
	return c.SigningMethod.Verify(input, proof, key)
}

func verifier(t testing.TB, keys ...*Key) *Verifier {
	return &Verifier{Keys: keySet(t, keys...), Issuer: "caddy-federation", MaxLifetime: time.Hour, Leeway: 30 * time.Second}
}

var newRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// pemKey returns a new key of the algorithm from PEM, and its public part as PEM.
func pemKey(t testing.TB, id, algorithm string) (*Key, []byte) {
	t.Helper()
	var private any
	var err error
	switch algorithm {
	case RS256:
		private = newRSA()
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewPEM(id, algorithm, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
	if err != nil {
		t.Fatal(err)
	}
	if text, err = x509.MarshalPKIXPublicKey(key.verify); err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: text})
}

func claimsOf(now time.Time) jwt.MapClaims {
	return jwt.MapClaims{
		"iss": "caddy-federation", "sub": 7, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": "j", "type": "child",
		"capabilities": []string{"search"},
	}
}

// TestAlgorithms signs with each algorithm and verifies with the public part.
func TestAlgorithms(t *testing.T) {
	for _, algorithm := range []string{HS256, RS256, ES256, EdDSA} {
		signing, verifying := secretKey(t, "main", secret), secretKey(t, "main", secret).VerifyOnly()
		if algorithm != HS256 {
			private, public := pemKey(t, "main", algorithm)
			signing = private
			var err error
			if verifying, err = NewPEM("main", algorithm, public); err != nil {
				t.Fatal(err)
			}
		}
		raw, err := signing.Sign(claimsOf(now))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []*Key{signing, verifying} {
			if verified, refusal := verifier(t, key).Verify(raw, now, false); refusal != nil || verified.Claims.SubjectID != 7 {
				t.Errorf("%s: %+v, %v", algorithm, verified, refusal)
			}
		}
		if verifying.CanSign() {
			t.Errorf("%s: a public key signs", algorithm)
		}
		if _, err := verifying.Sign(claimsOf(now)); err == nil {
			t.Errorf("%s: a public key signed", algorithm)
		}
	}
}

// TestAlgorithmConfusion: the public key as a secret, and one key's token under another's id.
func TestAlgorithmConfusion(t *testing.T) {
	key, public := pemKey(t, "rsa", RS256)
	ec, _ := pemKey(t, "ec", ES256)
	v := verifier(t, key, ec, secretKey(t, "main", secret))
	forged := secretKey(t, "rsa", string(public))
	raw, err := forged.Sign(claimsOf(now))
	if err != nil {
		t.Fatal(err)
	}
	for _, legacy := range []bool{false, true} {
		if _, refusal := v.Verify(raw, now, legacy); refusal != ErrAlgorithm {
			t.Errorf("the public key as a secret: %v", refusal)
		}
	}
	other, _ := pemKey(t, "ec", ES256)
	if raw, err = other.Sign(claimsOf(now)); err != nil {
		t.Fatal(err)
	}
	if _, refusal := v.Verify(raw, now, false); refusal != ErrSignature {
		t.Errorf("another key of one id: %v", refusal)
	}
	if _, refusal := verifier(t, key).Verify(signed(`{"alg":"HS256"}`, good), now, true); refusal != ErrAlgorithm {
		t.Errorf("no kid and no secret to check it with: %v", refusal)
	}
}

// TestRefusedBeforeTheSignature: none of these costs a signature.
func TestRefusedBeforeTheSignature(t *testing.T) {
	key := secretKey(t, "main", secret)
	method := &counted{SigningMethod: key.method}
	key.method = method
	v := verifier(t, key)
	tail := "." + encode(good) + ".c2ln"
	for name, c := range map[string]struct {
		raw     string
		refusal *Refusal
	}{
		"empty":                 {"", ErrMalformed},
		"a megabyte":            {hs256(`{"a":"` + strings.Repeat("a", 1<<20) + `"}`), ErrTooLong},
		"nested 9,000 deep":     {hs256(`{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`), ErrTooLong},
		"one dot":               {"a.b", ErrMalformed},
		"three dots":            {hs256(good) + ".a", ErrMalformed},
		"no header":             {tail, ErrMalformed},
		"no signature":          {encode(`{"alg":"HS256","kid":"main"}`) + "." + encode(good) + ".", ErrMalformed},
		"a newline":             {hs256(good) + "\n", ErrMalformed},
		"a newline inside":      {strings.Replace(hs256(good), ".", "\n.", 1), ErrMalformed},
		"a NUL":                 {hs256(good) + "\x00", ErrMalformed},
		"a space":               {" " + hs256(good), ErrMalformed},
		"not ASCII":             {hs256(good) + "é", ErrMalformed},
		"padding":               {strings.Replace(hs256(good), ".", "=.", 1), ErrMalformed},
		"bits too many":         {"eyJhbGciOiJIUzI1NiIsImtpZCI6Im1haW4ifR" + tail, ErrMalformed},
		"a long header":         {signed(`{"alg":"HS256","kid":"main","x":"`+strings.Repeat("x", 500)+`"}`, good), ErrHeaderLong},
		"header no object":      {signed(`["alg"]`, good), ErrHeader},
		"header twice":          {signed(`{"alg":"HS256","kid":"main"}{}`, good), ErrHeader},
		"header cut":            {signed(`{"alg":"HS256","kid":"main"`, good), ErrHeader},
		"header no JSON":        {signed("\x00\x01", good), ErrHeader},
		"header no UTF-8":       {signed("{\"alg\":\"HS256\",\"kid\":\"main\xff\"}", good), ErrHeader},
		"header deep":           {signed(`{"alg":"HS256","kid":"main","x":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`, good), ErrHeader},
		"no alg":                {signed(`{"kid":"main"}`, good), ErrHeader},
		"alg a number":          {signed(`{"alg":256,"kid":"main"}`, good), ErrHeader},
		"alg twice":             {signed(`{"alg":"none","alg":"HS256","kid":"main"}`, good), ErrHeader},
		"alg twice by escape":   {signed(`{"alg":"none","\u0061lg":"HS256","kid":"main"}`, good), ErrHeader},
		"alg in capitals":       {signed(`{"ALG":"none","alg":"HS256","kid":"main"}`, good), ErrHeader},
		"alg none":              {signed(`{"alg":"none","kid":"main"}`, good), ErrAlgorithm},
		"alg HS512":             {signed(`{"alg":"HS512","kid":"main"}`, good), ErrAlgorithm},
		"alg hs256":             {signed(`{"alg":"hs256","kid":"main"}`, good), ErrAlgorithm},
		"alg RS256":             {signed(`{"alg":"RS256","kid":"main"}`, good), ErrAlgorithm},
		"crit":                  {signed(`{"alg":"HS256","kid":"main","crit":["exp"]}`, good), ErrHeaderCritical},
		"jku":                   {signed(`{"alg":"HS256","kid":"main","jku":"https://evil.example/keys"}`, good), ErrHeaderCritical},
		"jwk":                   {signed(`{"alg":"HS256","kid":"main","jwk":{"kty":"oct","k":"AAAA"}}`, good), ErrHeaderCritical},
		"x5u":                   {signed(`{"alg":"HS256","kid":"main","x5u":"https://evil.example/cert"}`, good), ErrHeaderCritical},
		"x5c":                   {signed(`{"alg":"HS256","kid":"main","x5c":["AAAA"]}`, good), ErrHeaderCritical},
		"zip":                   {signed(`{"alg":"HS256","kid":"main","zip":"DEF"}`, good), ErrHeaderCritical},
		"b64":                   {signed(`{"alg":"HS256","kid":"main","b64":false}`, good), ErrHeaderCritical},
		"typ":                   {signed(`{"alg":"HS256","kid":"main","typ":"refresh+jwt"}`, good), ErrHeaderType},
		"typ null":              {signed(`{"alg":"HS256","kid":"main","typ":null}`, good), ErrHeader},
		"no kid":                {signed(`{"alg":"HS256"}`, good), ErrNoKeyID},
		"kid empty":             {signed(`{"alg":"HS256","kid":""}`, good), ErrUnknown},
		"kid null":              {signed(`{"alg":"HS256","kid":null}`, good), ErrHeader},
		"kid a list":            {signed(`{"alg":"HS256","kid":["main"]}`, good), ErrHeader},
		"kid a number":          {signed(`{"alg":"HS256","kid":0}`, good), ErrHeader},
		"kid a path":            {signed(`{"alg":"HS256","kid":"../../../dev/null"}`, good), ErrUnknown},
		"kid SQL":               {signed(`{"alg":"HS256","kid":"main' UNION SELECT 'x"}`, good), ErrUnknown},
		"kid in capitals":       {signed(`{"alg":"HS256","kid":"MAIN"}`, good), ErrUnknown},
		"kid with a NUL":        {signed(`{"alg":"HS256","kid":"main\u0000"}`, good), ErrUnknown},
		"kid with a newline":    {signed(`{"alg":"HS256","kid":"main\n"}`, good), ErrUnknown},
		"a signature too large": {encode(`{"alg":"HS256","kid":"main"}`) + "." + encode(good) + "." + strings.Repeat("A", 4096), ErrTooLong},
	} {
		if _, refusal := v.Verify(c.raw, now, false); refusal != c.refusal {
			t.Errorf("%s: got %v, expected %v", name, refusal, c.refusal)
		}
	}
	if method.asked != 0 {
		t.Errorf("%d signatures were checked", method.asked)
	}
	if _, refusal := v.Verify(hs256(good), now, false); refusal != nil || method.asked != 1 {
		t.Errorf("the good one: %v, %d signatures", refusal, method.asked)
	}
}

// TestClaims changes one claim at a time.
func TestClaims(t *testing.T) {
	v := verifier(t, secretKey(t, "main", secret))
	with := func(old, changed string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("there is no %s", old)
		}
		return strings.Replace(good, old, changed, 1)
	}
	deep := func(levels int) string {
		return with(`"jti"`, `"x":`+strings.Repeat(`{"a":`, levels-1)+`1`+strings.Repeat(`}`, levels-1)+`,"jti"`)
	}
	for name, c := range map[string]struct {
		claims          string
		refusal, legacy *Refusal
	}{
		"good":                   {good, nil, nil},
		"sub as text":            {with(`"sub":1`, `"sub":"1"`), nil, nil},
		"sub a slug":             {with(`"sub":1`, `"sub":"shop"`), nil, nil},
		"sub empty":              {with(`"sub":1`, `"sub":""`), ErrSubject, ErrSubject},
		"sub 0":                  {with(`"sub":1`, `"sub":0`), ErrClaims, ErrClaims},
		"sub negative":           {with(`"sub":1`, `"sub":-1`), ErrClaims, ErrClaims},
		"sub a fraction":         {with(`"sub":1`, `"sub":1.5`), ErrClaims, ErrClaims},
		"sub huge":               {with(`"sub":1`, `"sub":18446744073709551617`), ErrClaims, ErrClaims},
		"sub a list":             {with(`"sub":1`, `"sub":[1]`), ErrClaims, ErrClaims},
		"sub null":               {with(`"sub":1`, `"sub":null`), ErrClaims, ErrClaims},
		"sub missing":            {with(`"sub":1,`, ``), ErrSubject, ErrSubject},
		"sub twice":              {with(`"sub":1`, `"sub":1,"sub":2`), ErrClaims, ErrClaims},
		"sub twice by escape":    {with(`"sub":1`, `"sub":1,"\u0073ub":2`), ErrClaims, ErrClaims},
		"sub in capitals":        {with(`"sub":1`, `"sub":1,"Sub":2`), ErrClaims, ErrClaims},
		"an unknown one twice":   {with(`"sub":1`, `"sub":1,"x":2,"x":3`), ErrClaims, ErrClaims},
		"twice further inside":   {with(`"sub":1`, `"sub":1,"x":{"y":2,"y":3}`), ErrClaims, ErrClaims},
		"8 deep":                 {deep(8), nil, nil},
		"9 deep":                 {deep(9), ErrClaimsDepth, ErrClaimsDepth},
		"1,000 deep":             {with(`"jti"`, `"x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`,"jti"`), ErrClaimsDepth, ErrClaimsDepth},
		"no UTF-8":               {with("shop", "sh\xffp"), ErrClaims, ErrClaims},
		"a lone surrogate":       {with("shop", `\ud800`), ErrClaims, ErrClaims},
		"more behind":            {good + "{}", ErrClaims, ErrClaims},
		"a list":                 {"[]", ErrClaims, ErrClaims},
		"nothing":                {"", ErrClaims, ErrClaims},
		"a text":                 {`"x"`, ErrClaims, ErrClaims},
		"no claim at all":        {"{}", ErrNoExpiry, ErrNoExpiry},
		"exp missing":            {with(`"exp":1767269100,`, ``), ErrNoExpiry, ErrNoExpiry},
		"exp null":               {with(`1767269100`, `null`), ErrClaims, ErrClaims},
		"exp as text":            {with(`1767269100`, `"1767269100"`), ErrClaims, ErrClaims},
		"exp a fraction":         {with(`1767269100`, `1767269100.75`), nil, nil},
		"exp infinite":           {with(`1767269100`, `1e999`), ErrClaims, ErrClaims},
		"exp past every date":    {with(`1767269100`, `1e300`), ErrClaims, ErrClaims},
		"exp negative":           {with(`1767269100`, `-1`), ErrClaims, ErrClaims},
		"exp 1 s ago":            {with(`1767269100`, `1767268799`), ErrExpired, ErrExpired},
		"exp now":                {with(`1767269100`, `1767268800`), ErrExpired, ErrExpired},
		"exp in 1 s":             {with(`1767269100`, `1767268801`), nil, nil},
		"exp within the ttl":     {with(`1767269100`, `1767272430`), nil, nil},
		"exp beyond the ttl":     {with(`1767269100`, `1767272431`), ErrLifetime, ErrLifetime},
		"exp far off":            {with(`1767269100`, `9007199254740991`), ErrLifetime, ErrLifetime},
		"iat within the leeway":  {with(`"iat":1767268800`, `"iat":1767268830`), nil, nil},
		"iat beyond the leeway":  {with(`"iat":1767268800`, `"iat":1767268831`), ErrIssuedInFront, ErrIssuedInFront},
		"iat missing":            {with(`"iat":1767268800,`, ``), ErrNoIssuedAt, nil},
		"iat missing, far exp":   {`{"sub":1,"exp":1767273000,"type":"child"}`, ErrLifetime, ErrLifetime},
		"nbf within the leeway":  {with(`"jti"`, `"nbf":1767268830,"jti"`), nil, nil},
		"nbf beyond the leeway":  {with(`"jti"`, `"nbf":1767268831,"jti"`), ErrNotYet, ErrNotYet},
		"iss of another":         {with(`"iss":"caddy-federation"`, `"iss":"http://app.test"`), ErrIssuer, nil},
		"iss missing":            {with(`"iss":"caddy-federation",`, ``), ErrIssuer, nil},
		"jti missing":            {with(`"jti":"j1",`, ``), ErrNoID, nil},
		"jti long":               {with(`"j1"`, `"`+strings.Repeat("j", 257)+`"`), ErrClaims, ErrClaims},
		"aud not asked for":      {with(`"jti"`, `"aud":["x"],"jti"`), nil, nil},
		"aud of two kinds":       {with(`"jti"`, `"aud":["x",1],"jti"`), ErrClaims, ErrClaims},
		"type missing":           {with(`,"type":"child"`, ``), ErrType, ErrType},
		"type refresh":           {with(`"type":"child"`, `"type":"refresh"`), ErrType, ErrType},
		"type master":            {with(`"type":"child"`, `"type":"master"`), nil, nil},
		"capabilities missing":   {with(`"capabilities":["search"],`, ``), nil, nil},
		"capabilities a text":    {with(`["search"]`, `"search"`), ErrClaims, ErrClaims},
		"capabilities of 3 kind": {with(`["search"]`, `["search",null]`), ErrClaims, ErrClaims},
	} {
		if _, refusal := v.Verify(hs256(c.claims), now, false); refusal != c.refusal {
			t.Errorf("%s: got %v, expected %v", name, refusal, c.refusal)
		}
		verified, refusal := v.Verify(hs256(c.claims), now, true)
		if refusal != c.legacy {
			t.Errorf("%s, compatible: got %v, expected %v", name, refusal, c.legacy)
		}
		if refusal == nil && verified.Legacy != c.refusal {
			t.Errorf("%s: only for the compatible face: %v, expected %v", name, verified.Legacy, c.refusal)
		}
	}
	v.Audience = []string{"gateway", "other"}
	for name, c := range map[string]struct {
		aud             string
		refusal, legacy *Refusal
	}{
		"missing": {``, ErrNoAudience, nil}, "ours": {`"aud":"gateway",`, nil, nil}, "one of them": {`"aud":["x","other"],`, nil, nil},
		"another": {`"aud":"Gateway",`, ErrAudience, ErrAudience}, "empty": {`"aud":[],`, ErrNoAudience, nil},
	} {
		claims := with(`"jti"`, c.aud+`"jti"`)
		if _, refusal := v.Verify(hs256(claims), now, false); refusal != c.refusal {
			t.Errorf("aud %s: got %v, expected %v", name, refusal, c.refusal)
		}
		if _, refusal := v.Verify(hs256(claims), now, true); refusal != c.legacy {
			t.Errorf("aud %s, compatible: got %v, expected %v", name, refusal, c.legacy)
		}
	}
}

// TestIssuerOfAKey: keys of somebody else are good for their tokens only.
func TestIssuerOfAKey(t *testing.T) {
	key := secretKey(t, "main", secret)
	key.Issuer = "https://idp.example"
	v := verifier(t, key)
	foreign := strings.Replace(good, `"caddy-federation"`, `"https://idp.example"`, 1)
	if _, refusal := v.Verify(hs256(foreign), now, false); refusal != nil {
		t.Errorf("its own issuer: %v", refusal)
	}
	for _, legacy := range []bool{false, true} {
		if _, refusal := v.Verify(hs256(good), now, legacy); refusal != ErrIssuer {
			t.Errorf("our issuer: %v", refusal)
		}
	}
}
