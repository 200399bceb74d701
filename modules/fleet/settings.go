package fleet

import (
	"reflect"
	"strings"
)

// Settings is what the node is configured with, defaults filled in, without
// what can hold a secret: credentials, keys, header_up and transport.
func (n *Node) Settings() NodeConfig {
	settings := n.settings
	settings.URL = n.URL.String()
	return settings
}

// open drops what can hold a secret.
func (c NodeConfig) open() NodeConfig {
	c.Credentials, c.Keys, c.HeaderUp, c.TransportRaw = nil, nil, nil, nil
	return c
}

// Complete fills in what a node of the registry gets that does not set a
// field: node_defaults, then the documented defaults.
func (a *App) Complete(config NodeConfig) NodeConfig {
	if a.NodeDefaults != nil {
		config = config.over(a.NodeDefaults.open())
	}
	return config.withDefaults()
}

// FixedSettings names the settings that the Caddyfile has of the node, by
// their JSON names. They cannot be changed here; a node of the registry has none.
func (a *App) FixedSettings(slug string) []string {
	static, ok := a.registry.static[slug]
	if !ok {
		return nil
	}
	var names []string
	set := reflect.ValueOf(static)
	for i := range set.NumField() {
		if !set.Field(i).IsZero() {
			name, _, _ := strings.Cut(set.Type().Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}
