package token

import (
	"slices"
	"time"
)

// check is one look at the claims.
type check struct {
	name string
	// strict ones are what tokens of the old fleet do not pass.
	strict bool
	refuse func(v *Verifier, c *Claims, key *Key, now int64) *Refusal
}

// checks are all of them, in their order.
var checks = []check{
	{"exp", false, func(_ *Verifier, c *Claims, _ *Key, now int64) *Refusal {
		if c.Expires == 0 {
			return ErrNoExpiry
		}
		return when(c.Expires <= now, ErrExpired)
	}},
	{"nbf", false, func(v *Verifier, c *Claims, _ *Key, now int64) *Refusal {
		return when(c.NotBefore > now+v.leeway(), ErrNotYet)
	}},
	{"iat", false, func(v *Verifier, c *Claims, _ *Key, now int64) *Refusal {
		epoch, revoked := v.Epochs[c.Slug]
		return when(c.IssuedAt > now+v.leeway() && (!revoked || c.IssuedAt != epoch+1), ErrIssuedInFront)
	}},
	{"lifetime", false, func(v *Verifier, c *Claims, _ *Key, now int64) *Refusal {
		from := c.IssuedAt
		if from == 0 {
			from = now
		}
		return when(c.Expires-from > int64(v.MaxLifetime/time.Second)+v.leeway(), ErrLifetime)
	}},
	{"iss", false, func(_ *Verifier, c *Claims, key *Key, _ int64) *Refusal {
		return when(key.Issuer != "" && c.Issuer != key.Issuer, ErrIssuer)
	}},
	{"aud", false, func(v *Verifier, c *Claims, _ *Key, _ int64) *Refusal {
		return when(len(v.Audience) > 0 && len(c.Audience) > 0 && !slices.ContainsFunc(c.Audience, v.expects), ErrAudience)
	}},
	{"azp", false, func(v *Verifier, c *Claims, _ *Key, _ int64) *Refusal {
		return when(c.Sender != "" && slices.Contains(v.Self, c.Sender), ErrOutbound)
	}},
	{"sub", false, func(_ *Verifier, c *Claims, _ *Key, _ int64) *Refusal {
		return when(c.SubjectID == 0 && c.Subject == "", ErrSubject)
	}},
	{"type", false, func(_ *Verifier, c *Claims, _ *Key, _ int64) *Refusal {
		return when(c.Type != "child" && c.Type != "master", ErrType)
	}},
	{"iss", true, func(v *Verifier, c *Claims, key *Key, _ int64) *Refusal {
		return when(key.Issuer == "" && c.Issuer != v.Issuer, ErrIssuer)
	}},
	{"aud", true, func(v *Verifier, c *Claims, _ *Key, _ int64) *Refusal {
		return when(len(v.Audience) > 0 && len(c.Audience) == 0, ErrNoAudience)
	}},
	{"iat", true, func(_ *Verifier, c *Claims, _ *Key, _ int64) *Refusal {
		return when(c.IssuedAt == 0, ErrNoIssuedAt)
	}},
	{"jti", true, func(_ *Verifier, c *Claims, _ *Key, _ int64) *Refusal {
		return when(c.ID == "", ErrNoID)
	}},
}

func when(refuse bool, refusal *Refusal) *Refusal {
	if refuse {
		return refusal
	}
	return nil
}

// Check looks at the claims of a token. The first result is what no face
// accepts, the second what only the compatible face does.
func (v *Verifier) Check(c *Claims, key *Key, now time.Time) (refusal, legacy *Refusal) {
	seconds := now.Unix()
	for i := range checks {
		if found := checks[i].refuse(v, c, key, seconds); found != nil {
			if !checks[i].strict {
				return found, nil
			}
			if legacy == nil {
				legacy = found
			}
		}
	}
	return nil, legacy
}

func (v *Verifier) leeway() int64 { return int64(v.Leeway / time.Second) }

func (v *Verifier) expects(audience string) bool { return slices.Contains(v.Audience, audience) }

// Step is one look at a token, for people.
type Step struct {
	// Name is what was looked at: form, signature, claims, or the name of a claim.
	Name string
	// Refusal is nil when it was good.
	Refusal *Refusal
	// Legacy: the compatible face accepts it all the same.
	Legacy bool
}

// Inspected is a token with everything that was looked at.
type Inspected struct {
	// Header and Payload are the decoded parts, as far as they could be
	// decoded. They are unverified unless the step signature is good.
	Header, Payload []byte
	Verified        *Verified
	Steps           []Step
}

// Inspect looks at a token as [Verifier.Verify] does, and goes on where that stops.
func (v *Verifier) Inspect(raw string, now time.Time) (i Inspected) {
	header, payload, _, refusal := split(raw)
	i.Steps = append(i.Steps, Step{Name: "form", Refusal: refusal})
	if refusal != nil {
		return i
	}
	i.Header, _ = strict.DecodeSegment(header)
	i.Payload, _ = strict.DecodeSegment(payload)
	signed, refusal := v.Keys.Signature(raw, true)
	if refusal == nil && signed.Legacy != nil {
		i.Steps = append(i.Steps, Step{Name: "kid", Refusal: signed.Legacy, Legacy: true})
	}
	i.Steps = append(i.Steps, Step{Name: "signature", Refusal: refusal})
	if refusal != nil {
		return i
	}
	claims, refusal := DecodeClaims(signed.Payload)
	i.Steps = append(i.Steps, Step{Name: "claims", Refusal: refusal})
	if refusal != nil {
		return i
	}
	i.Verified = &Verified{Claims: claims, Key: signed.Key, Legacy: signed.Legacy}
	for _, check := range checks {
		found := check.refuse(v, &claims, signed.Key, now.Unix())
		step := Step{Name: check.name, Refusal: found, Legacy: check.strict && found != nil}
		at := slices.IndexFunc(i.Steps, func(s Step) bool { return s.Name == check.name })
		switch {
		case at < 0:
			i.Steps = append(i.Steps, step)
		case found != nil && i.Steps[at].Refusal == nil:
			i.Steps[at] = step
		}
		if found != nil && check.strict && i.Verified.Legacy == nil {
			i.Verified.Legacy = found
		}
	}
	return i
}
