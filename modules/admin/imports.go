package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/caddy-federation/caddy-federation/modules/admin/importing"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// ImportRequest is the body of POST /federation/plan and /federation/apply:
// rows that were read and normalized, see package importing.
type ImportRequest struct {
	Nodes []importing.Desired `json:"nodes"`
	// Invalid are the rows that cannot be imported. While there are any,
	// nothing is applied unless SkipInvalid is set.
	Invalid     []importing.Remark `json:"invalid,omitempty"`
	SkipInvalid bool               `json:"skip_invalid,omitempty"`
	// Prune disables the registered children that no row names.
	Prune bool `json:"prune,omitempty"`
	// CreateOnly leaves the nodes alone that are there already. It excludes Prune.
	CreateOnly bool `json:"create_only,omitempty"`
	// Ping asks each node that was written how it is.
	Ping bool `json:"ping,omitempty"`
}

// ImportResult is the answer to POST /federation/apply.
type ImportResult struct {
	Plan    *importing.Plan `json:"plan"`
	Results []Written       `json:"results"`
	// Failed counts the results with an error.
	Failed int          `json:"failed"`
	Pings  []fleet.Ping `json:"pings,omitempty"`
}

// Written is what became of one node.
type Written struct {
	Node string `json:"node"`
	// Action is created, updated, disabled or key (its old API key was imported).
	Action string `json:"action"`
	Error  string `json:"error,omitempty"`
}

func (a *API) plan(x *exchange) error {
	var request ImportRequest
	if err := x.read(&request, maxImport); err != nil {
		return err
	}
	plan, err := planned(x.Context(), x.app, &request)
	if err != nil {
		return err
	}
	return x.answer(http.StatusOK, plan)
}

// planned plans against the nodes and API keys as they are now.
func planned(ctx context.Context, app *fleet.App, request *ImportRequest) (*importing.Plan, error) {
	if request.CreateOnly && request.Prune {
		return nil, refuse(http.StatusBadRequest, "create_only and prune exclude each other: one leaves the nodes alone that are there, the other disables some")
	}
	var existing []importing.Existing
	for _, node := range app.Snapshot().Nodes {
		existing = append(existing, importing.Existing{
			Node:  importing.Settings{NodeConfig: node.Settings(), Version: node.Version, Metadata: node.Metadata},
			Fixed: app.FixedSettings(node.Slug),
		})
	}
	valid, invalid := importing.Check(request.Nodes)
	valid = slices.DeleteFunc(valid, func(d importing.Desired) bool {
		var refused *fleet.NodeError
		if !errors.As(app.CheckNode(d.Node.NodeConfig), &refused) {
			return false
		}
		invalid = append(invalid, importing.Remark{Row: d.Row, Slug: d.Node.Slug, Field: refused.Field, Reason: refused.Detail})
		return true
	})
	valid, taken, err := freshKeys(ctx, app, valid)
	if err != nil {
		return nil, err
	}
	request.Nodes, request.Invalid = valid, slices.Concat(request.Invalid, invalid, taken)
	plan := importing.Make(existing, valid, request.Invalid, app.Complete, request.Prune)
	if request.CreateOnly {
		for _, change := range plan.Update {
			plan.Unchanged = append(plan.Unchanged, change.Slug)
		}
		slices.Sort(plan.Unchanged)
		plan.Update, plan.Held = []importing.Change{}, []importing.Change{}
	}
	return plan, nil
}

// freshKeys leaves to the rows the API keys that are not here yet, and sets
// apart the rows whose key somebody else has.
func freshKeys(ctx context.Context, app *fleet.App, rows []importing.Desired) (fresh []importing.Desired, taken []importing.Remark, err error) {
	named := make(map[importing.Secret]bool)
	for _, d := range rows {
		if d.APIKey == "" {
			fresh = append(fresh, d)
			continue
		}
		owner, known, err := app.APIKeyOwner(ctx, string(d.APIKey))
		switch {
		case err != nil:
			return nil, nil, err
		case known && owner != d.Node.Slug:
			taken = append(taken, importing.Remark{Row: d.Row, Slug: d.Node.Slug, Field: "api_key", Reason: "is somebody else's already",
				Suggestion: "remove it, and give the node a new key"})
			continue
		case named[d.APIKey]:
			taken = append(taken, importing.Remark{Row: d.Row, Slug: d.Node.Slug, Field: "api_key", Reason: "is that of another row too",
				Suggestion: "remove it, and give the node a new key"})
			continue
		}
		named[d.APIKey] = true
		if known {
			d.APIKey = ""
		}
		fresh = append(fresh, d)
	}
	return fresh, taken, nil
}

// apply carries a plan out, node by node: one that fails holds up no other.
func (a *API) apply(x *exchange) error {
	var request ImportRequest
	if err := x.read(&request, maxImport); err != nil {
		return err
	}
	a.applying.Lock()
	defer a.applying.Unlock()
	plan, err := planned(x.Context(), x.app, &request)
	if err != nil {
		return err
	}
	result := ImportResult{Plan: plan, Results: []Written{}}
	if err := result.Plan.Refusal(request.SkipInvalid); err != nil {
		return refuse(http.StatusConflict, "%s", err.Error())
	}
	desired := make(map[string]importing.Desired, len(request.Nodes))
	for _, d := range request.Nodes {
		desired[d.Node.Slug] = d
	}
	written := make([]string, 0, len(request.Nodes))
	note := func(slug, action string, err error) {
		w := Written{Node: slug, Action: action}
		if err != nil {
			w.Error = words(err)
			result.Failed++
		} else if action != "key" {
			written = append(written, slug)
		}
		result.Results = append(result.Results, w)
	}
	failed := make(map[string]bool)
	for _, change := range result.Plan.Create {
		if x.Context().Err() != nil {
			return x.Context().Err() // who asked has left; the next run goes on from here
		}
		_, err := add(x, desired[change.Slug].Over(importing.Settings{}))
		failed[change.Slug] = err != nil
		note(change.Slug, "created", err)
	}
	for _, change := range result.Plan.Update {
		if x.Context().Err() != nil {
			return x.Context().Err()
		}
		if len(change.Fields) == 0 {
			continue // its key alone
		}
		err := update(x, desired[change.Slug], change)
		failed[change.Slug] = err != nil
		note(change.Slug, "updated", err)
	}
	for _, change := range result.Plan.Prune {
		_, err := x.app.SetAdminState(x.Context(), change.Slug, fleet.AdminDisabled)
		note(change.Slug, "disabled", err)
	}
	for _, change := range slices.Concat(result.Plan.Create, result.Plan.Update) {
		if change.APIKey && !failed[change.Slug] {
			note(change.Slug, "key", importKey(x, desired[change.Slug]))
		}
	}
	if request.Ping {
		result.Pings = pingAll(x, written)
	}
	return x.answer(http.StatusOK, result)
}

func update(x *exchange, d importing.Desired, change importing.Change) error {
	node, err := x.nodeNamed(change.Slug)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(change.Fields))
	for _, field := range change.Fields {
		names = append(names, field.Field)
	}
	members, err := d.Members(names)
	if err != nil {
		return err
	}
	_, err = write(x, node, members)
	return err
}

// importKey keeps the hash of a node's old key.
func importKey(x *exchange, d importing.Desired) error {
	node, err := x.nodeNamed(d.Node.Slug)
	if err != nil {
		return err
	}
	if err := x.app.ImportAPIKey(x.Context(), node, string(d.APIKey)); err != nil {
		if errors.Is(err, fleet.ErrKeyExists) {
			return refuse(http.StatusConflict, "another node has the same API key")
		}
		return tokenError(err)
	}
	return nil
}

// pingsAtOnce bounds how many nodes are asked at the same time.
const pingsAtOnce = 8

// pingAll asks the nodes that may be called, and returns their answers in order.
func pingAll(x *exchange, slugs []string) []fleet.Ping {
	pings := make([]fleet.Ping, len(slugs))
	places := make(chan struct{}, pingsAtOnce)
	var group sync.WaitGroup
	for i, slug := range slugs {
		node := x.app.Snapshot().Node(slug)
		if node == nil || node.AdminState == fleet.AdminPending || node.AdminState == fleet.AdminDisabled {
			continue
		}
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			pings[i] = x.app.Ping(x.Context(), node)
		})
	}
	group.Wait()
	return slices.DeleteFunc(pings, func(p fleet.Ping) bool { return p.Node == "" })
}

// Export is the answer to GET /federation/export: a registry file.
type Export struct {
	Nodes []importing.Exported `json:"nodes"`
}

// export writes the registered nodes, with ?all=true those of the Caddyfile
// too, as a file that plan and apply read.
func export(x *exchange) error {
	all := x.URL.Query().Get("all") == "true"
	file := Export{Nodes: []importing.Exported{}}
	for _, node := range x.app.Snapshot().Nodes {
		if !all && len(x.app.FixedSettings(node.Slug)) > 0 {
			continue
		}
		settings := importing.Settings{NodeConfig: node.Settings(), Version: node.Version, Metadata: node.Metadata}
		file.Nodes = append(file.Nodes, importing.Export(settings, x.app.Complete))
	}
	return x.answer(http.StatusOK, file)
}
