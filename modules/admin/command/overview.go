package command

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/admin"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func statsCommand(o *options) *cobra.Command {
	return leaf(o, "stats", "Shows totals by state and type, and of calls by outcome", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			var statistics fleet.Statistics
			if err := s.call(ctx, http.MethodGet, "stats", nil, nil, &statistics); err != nil {
				return err
			}
			if s.json {
				return s.printJSON(statistics)
			}
			t := s.table()
			t.row(shadeNone, "nodes", strconv.Itoa(statistics.Nodes.Total))
			t.row(shadeNone, "available", strconv.Itoa(statistics.Nodes.Available))
			t.row(shadeNone, "by type", counts(statistics.Nodes.ByType))
			t.row(shadeNone, "by admin_state", counts(statistics.Nodes.ByAdminState))
			t.row(shadeNone, "by health", counts(statistics.Nodes.ByHealth))
			t.row(shadeNone, "calls", counts(statistics.Calls))
			t.row(shadeNone, "in flight", strconv.FormatInt(statistics.InFlight, 10))
			if alerts := statistics.Alerts; len(alerts.Webhooks) > 0 {
				t.row(shadeNone, "alerts", fmt.Sprintf("%d firing, %d pending, %d delivered, %d failed", alerts.Firing, alerts.Pending, alerts.Delivered, alerts.Failed))
			}
			return t.flush()
		})
}

// counts writes "child 3, master 1", without zeros.
func counts[K cmp.Ordered, V int | uint64](of map[K]V) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(of)) {
		if of[key] > 0 {
			parts = append(parts, fmt.Sprintf("%v %d", key, of[key]))
		}
	}
	return strings.Join(parts, ", ")
}

func healthCommand(o *options) *cobra.Command {
	var wait bool
	cmd := leaf(o, "health", "Shows how the gateway, its store and its nodes are", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			h, err := s.health(ctx, wait)
			if err != nil {
				return err
			}
			if err := s.printHealth(h); err != nil {
				return err
			}
			switch h.Status {
			case admin.Pass:
				return nil
			case admin.Warn:
				return &failure{code: exitPartial}
			default:
				return &failure{code: exitFailed}
			}
		})
	cmd.Long = `Shows how the gateway, its store and its nodes are. The exit code is 0 for
pass, 5 for warn and 6 for fail.`
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is not fail, for as long as --request-timeout")
	return cmd
}

// waitBetween is how long --wait pauses between two questions.
const waitBetween = 250 * time.Millisecond

// health asks once, or until the answer is good enough.
func (s *session) health(ctx context.Context, wait bool) (h admin.Health, err error) {
	for {
		status, answer, err := s.do(ctx, http.MethodGet, "health", nil, nil)
		if err == nil {
			h = admin.Health{}
			if err = decode(answer, &h); err == nil && h.Status == "" {
				err = refusal(status, answer)
			}
		}
		if !wait || err == nil && h.Status != admin.Fail || exitCode(err) == exitTimeout {
			return h, err
		}
		select {
		case <-ctx.Done():
			return h, &failure{exitTimeout, fmt.Errorf("it did not become well in %s", s.options.timeout)}
		case <-time.After(waitBetween):
		}
	}
}

func (s *session) printHealth(h admin.Health) error {
	if s.json {
		return s.printJSON(h)
	}
	shades := map[string]shade{admin.Pass: shadeGood, admin.Warn: shadeWarn, admin.Fail: shadeBad}
	t := s.table("CHECK", "STATUS", "VALUE", "WHY")
	t.row(shades[h.Status], "federation "+h.Federation, h.Status, "", h.Output)
	for _, name := range slices.Sorted(maps.Keys(h.Checks)) {
		for _, check := range h.Checks[name] {
			value := ""
			if check.ObservedValue != nil {
				value = strings.TrimSpace(fmt.Sprint(check.ObservedValue) + " " + check.ObservedUnit)
			}
			t.row(shades[check.Status], name, check.Status, value, check.Output)
		}
	}
	return t.flush()
}
