package command

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// settingFlags are the settings of a node as flags. Those that can hold a
// secret are none: arguments are seen in the process list.
type settingFlags struct {
	texts map[string]*string
	lists map[string]*[]string

	weight      float64
	required    bool
	timeout     time.Duration
	maxRequests int
}

// newSettingFlags adds the flags to a command.
func newSettingFlags(cmd *cobra.Command) *settingFlags {
	s := &settingFlags{texts: make(map[string]*string), lists: make(map[string]*[]string)}
	flags := cmd.Flags()
	for _, text := range [][2]string{
		{"name", "a name for people"},
		{"type", "child or master"},
		{"dialect", "how the node is spoken to, such as auto, laravel or gateway"},
		{"group", "the name of the replicas that hold the same documents"},
		{"subject", "the sub of tokens that are sent to the node"},
		{"description", "what the node holds"},
		{"version", "the node's software"},
		{"metadata", "a JSON object that is kept and shown"},
		{"admin-state", "enabled, draining, maintenance or disabled"},
		{"budget", `what the node lets us do: "<calls> <window> [per_path]" or off`},
		{"max-response-size", "how large an answer may be, such as 8MiB"},
	} {
		s.texts[text[0]] = flags.String(text[0], "", text[1])
	}
	for _, list := range [][2]string{
		{"capabilities", "what the node may do, such as search,actions"},
		{"domains", "fields of knowledge"},
		{"data-types", "kinds of data"},
		{"keywords", "words that the node is good for"},
		{"collections", `collections, as name or name=class`},
	} {
		s.lists[list[0]] = flags.StringSlice(list[0], nil, list[1])
	}
	flags.Float64Var(&s.weight, "weight", 1, "the node's share, above 0 and at most 1000")
	flags.BoolVar(&s.required, "required", false, "an answer without this node is a failure")
	flags.DurationVar(&s.timeout, "timeout", 5*time.Second, "the longest single call to the node")
	flags.IntVar(&s.maxRequests, "max-requests", 64, "how many calls to the node may run at once")
	return s
}

// refuseZeros refuses values that the API would take for the default: who
// writes one means something else, such as no capability at all.
func (s *settingFlags) refuseZeros(cmd *cobra.Command) error {
	wrong := func(flag, is string) error {
		instead := "leave it out for the default"
		if cmd.Flags().Lookup("unset") != nil {
			instead = "--unset " + flag + " takes it back to its default"
		}
		return usage("--%s %s; %s", flag, is, instead)
	}
	given := cmd.Flags().Changed
	for flag, text := range s.texts {
		if given(flag) && strings.TrimSpace(*text) == "" {
			return wrong(flag, "is empty")
		}
	}
	for flag, list := range s.lists {
		if given(flag) && (len(*list) == 0 || slices.ContainsFunc(*list, func(entry string) bool { return strings.TrimSpace(entry) == "" })) {
			return wrong(flag, "has an empty entry")
		}
	}
	for flag, above := range map[string]bool{"weight": s.weight > 0, "timeout": s.timeout > 0, "max-requests": s.maxRequests > 0} {
		if given(flag) && !above {
			return wrong(flag, cmd.Flags().Lookup(flag).Value.String()+" is not above 0")
		}
	}
	return nil
}

// changed returns the settings whose flags were given, by their JSON names.
func (s *settingFlags) changed(cmd *cobra.Command) (map[string]any, error) {
	if err := s.refuseZeros(cmd); err != nil {
		return nil, err
	}
	body := make(map[string]any)
	given := cmd.Flags().Changed
	for flag, text := range s.texts {
		if !given(flag) {
			continue
		}
		switch flag {
		case "dialect":
			body["dialect"] = map[string]string{"dialect": *text}
		case "metadata":
			if !json.Valid([]byte(*text)) || !strings.HasPrefix(strings.TrimSpace(*text), "{") {
				return nil, usage("--metadata is no JSON object")
			}
			body["metadata"] = json.RawMessage(*text)
		case "budget":
			budget, err := readBudget(*text)
			if err != nil {
				return nil, err
			}
			body["budget"] = budget
		case "max-response-size":
			size, err := humanize.ParseBytes(*text)
			if err != nil || size == 0 || size > fleet.MaxMaxResponseSize {
				return nil, usage("--max-response-size %q is not a size from 1B to 1GiB, as in 8MiB", *text)
			}
			body["max_response_size"] = size
		default:
			body[strings.ReplaceAll(flag, "-", "_")] = *text
		}
	}
	for flag, list := range s.lists {
		if !given(flag) {
			continue
		}
		if flag != "collections" {
			body[strings.ReplaceAll(flag, "-", "_")] = *list
			continue
		}
		collections := []fleet.Collection{}
		for _, entry := range *list {
			name, class, _ := strings.Cut(entry, "=")
			collections = append(collections, fleet.Collection{Name: name, Class: class})
		}
		body["collections"] = collections
	}
	if given("weight") {
		body["weight"] = s.weight
	}
	if given("required") {
		body["required"] = s.required
	}
	if given("timeout") {
		body["timeout"] = s.timeout.String()
	}
	if given("max-requests") {
		body["max_requests"] = s.maxRequests
	}
	return body, nil
}

// readBudget reads what the Caddyfile's `budget` takes.
func readBudget(text string) (map[string]any, error) {
	words := strings.Fields(text)
	if len(words) == 1 && words[0] == "off" {
		return map[string]any{"limit": 0}, nil
	}
	perPath := len(words) == 3 && words[2] == "per_path"
	if len(words) == 2 || perPath {
		limit, limitErr := strconv.Atoi(words[0])
		window, windowErr := caddy.ParseDuration(words[1])
		if limitErr == nil && windowErr == nil && limit > 0 && window > 0 {
			return map[string]any{"limit": limit, "window": window.String(), "per_path": perPath}, nil
		}
	}
	return nil, usage("--budget %q is no budget, expected \"<calls> <window> [per_path]\" or off", text)
}
