package fleet

import (
	"regexp"
	"strings"
)

// leastEcho is the shortest secret that is looked for: a shorter one would be
// found in texts that have nothing to do with it.
const leastEcho = 8

// jwtShape finds a JWT, which is signed anew now and then, in any letters.
var jwtShape = regexp.MustCompile(`(?i)\beyJ[A-Z0-9_-]{8,}\.[A-Z0-9_-]{8,}\.`)

// withoutEcho takes out of a report what the gateway proved itself with, and
// every JWT: a node that repeats it, by mistake or not, does not have it logged
// and shown. Health and the words for it may be in other letters.
func (r *Report) withoutEcho(c credential) {
	var secrets []string
	if c != nil {
		for _, secret := range c.secrets() {
			if len(secret) >= leastEcho {
				secrets = append(secrets, strings.ToLower(secret))
			}
		}
	}
	clean := func(text *string) {
		if jwtShape.MatchString(*text) {
			*text = "REDACTED"
			return
		}
		lower := strings.ToLower(*text)
		for _, secret := range secrets {
			if strings.Contains(lower, secret) {
				*text = "REDACTED"
				return
			}
		}
	}
	for _, text := range []*string{&r.Reason, &r.Name, &r.Version, &r.Description} {
		clean(text)
	}
	for _, list := range [][]string{r.Capabilities, r.Domains, r.DataTypes, r.Keywords} {
		for i := range list {
			clean(&list[i])
		}
	}
	for i := range r.Collections {
		clean(&r.Collections[i].Name)
		clean(&r.Collections[i].Class)
	}
}
