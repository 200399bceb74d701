package auth

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// denial is why a request is refused, and how that is said.
type denial struct {
	reason string // one word, for the log
	cause  error  // for the log
	caller string // for the log: who it is that may not
	status int
	// missing: nothing was shown, which `optional` lets through.
	missing bool
	// challenge is the value of WWW-Authenticate, or empty.
	challenge string
	problem   problem.Problem
}

// realm names what the challenges are for.
const realm = `Bearer realm="federation"`

// Texts that clients of the old fleet know.
const (
	textMissing   = "Missing authentication token"
	textInvalid   = "Invalid authentication credentials"
	textUnknown   = "Node not found"
	textNotActive = "Node is not active"
)

// deny says what a refused credential gets. Each invalid one gets the same.
func (rules *Rules) deny(err *fleet.AuthError) *denial {
	d := &denial{reason: err.Reason, cause: err.Err, status: err.Status}
	switch {
	case err.Missing:
		d.missing, d.challenge = true, realm
		d.problem = problem.Problem{Code: "missing_token", Detail: "a token or API key is needed"}
		d.compatible(textMissing, rules)
	case err.Status == http.StatusForbidden:
		d.problem = problem.Problem{Code: "node_not_active", Detail: "the node may not act now", NodeStatus: err.NodeStatus}
		if rules.laravel {
			d.problem.NodeStatus = oldStatus(err.NodeStatus)
		}
		d.compatible(textNotActive, rules)
	case err.Status == http.StatusServiceUnavailable:
		d.problem = problem.Problem{Code: "starting", Detail: "the gateway is still starting; try again", RetryAfter: time.Second}
		d.compatible(d.problem.Detail, rules)
	default:
		d.challenge = realm + `, error="invalid_token"`
		d.problem = problem.Problem{Code: "invalid_token", Detail: "the token or API key is not valid"}
		if err.Unknown {
			d.compatible(textUnknown, rules)
		} else {
			d.compatible(textInvalid, rules)
		}
	}
	d.problem.Status = d.status
	return d
}

// compatible puts the text that old clients read in the place of ours.
func (d *denial) compatible(text string, rules *Rules) {
	if rules.laravel {
		d.problem.Compatible, d.problem.Detail = true, text
	}
}

// oldStatus is an operator's state as the old fleet names it: active,
// inactive, maintenance or error.
func oldStatus(state string) string {
	if fleet.AdminState(state) == fleet.AdminDisabled {
		return "inactive"
	}
	return state
}

// insufficient is for a caller who is known and may not do this.
func (rules *Rules) insufficient() *denial {
	d := &denial{reason: "insufficient_scope", status: http.StatusForbidden}
	d.challenge = realm + `, error="insufficient_scope", scope="` + rules.scope + `"`
	d.problem = problem.Problem{Status: d.status, Code: "insufficient_scope", Detail: "the caller lacks a capability that is needed here: " +
		strings.Join(rules.Capabilities, ", ")}
	d.compatible(d.problem.Detail, rules)
	return d
}

// ambiguous is for a request that does not say clearly who is calling.
func (rules *Rules) ambiguous(reason, detail string) *denial {
	d := &denial{reason: reason, status: http.StatusBadRequest}
	d.challenge = realm + `, error="invalid_request"`
	d.problem = problem.Problem{Code: "invalid_request", Detail: detail}
	if rules.laravel { // which knows no other refusal
		d.status, d.challenge = http.StatusUnauthorized, realm+`, error="invalid_token"`
	}
	d.problem.Status = d.status
	d.compatible(detail, rules)
	return d
}

func (rules *Rules) inQuery() *denial {
	return rules.ambiguous("in_query", "API keys and tokens in the query are not accepted, because logs keep them; send a header")
}

// write sends the denial.
func (d *denial) write(w http.ResponseWriter, r *http.Request) error {
	if d.challenge != "" {
		w.Header().Set("WWW-Authenticate", d.challenge)
	}
	return d.problem.Write(w, r)
}
