package command

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func limitsCommand(o *options) *cobra.Command {
	return group("limits", "Shows and resets the keys of rate limits and budgets", limitsLs(o), limitsReset(o))
}

func limitsLs(o *options) *cobra.Command {
	var top int
	var policy string
	cmd := leaf(o, "ls", "Lists the busiest keys of rate limits and budgets", cobra.NoArgs, func(ctx context.Context, s *session, _ []string) error {
		query := url.Values{"top": {strconv.Itoa(top)}}
		if policy != "" {
			query.Set("policy", policy)
		}
		var limits fleet.RateLimits
		if err := s.call(ctx, http.MethodGet, "limits", query, nil, &limits); err != nil {
			return err
		}
		return s.printLimits(limits)
	})
	cmd.Long = `Lists the keys about which this gateway decided most, the busiest first: of
federation_rate_limit, also without a federation, and of the budgets of nodes,
whose policies are called budget/<node>. A key that is full again is forgotten.`
	cmd.Flags().IntVar(&top, "top", 20, "how many keys, at most 1000")
	cmd.Flags().StringVar(&policy, "policy", "", "only the keys of this policy")
	return cmd
}

func limitsReset(o *options) *cobra.Command {
	cmd := leaf(o, "reset <key>...", "Gives keys their whole burst again", cobra.MinimumNArgs(1), func(ctx context.Context, s *session, args []string) error {
		return s.each(args, func(arg string) error {
			key := arg
			if strings.HasPrefix(arg, `"`) { // no key begins so
				var err error
				if key, err = strconv.Unquote(arg); err != nil {
					return usage("%s is not a key in quotes as limits ls shows it", arg)
				}
			}
			if err := s.call(ctx, http.MethodPost, "limits/reset", nil, map[string]string{"key": key}, nil); err != nil {
				return err
			}
			s.say("The key %s is reset.", shownKey(key))
			return nil
		})
	})
	cmd.Long = `Gives keys their whole burst again, on all gateways that share the store: there
it is seen within a second. A key is what limits ls shows, which begins with its
policy; one in quotes is given with them, as in '"caller:a\tb"'.`
	return cmd
}

// shownKey is a key as it can be given back: in quotes when a terminal or a
// table would change it.
func shownKey(key string) string {
	if plain(key) == key {
		return key
	}
	return strings.ReplaceAll(strconv.QuoteToASCII(key), "  ", ` \x20`)
}

func (s *session) printLimits(limits fleet.RateLimits) error {
	if s.json {
		return s.printJSON(limits)
	}
	t := s.table("ALLOWED", "REFUSED", "LEFT", "LIMIT", "NEXT IN", "KEY")
	for _, k := range limits.Keys {
		how := shadeNone
		if k.RetryAfterMS > 0 {
			how = shadeWarn
		}
		t.wide(how, shownKey(k.Key), strconv.FormatUint(k.Allowed, 10), strconv.FormatUint(k.Refused, 10), strconv.Itoa(k.Remaining),
			strconv.Itoa(k.Limit)+" in "+milliseconds(k.WindowMS), milliseconds(k.RetryAfterMS))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if limits.StoreLost {
		s.say("The store cannot be used: this gateway counts by itself.")
	}
	return nil
}

// milliseconds is a duration for people, "" for 0.
func milliseconds(ms int64) string {
	if ms == 0 {
		return ""
	}
	text := (time.Duration(ms) * time.Millisecond).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
