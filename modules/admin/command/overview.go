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

	"github.com/spf13/cobra"

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
			t.row(shadeNone, "by breaker", counts(statistics.Nodes.ByBreaker))
			t.row(shadeNone, "breaker opens", strconv.FormatUint(statistics.Opens, 10))
			t.row(shadeNone, "flaps", strconv.FormatUint(statistics.Flaps, 10))
			t.row(shadeNone, "calls", counts(statistics.Calls))
			t.row(shadeNone, "in flight", strconv.FormatInt(statistics.InFlight, 10))
			t.row(shadeNone, "last hour", lastHour(statistics.Recent))
			t.row(shadeNone, "per second", strconv.FormatFloat(statistics.Recent.RequestsPerSecond, 'f', 1, 64))
			t.row(shadeNone, "last error", lastError(statistics.Recent.LastError))
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
