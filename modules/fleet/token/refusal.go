package token

// Refusal is why a token or key was not accepted. All refusals are the fixed
// values below: they hold nothing of what was presented and may be logged.
type Refusal struct {
	// Reason is one word for logs and metrics.
	Reason string
	// Detail says it in words, for the operator.
	Detail string
}

func (r *Refusal) Error() string { return r.Detail }

// What the verifier refuses, in the order it looks.
var (
	ErrTooLong   = &Refusal{"too_long", "the token is longer than 4 KiB"}
	ErrMalformed = &Refusal{"malformed", "the token is not three parts of base64url separated by dots"}

	ErrHeader         = &Refusal{"bad_header", "the header is not a JSON object with alg, and optionally kid and typ, as strings and once each"}
	ErrHeaderLong     = &Refusal{"bad_header", "the header is longer than 512 bytes"}
	ErrHeaderCritical = &Refusal{"bad_header", "the header has a member that must not be there: crit, jku, jwk, x5u, x5c, zip or b64"}
	ErrHeaderType     = &Refusal{"bad_header", "the header's typ is neither JWT nor at+jwt"}

	ErrNoKeyID   = &Refusal{"no_kid", "the header names no key (kid); only the compatible face accepts that"}
	ErrUnknown   = &Refusal{"unknown_kid", "no key of the federation has the header's kid"}
	ErrAlgorithm = &Refusal{"wrong_alg", "the header's alg is not the algorithm of the key"}
	ErrSignature = &Refusal{"bad_signature", "the signature does not belong to the token"}

	ErrClaims        = &Refusal{"bad_claims", "the claims are not a JSON object with members of the expected types, once each and spelled as they are"}
	ErrClaimsDepth   = &Refusal{"bad_claims", "the claims nest deeper than 8 levels"}
	ErrNoExpiry      = &Refusal{"no_exp", "the token does not say when it expires (exp)"}
	ErrExpired       = &Refusal{"expired", "the token has expired (exp)"}
	ErrNotYet        = &Refusal{"not_yet", "the token is not valid yet (nbf)"}
	ErrIssuedInFront = &Refusal{"not_yet", "the token was issued in the future (iat): the clocks differ by more than the leeway"}
	ErrNoIssuedAt    = &Refusal{"no_iat", "the token does not say when it was issued (iat)"}
	ErrLifetime      = &Refusal{"lifetime", "the token lives longer than access_ttl allows"}
	ErrIssuer        = &Refusal{"wrong_iss", "the token is of another issuer (iss)"}
	ErrAudience      = &Refusal{"wrong_aud", "the token is for somebody else (aud)"}
	ErrNoAudience    = &Refusal{"no_aud", "the token does not say whom it is for (aud)"}
	ErrNoID          = &Refusal{"no_jti", "the token has no id (jti) to revoke it by"}
	ErrOutbound      = &Refusal{"outbound", "the token is one that this federation sends to the node, which cannot show it as its own (azp)"}
	ErrSubject       = &Refusal{"bad_sub", "the token names nobody (sub)"}
	ErrType          = &Refusal{"bad_type", "the token's type is neither child nor master"}
)
