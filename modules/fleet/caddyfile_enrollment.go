package fleet

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
)

// unmarshalEnrollment reads `enrollment off | secret <shared secret> | approval`.
func (a *App) unmarshalEnrollment(d *caddyfile.Dispenser, block *subdirective.Block) error {
	if err := block.Once(d); err != nil {
		return err
	}
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("federation: enrollment: the mode is missing, expected off, secret or approval")
	}
	a.Enrollment = &EnrollmentConfig{Mode: args[0]}
	expected := 1
	switch args[0] {
	case EnrollmentOff, EnrollmentApproval:
	case EnrollmentSecret:
		if expected = 2; len(args) == 2 {
			a.Enrollment.Secret = args[1]
		}
	default:
		// it may be the secret itself, and is not quoted
		return d.Errf("federation: enrollment: unknown mode%s",
			subdirective.Hint(args[0], []string{EnrollmentOff, EnrollmentSecret, EnrollmentApproval}))
	}
	if len(args) != expected {
		// what is too much may be a secret: count it, do not quote it
		return d.Errf("federation: enrollment %s takes %d arguments, got %d", args[0], expected-1, len(args)-1)
	}
	return nil
}

// unmarshalNodeURLs reads `node_urls <cidr|host pattern|public...>`.
func (a *App) unmarshalNodeURLs(d *caddyfile.Dispenser, block *subdirective.Block) (err error) {
	if a.NodeURLs, err = block.Values(d); err != nil {
		return err
	}
	if _, err := ParseURLPolicy(a.NodeURLs); err != nil {
		return d.Errf("federation: %v", err)
	}
	return nil
}
