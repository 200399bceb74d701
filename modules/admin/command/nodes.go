package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/admin"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

func nodesCommand(o *options) *cobra.Command {
	return group("nodes", "Lists, changes and imports nodes",
		nodesLs(o), nodesGet(o), nodesAdd(o), nodesSet(o), nodesRm(o),
		nodesState(o, "approve", "Lets nodes in that wait for it"),
		nodesState(o, "enable", "Lets nodes work"),
		nodesDrain(o), nodesDistribute(o),
		nodesState(o, "maintenance", "Takes nodes out while somebody works on them"),
		nodesState(o, "disable", "Takes nodes out, and refuses their tokens"),
		nodesPing(o), nodesPlan(o), nodesApply(o, false), nodesApply(o, true), nodesExport(o))
}

func nodePath(slug string, more ...string) string {
	return strings.Join(append([]string{"nodes", url.PathEscape(slug)}, more...), "/")
}

func nodesLs(o *options) *cobra.Command {
	var state, kind string
	cmd := leaf(o, "ls", "Lists the nodes", cobra.NoArgs, func(ctx context.Context, s *session, _ []string) error {
		if err := oneOf("--state", state, "enabled", "draining", "maintenance", "disabled", "pending"); err != nil {
			return err
		}
		if err := oneOf("--type", kind, fleet.TypeChild, fleet.TypeMaster); err != nil {
			return err
		}
		var list admin.NodeList
		if err := s.call(ctx, http.MethodGet, "nodes", nil, nil, &list); err != nil {
			return err
		}
		list.Nodes = slices.DeleteFunc(list.Nodes, func(n fleet.NodeView) bool {
			return state != "" && string(n.AdminState) != state || kind != "" && n.Type != kind
		})
		list.Count = len(list.Nodes)
		return s.printNodes(list)
	})
	cmd.Flags().StringVar(&state, "state", "", "only those of this admin_state")
	cmd.Flags().StringVar(&kind, "type", "", "only those of this type: child or master")
	return cmd
}

// oneOf refuses the value of a flag that is none of the allowed ones. Empty is
// a flag that was not given.
func oneOf(flag, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return usage("%s: there is no %q, expected %s", flag, value, strings.Join(allowed, ", "))
}

func (s *session) printNodes(list admin.NodeList) error {
	if s.json {
		return s.printJSON(list)
	}
	t := s.table("SLUG", "NAME", "TYPE", "URL", "STATE", "HEALTH", "LATENCY", "FROM", "WHY")
	for _, n := range list.Nodes {
		t.row(nodeShade(n), n.Slug, n.Name, n.Type, n.URL, string(n.AdminState), string(n.Health), latency(n.Load.Latency), n.Source, whyOf(n))
	}
	return t.flush()
}

// whyOf says what is not as usual with a node.
func whyOf(n fleet.NodeView) string {
	switch {
	case n.Refusal != "" && n.Refusal != string(n.AdminState):
		return notCalled(n)
	case n.Refusal == "" && n.Breaker.Panic:
		return "called in a panic: " + string(n.Breaker.State) + ", " + n.Breaker.Reason
	default:
		return n.HealthReason
	}
}

// notCalled says why no call goes to a node, with what was observed of it.
func notCalled(n fleet.NodeView) string {
	reason := n.HealthReason
	if n.Health != fleet.HealthUnhealthy {
		reason = n.Breaker.Reason
	}
	if reason == "" {
		return "not called: " + n.Refusal
	}
	return "not called: " + n.Refusal + ", " + reason
}

func nodeShade(n fleet.NodeView) shade {
	switch {
	case n.AdminState == fleet.AdminDisabled:
		return shadeFaint
	case n.Health == fleet.HealthUnhealthy || n.AdminState == fleet.AdminEnabled && !n.Available:
		return shadeBad
	case n.AdminState != fleet.AdminEnabled || n.Health == fleet.HealthDegraded || n.Breaker.Panic:
		return shadeWarn
	default:
		return shadeNone
	}
}

func latency(ms float64) string {
	if ms == 0 {
		return ""
	}
	return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
}

func nodesGet(o *options) *cobra.Command {
	return leaf(o, "get <node>", "Shows a node", cobra.ExactArgs(1), func(ctx context.Context, s *session, args []string) error {
		var node fleet.NodeView
		if err := s.call(ctx, http.MethodGet, nodePath(args[0]), nil, nil, &node); err != nil {
			return err
		}
		return s.printNode(node)
	})
}

func (s *session) printNode(n fleet.NodeView) error {
	if s.json {
		return s.printJSON(n)
	}
	var collections []string
	for _, c := range n.Collections {
		if c.Class != "" && c.Class != c.Name {
			c.Name += " (" + c.Class + ")"
		}
		collections = append(collections, c.Name)
	}
	registered := ""
	if n.Registered != nil {
		registered = n.Registered.UTC().Format(time.RFC3339)
	}
	t := s.table()
	for _, line := range [][2]string{
		{"slug", n.Slug}, {"name", n.Name}, {"id", strconv.FormatInt(n.ID, 10)}, {"url", n.URL}, {"type", n.Type},
		{"admin_state", string(n.AdminState)}, {"health", strings.TrimSpace(string(n.Health) + "  " + n.HealthReason)},
		{"available", yesNo(n.Available, n.Refusal)}, {"dialect", n.Dialect}, {"version", n.Version},
		{"weight", strconv.FormatFloat(n.Weight, 'g', -1, 64)}, {"group", n.Group}, {"required", yesNo(n.Required, "")},
		{"capabilities", strings.Join(n.Capabilities, ", ")}, {"description", n.Description}, {"domains", strings.Join(n.Domains, ", ")},
		{"data_types", strings.Join(n.DataTypes, ", ")}, {"keywords", strings.Join(n.Keywords, ", ")},
		{"collections", strings.Join(collections, ", ")}, {"in flight", strconv.FormatInt(inFlight(n), 10)},
		{"latency", latency(n.Load.Latency)}, {"calls", counts(n.Load.Calls)}, {"last hour", lastHour(n.Recent)},
		{"last error", lastError(n.Recent.LastError)}, {"breaker", breakerInWords(n.Breaker)}, {"source", n.Source}, {"registered_at", registered},
		{"metadata", string(n.Metadata)},
	} {
		if line[1] != "" {
			t.raw(line[0], line[1])
		}
	}
	return t.flush()
}

// lastHour tells how the calls of the last hour went.
func lastHour(r fleet.Recent) string {
	if r.SuccessRate == nil {
		return ""
	}
	text := fmt.Sprintf("%.1f%% of %d calls ok", 100**r.SuccessRate, r.Calls)
	if r.Latency != nil {
		text += fmt.Sprintf(", p50 %s, p95 %s, p99 %s", latency(r.Latency.P50), latency(r.Latency.P95), latency(r.Latency.P99))
	}
	return text
}

func lastError(e *fleet.CallError) string {
	if e == nil {
		return ""
	}
	of := "a request"
	if e.Check {
		of = "a health check"
	}
	return fmt.Sprintf("%s (%s, %s) at %s", e.Reason, e.Outcome, of, e.At.UTC().Format(time.RFC3339))
}

// breakerInWords is empty for one that lets everything through.
func breakerInWords(b fleet.BreakerStatus) string {
	if b.State == breaker.Closed && b.Share >= 1 {
		return ""
	}
	text := string(b.State)
	if b.State == breaker.Closed { // on its way back
		text += fmt.Sprintf(", lets %.0f%% of the calls through", 100*b.Share)
	}
	if b.Panic {
		text += ", but called because too few nodes are available (panic)"
	}
	if b.Reason != "" {
		text += ": " + b.Reason
	}
	if !b.Until.IsZero() {
		text += ", until " + b.Until.UTC().Format(time.RFC3339)
	}
	return text
}

func yesNo(is bool, why string) string {
	text := "no"
	if is {
		text = "yes"
	}
	if why != "" {
		text += ": " + why
	}
	return text
}

func nodesAdd(o *options) *cobra.Command {
	var settings *settingFlags
	cmd := leaf(o, "add <node> <url>", "Adds a node", cobra.ExactArgs(2), func(ctx context.Context, s *session, args []string) error {
		body, err := settings.changed(s.cmd)
		if err != nil {
			return err
		}
		body["slug"], body["url"] = args[0], args[1]
		var node fleet.NodeView
		if err := s.call(ctx, http.MethodPost, "nodes", nil, body, &node); err != nil {
			return err
		}
		s.say("Node %s is added.", plain(node.Slug))
		return s.printNode(node)
	})
	settings = newSettingFlags(cmd)
	return cmd
}

func nodesSet(o *options) *cobra.Command {
	var settings *settingFlags
	var unset []string
	var address string
	cmd := leaf(o, "set <node>", "Changes settings of a node", cobra.ExactArgs(1), func(ctx context.Context, s *session, args []string) error {
		body, err := settings.changed(s.cmd)
		if err != nil {
			return err
		}
		if s.cmd.Flags().Changed("url") {
			if address == "" {
				return usage("--url is empty; a node cannot be without one")
			}
			body["url"] = address
		}
		for _, name := range unset {
			name = strings.ReplaceAll(name, "-", "_")
			if _, set := body[name]; set {
				return usage("%s is both set and unset", name)
			}
			body[name] = nil
		}
		if len(body) == 0 {
			return usage("there is nothing to change: name a setting, such as --weight 2, or --unset weight")
		}
		var node fleet.NodeView
		if err := s.call(ctx, http.MethodPatch, nodePath(args[0]), nil, body, &node); err != nil {
			return err
		}
		s.say("Node %s is changed.", plain(node.Slug))
		return s.printNode(node)
	})
	settings = newSettingFlags(cmd)
	cmd.Flags().StringVar(&address, "url", "", "where the node lives")
	cmd.Flags().StringSliceVar(&unset, "unset", nil, "settings that go back to their defaults")
	return cmd
}

func nodesRm(o *options) *cobra.Command {
	return leaf(o, "rm <node>...", "Unregisters nodes; their tokens die", cobra.MinimumNArgs(1), func(ctx context.Context, s *session, args []string) error {
		return s.each(args, func(slug string) error {
			if err := s.call(ctx, http.MethodDelete, nodePath(slug), nil, nil, nil); err != nil {
				return err
			}
			s.say("Node %s is gone.", plain(slug))
			return nil
		})
	})
}

// sayWord says the operator's word on each node, and returns those that took it.
func (s *session) sayWord(ctx context.Context, nodes []string, word string) (admin.NodeList, error) {
	list := admin.NodeList{Nodes: []fleet.NodeView{}}
	err := s.each(nodes, func(slug string) error {
		var answer json.RawMessage
		if err := s.call(ctx, http.MethodPost, nodePath(slug, word), nil, nil, &answer); err != nil {
			return err
		}
		if len(answer) == 0 { // enabled, while no node has the name
			s.say("No node has the name %s now. The next one is not held back; a limit of its capabilities stays until `nodes rm %s`.", plain(slug), plain(slug))
			return nil
		}
		var node fleet.NodeView
		if err := decode(answer, &node); err != nil {
			return err
		}
		list.Nodes = append(list.Nodes, node)
		return nil
	})
	list.Count = len(list.Nodes)
	return list, err
}

func nodesState(o *options, word, short string) *cobra.Command {
	return leaf(o, word+" <node>...", short, cobra.MinimumNArgs(1), func(ctx context.Context, s *session, args []string) error {
		list, err := s.sayWord(ctx, args, word)
		if list.Count == 0 && (err != nil || !s.json) {
			return err
		}
		return errors.Join(s.printNodes(list), err)
	})
}

// each does something to each of several. One that fails holds up no other.
func (s *session) each(names []string, do func(string) error) error {
	failed := 0
	for _, name := range names {
		err := do(name)
		switch code := exitCode(err); {
		case err == nil:
			continue
		case len(names) == 1, code == exitUnreachable, code == exitTimeout:
			return err
		}
		failed++
		s.say("caddy federation: %s: %s", plain(name), plain(err.Error()))
	}
	return someFailed(failed, len(names))
}

// someFailed is the exit code of several things.
func someFailed(failed, of int) error {
	switch {
	case failed == 0:
		return nil
	case failed < of:
		return &failure{exitPartial, fmt.Errorf("%d of %d failed", failed, of)}
	case of == 1: // and what was said of it is enough
		return &failure{code: exitFailed}
	default:
		return &failure{exitFailed, fmt.Errorf("all %d failed", of)}
	}
}
