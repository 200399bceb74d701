package dialects

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// maxNames is how many collections, keywords and so on of one node are kept.
const maxNames = 500

// The two shapes of body, as reports name them.
const (
	laravelBare      = "laravel bare"
	laravelEnveloped = "laravel enveloped"
)

// Probe implements [fleet.Dialect].
func (l *Laravel) Probe(ctx context.Context, node fleet.Caller) (*fleet.Report, error) {
	report, err := l.health(ctx, node)
	if err != nil {
		return nil, err
	}
	if err := l.inventory(ctx, node, report); err != nil {
		var status *fleet.StatusError
		if errors.As(err, &status) && fleet.Classify(ctx, err) == fleet.OutcomeNeutral {
			return report, nil // an era without manifest and collections
		}
		return nil, err
	}
	return report, nil
}

// Check implements [fleet.Checker].
func (l *Laravel) Check(ctx context.Context, node fleet.Caller) (*fleet.Report, error) {
	return l.health(ctx, node)
}

// health reads GET health. A node that is not ready answers 503 with the same body.
func (l *Laravel) health(ctx context.Context, node fleet.Caller) (*fleet.Report, error) {
	response, err := node.Do(ctx, &fleet.Request{Path: l.path("health"), TokenHeader: l.where})
	var body []byte
	var status *fleet.StatusError
	switch {
	case err == nil:
		body = response.Body
	case errors.As(err, &status) && status.Status == http.StatusServiceUnavailable && fleet.CheckJSON(status.Body) == nil:
		body = status.Body
	default:
		return nil, err
	}
	report, fits := decodeLaravelHealth(body)
	if !fits {
		if err != nil {
			return nil, err
		}
		return nil, fleet.BadPayload("the answer to health has neither status nor version")
	}
	return report, nil
}

// envelope takes the data out of an enveloped body.
func envelope(body jsontext.Value) (data jsontext.Value, enveloped bool) {
	m := members(body, "success", "message", "data", "error", "meta")
	all := true
	for _, value := range m {
		all = all && value != nil
	}
	if schema := members(m[4], "schema")[0]; string(unquoted(schema)) == "ai-engine.v1" || all {
		return m[2], true
	}
	return body, false
}

// decodeLaravelHealth reads a health body. It fits when it has a status or a version.
func decodeLaravelHealth(body []byte) (*fleet.Report, bool) {
	data, enveloped := envelope(body)
	m := members(data, "status", "version", "ready", "checks", "name", "description")
	if nonEmpty(m[0]) == nil && nonEmpty(m[1]) == nil {
		return nil, false
	}
	report := &fleet.Report{
		Dialect: laravelBare, Health: fleet.HealthHealthy,
		Version: clean(unquoted(m[1]), 64), Name: clean(unquoted(m[4]), 200), Description: clean(unquoted(m[5]), 1000),
	}
	if enveloped {
		report.Dialect = laravelEnveloped
	}
	switch status := strings.ToLower(clean(unquoted(m[0]), 64)); {
	case m[2].Kind() == 'f':
		report.Health, report.Reason = fleet.HealthUnhealthy, "the node says that it is not ready"
	case status == "" || status == "healthy" || status == "ok":
	case status == "degraded":
		report.Health, report.Reason = fleet.HealthDegraded, "the node says that it is degraded"
	default:
		report.Health, report.Reason = fleet.HealthUnhealthy, "the node's status is "+status
	}
	if failing := failingChecks(m[3]); report.Health != fleet.HealthHealthy && failing != "" {
		report.Reason += "; failing: " + failing
	}
	learnFacts(report, data)
	return report, true
}

// failingChecks names the required checks that are not healthy.
func failingChecks(checks jsontext.Value) string {
	if checks.Kind() != '{' {
		return ""
	}
	var names []string
	s := newScanner(checks)
	defer s.release()
	_ = s.object(func(name []byte) error {
		check := clean(name, 64)
		value, err := s.value()
		if healthy := members(value, "healthy")[0]; healthy.Kind() == 'f' && len(names) < 8 {
			names = append(names, check)
		}
		return err
	})
	return strings.Join(names, ", ")
}

// inventory asks what the node holds: the manifest since March 2026, the
// collections before.
func (l *Laravel) inventory(ctx context.Context, node fleet.Caller, report *fleet.Report) error {
	if len(report.Collections) > 0 {
		return nil
	}
	var err error
	for _, operation := range []string{"manifest", "collections"} {
		var response *fleet.Response
		response, err = node.Do(ctx, &fleet.Request{Path: l.path(operation), TokenHeader: l.where, Optional: true})
		if err == nil {
			data, _ := envelope(response.Body)
			if data.Kind() != '{' {
				return fleet.BadPayload("the answer to %s is not an object", operation)
			}
			learnFacts(report, data)
			return nil
		}
		if fleet.Classify(ctx, err) != fleet.OutcomeNeutral {
			return err
		}
	}
	return err
}

// learnFacts fills in what a health, manifest or collections body tells.
func learnFacts(report *fleet.Report, data jsontext.Value) {
	m := members(data, "capabilities", "domains", "data_types", "keywords", "collections", "node", "description", "version")
	set := func(target *[]string, value jsontext.Value) {
		if list := words(value, maxNames); len(list) > 0 {
			*target = list
		}
	}
	set(&report.Capabilities, m[0])
	set(&report.Domains, m[1])
	set(&report.DataTypes, m[2])
	set(&report.Keywords, m[3])
	if list := collections(m[4]); len(list) > 0 {
		report.Collections = list
	}
	n := members(m[5], "name", "version", "description")
	for target, values := range map[*string][]jsontext.Value{
		&report.Name: {n[0]}, &report.Version: {n[1], m[7]}, &report.Description: {n[2], m[6]},
	} {
		for _, value := range values {
			if *target == "" {
				*target = clean(unquoted(value), 1000)
			}
		}
	}
}

// collections reads a list of names, or of objects with name and class.
func collections(value jsontext.Value) []fleet.Collection {
	if value.Kind() != '[' {
		return nil
	}
	var list []fleet.Collection
	s := newScanner(value)
	defer s.release()
	_ = s.array(func() error {
		entry, err := s.value()
		if err != nil || len(list) >= maxNames {
			return err
		}
		var c fleet.Collection
		if entry.Kind() == '"' {
			c.Class = clean(unquoted(entry), 200)
			c.Name = strings.ToLower(c.Class[strings.LastIndexByte(c.Class, '\\')+1:])
		} else {
			m := members(entry, "name", "class")
			c.Name, c.Class = clean(unquoted(m[0]), 200), clean(unquoted(m[1]), 200)
		}
		if c.Class == "" {
			c.Class = c.Name
		}
		if c.Class != "" {
			list = append(list, c)
		}
		return nil
	})
	return list
}
