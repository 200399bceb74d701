package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/caddy-federation/caddy-federation/store"
)

// selfChanges are the members that a node may change of itself. What it may
// do, how much it counts and the operator's word are not among them;
// capabilities are, and can only shrink.
var selfChanges = []string{
	"name", "url", "description", "domains", "keywords", "data_types", "collections", "version", "metadata", "capabilities",
}

// operatorChanges are those that only an operator may change.
var operatorChanges = []string{
	"type", "weight", "group", "required", "dialect", "credentials", "subject", "header_up", "timeout", "max_requests",
	"max_response_size", "budget", "admin_state",
}

// ChangeMembers names what [App.UpdateNode] can change, sorted.
func ChangeMembers() []string {
	return slices.Sorted(slices.Values(slices.Concat(selfChanges, operatorChanges)))
}

func (a *App) opened() (store.Store, error) {
	if opened := a.Store(); opened != nil {
		return opened, nil
	}
	return nil, &NodeError{CodeRegistryDown, "", "the gateway is still starting; try again"}
}

// check validates a record on its own.
func (n *nodeRecord) check() error {
	if err := n.Validate(); err != nil {
		return invalidNode("", "%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("node %q: ", n.Slug)))
	}
	data, err := n.encode()
	if err != nil {
		return err
	}
	if _, err := readNodeRecord(store.NodeRecord{Slug: n.Slug, Data: data}); err != nil {
		return invalidNode("", "%s", err.Error())
	}
	return nil
}

// UpdateNode changes a node. change is a JSON object of the members of
// [NodeConfig], and of version and metadata; null takes a member back to its
// default (RFC 7396, on the first level). A field that the Caddyfile sets
// cannot be changed. The error is a [NodeError].
func (a *App) UpdateNode(ctx context.Context, slug string, change map[string]json.RawMessage, by Author) (*Node, error) {
	opened, err := a.opened()
	if err != nil {
		return nil, err
	}
	for name := range change {
		if slices.Contains(selfChanges, name) || by != ByNode && slices.Contains(operatorChanges, name) {
			continue
		}
		if slices.Contains(operatorChanges, name) {
			return nil, &NodeError{CodeNotPermitted, name, "only an operator may change this"}
		}
		return nil, invalidNode(clipWord(name), "there is no such setting")
	}
	var node *Node
	err = a.registry.write(ctx, slug, func(ctx context.Context) (err error) {
		node, err = a.update(ctx, opened, slug, change, by)
		return err
	})
	if err != nil {
		return nil, a.registryError(err)
	}
	a.Emit("node_updated", slug, map[string]any{"name": node.Name, "changed": slices.Sorted(maps.Keys(change))})
	return node, nil
}

func (a *App) update(ctx context.Context, opened store.Store, slug string, change map[string]json.RawMessage, by Author) (*Node, error) {
	nodes := opened.Nodes()
	static, fixed := a.registry.static[slug]
	stands, err := nodes.Get(ctx, slug)
	if err != nil && (!fixed || !errors.Is(err, store.ErrNotFound)) {
		return nil, err
	}
	var before nodeRecord
	if err == nil {
		if before, err = readNodeRecord(stands); err != nil {
			return nil, invalidNode("", "the node's record is broken; unregister the node and add it again")
		}
		switch {
		case !fixed && before.vacant():
			return nil, store.ErrNotFound
		case a.registry.displaced(&before):
			return nil, store.ErrConflict // it is about to go
		}
		a.registry.settle(&before)
	}
	if name, given := change["name"]; given && string(bytes.TrimSpace(name)) == `""` {
		return nil, invalidNode("name", "expected 1 to %d characters, or null for the slug", maxNodeName)
	}
	after, err := before.merged(change)
	if err != nil {
		return nil, err
	}
	after.Slug = slug
	if after.AdminState == AdminPending && before.AdminState != AdminPending {
		return nil, invalidNode("admin_state", "expected enabled, draining, maintenance or disabled; pending is what a node is until it is approved")
	}
	if fixed {
		if name := overridden(static, before.NodeConfig, after.NodeConfig); name != "" {
			return nil, &NodeError{CodeNodeFixed, name, "the Caddyfile sets this of the node; change it there"}
		}
	}
	if err := a.permitted(slug, before.NodeConfig, after.NodeConfig, change, by); err != nil {
		return nil, err
	}
	if after.URL != before.URL && !sameURL(after.URL, before.URL) {
		if !fixed {
			if err := a.heldElsewhere(ctx, opened, slug, CodeNodeFixed); err != nil {
				return nil, err
			}
		}
		if by == ByNode && before.placed() {
			return nil, heldInPlace()
		}
		if err := a.moved(ctx, &after, by == ByNode); err != nil {
			return nil, err
		}
	}
	if by != ByNode {
		after.placedBy(change)
	}
	whole := after
	if fixed {
		whole.NodeConfig = static.over(after.NodeConfig)
	}
	if err := after.checkAs(whole); err != nil {
		return nil, err
	}
	if err := a.registry.fits(&after); err != nil {
		return nil, err
	}
	data, err := after.encode()
	if err != nil {
		return nil, err
	}
	put := store.NodeRecord{Slug: slug, ID: stands.ID, Revision: stands.Revision, Data: data}
	if put.ID == 0 {
		if put.ID = a.numberOf(slug); put.ID == 0 {
			return nil, errUnnumbered
		}
	}
	elsewhere := by != ByNode && !before.vacant() && !before.Trusted && !sameURL(before.URL, after.URL)
	if elsewhere { // first: it must not have what it was given for a moment longer
		if err := a.revokeAll(ctx, opened, slug); err != nil {
			return nil, err
		}
	}
	written, err := nodes.Put(ctx, put)
	if err != nil {
		return nil, err
	}
	if elsewhere {
		a.replaced(slug, "a change of its url")
	}
	return a.registry.written(ctx, nodes, written)
}

// placedBy is what an operator's change means for where the node lives, how it
// is known and what it may do at most.
func (n *nodeRecord) placedBy(change map[string]json.RawMessage) {
	if _, given := change["url"]; given {
		n.Trusted = true
	}
	if _, given := change["capabilities"]; given {
		n.Limit = n.Capabilities
		n.Empowered = n.Empowered || slices.ContainsFunc(n.Capabilities, Privileged)
	}
	if n.placed() {
		n.Owner = "" // it is known by its place
	}
}

// moved looks at a new URL: a node's own choice is bound by the policy.
func (a *App) moved(ctx context.Context, after *nodeRecord, self bool) error {
	if after.URL == "" {
		return invalidNode("url", "the url cannot be taken away")
	}
	u, err := parseNodeURL(after.URL)
	if err != nil {
		return invalidNode("url", "%s", err.Error())
	}
	if self {
		after.moveTo(after.URL)
		return a.allowURL(ctx, u)
	}
	return nil
}

// merged applies a change to a copy.
func (n nodeRecord) merged(change map[string]json.RawMessage) (after nodeRecord, err error) {
	data, err := n.marshal()
	if err != nil {
		return after, err
	}
	members := make(map[string]json.RawMessage)
	if err := json.Unmarshal(data, &members); err != nil {
		return after, err
	}
	for name, value := range change {
		if string(bytes.TrimSpace(value)) == "null" {
			delete(members, name)
			continue
		}
		if name == "metadata" {
			if err := CheckMetadata(value); err != nil {
				return after, err
			}
		}
		members[name] = value
	}
	data, err = json.Marshal(members)
	if err != nil {
		return after, invalidNode("", "the change is not valid JSON")
	}
	if err := json.Unmarshal(data, &after); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return after, invalidNode(clipWord(strings.TrimPrefix(wrong.Field, "NodeConfig.")), "the value does not fit: expected %s", kindInWords(wrong.Type))
		}
		return after, invalidNode("", "a value does not fit")
	}
	return after, nil
}

func kindInWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "an object"
	default:
		return "a number"
	}
}

// overridden names a field that changed although the file sets it.
func overridden(static, before, after NodeConfig) string {
	set, was, is := reflect.ValueOf(static), reflect.ValueOf(before), reflect.ValueOf(after)
	for i := range set.NumField() {
		name, _, _ := strings.Cut(set.Type().Field(i).Tag.Get("json"), ",")
		if name != "slug" && !set.Field(i).IsZero() && !reflect.DeepEqual(was.Field(i).Interface(), is.Field(i).Interface()) {
			return name
		}
	}
	return ""
}

// checkAs validates a record by what the node would be as a whole.
func (n *nodeRecord) checkAs(whole nodeRecord) error {
	r := Registration{
		Name: whole.Name, URL: whole.URL, Slug: n.Slug, Type: whole.Type, Version: n.Version, Capabilities: nil,
		Description: whole.Description, Domains: whole.Domains, Keywords: whole.Keywords, DataTypes: whole.DataTypes,
		Collections: whole.Collections, Metadata: n.Metadata,
	}
	if r.Name == "" {
		r.Name = n.Slug
	}
	if !strings.Contains(whole.URL, "{") || n.URL != "" { // the file's own may hold placeholders
		if _, err := r.normalize(); err != nil {
			return err
		}
	}
	check := *n
	if check.URL == "" {
		check.URL = "http://checked.invalid" // what the file says is checked when it is loaded
	}
	return check.check()
}

// SetAdminState says the operator's word on a node. Approving a pending node
// is enabling it; the URL policy is asked again then, because names move.
func (a *App) SetAdminState(ctx context.Context, slug string, state AdminState) (*Node, error) {
	node := a.Snapshot().Node(slug)
	if node == nil {
		return nil, &NodeError{CodeNodeUnknown, "", "there is no such node"}
	}
	was := node.AdminState
	if was == AdminPending && state != AdminEnabled && state != AdminDisabled {
		return nil, &NodeError{CodeNodeConflict, "", "the node waits for approval; approve or disable it"}
	}
	if was == AdminPending && state == AdminEnabled && node.guarded {
		if err := a.urlPolicy.Check(ctx, &url.URL{Scheme: node.URL.Scheme, Host: node.URL.Host}); err != nil {
			var refused *URLRefusedError
			if errors.As(err, &refused) {
				return nil, &NodeError{CodeURLRefused, "url", refused.Reason}
			}
			return nil, err
		}
	}
	text, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	node, err = a.UpdateNode(ctx, slug, map[string]json.RawMessage{"admin_state": text}, ByOperator)
	if err == nil && was != state {
		a.Emit("node_admin_state", slug, map[string]any{"from": string(was), "to": string(state)})
	}
	return node, err
}
