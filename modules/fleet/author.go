package fleet

import (
	"encoding/json"
	"slices"
)

// whereabouts are the members that say where a node is and how the gateway
// proves itself there, and the name by which people know it: who could change
// them would be sent what is meant for the node.
var whereabouts = []string{"name", "url", "dialect", "credentials", "subject", "header_up"}

// Author is on whose word a node is changed.
type Author uint8

// The authors of a change.
const (
	// ByOperator is somebody at the gateway itself, who may change everything.
	ByOperator Author = iota
	// ByManager is a caller with nodes:write: it can give nobody power over
	// nodes and tokens ([Privileged]), nor get at a node that has it.
	ByManager
	// ByNode is the node itself: it may change what it says of itself, and
	// shrink what it may do.
	ByNode
)

// SaysOfItself tells whether all of a change is what a node may say of itself
// and does not touch what it may do.
func SaysOfItself(change map[string]json.RawMessage) bool {
	for name := range change {
		if name == "capabilities" || !slices.Contains(selfChanges, name) {
			return false
		}
	}
	return true
}

// permitted refuses what the author may not do, by what the node may do
// before the change. The error is a [NodeError].
func (a *App) permitted(slug string, before, after NodeConfig, change map[string]json.RawMessage, by Author) error {
	if static, fixed := a.registry.static[slug]; fixed {
		before = static.over(before)
	}
	has := a.Complete(before).Capabilities
	_, asked := change["capabilities"]
	switch by {
	case ByNode:
		if asked && len(after.Capabilities) == 0 {
			return invalidNode("capabilities", "expected at least one")
		}
		if !subset(after.Capabilities, has) {
			return &NodeError{CodeNotPermitted, "capabilities", "a node cannot raise what it may do; an operator can"}
		}
	case ByManager:
		for _, c := range a.Complete(after).Capabilities {
			if asked && Privileged(c) && !slices.Contains(has, c) {
				return reserved("capabilities", c)
			}
		}
		i := slices.IndexFunc(has, Privileged)
		for _, name := range whereabouts {
			if _, given := change[name]; given && i >= 0 {
				return reserved(name, has[i])
			}
		}
	}
	return nil
}

// reserved is for what would give somebody power over nodes and tokens.
func reserved(field, capability string) *NodeError {
	return &NodeError{CodeNotPermitted, field,
		"power over nodes and tokens is given in the Caddyfile or on the command line only, and " + clipWord(capability) + " is that"}
}

func subset(list, of []string) bool {
	for _, item := range list {
		if !slices.Contains(of, item) {
			return false
		}
	}
	return true
}
