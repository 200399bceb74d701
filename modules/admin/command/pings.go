package command

import (
	"context"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/admin"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func nodesPing(o *options) *cobra.Command {
	cmd := leaf(o, "ping [node]...", "Asks nodes how they are, now", cobra.ArbitraryArgs, func(ctx context.Context, s *session, args []string) error {
		if len(args) == 0 {
			var list admin.NodeList
			if err := s.call(ctx, http.MethodGet, "nodes", nil, nil, &list); err != nil {
				return err
			}
			for _, node := range list.Nodes {
				if node.AdminState != fleet.AdminPending && node.AdminState != fleet.AdminDisabled {
					args = append(args, node.Slug)
				}
			}
		}
		pings := []fleet.Ping{}
		for _, slug := range args {
			var ping fleet.Ping
			if err := s.call(ctx, http.MethodPost, nodePath(slug, "ping"), nil, nil, &ping); err != nil {
				return err
			}
			pings = append(pings, ping)
		}
		if err := s.printPings(pings); err != nil {
			return err
		}
		return someFailed(unwell(pings), len(pings))
	})
	cmd.Long = "Asks nodes how they are, now: those named, else all that are not disabled or\npending. The exit code is 5 when some do not answer or are unhealthy, 6 when all."
	return cmd
}

func unwell(pings []fleet.Ping) (n int) {
	for _, p := range pings {
		if p.Outcome != fleet.OutcomeOK || p.Health == fleet.HealthUnhealthy {
			n++
		}
	}
	return n
}

func (s *session) printPings(pings []fleet.Ping) error {
	if s.json {
		return s.printJSON(map[string]any{"pings": pings})
	}
	t := s.table("NODE", "HEALTH", "TOOK", "HTTP", "DIALECT", "VERSION", "WHY")
	for _, p := range pings {
		how, status := shadeNone, ""
		if p.Outcome != fleet.OutcomeOK || p.Health == fleet.HealthUnhealthy {
			how = shadeBad
		}
		if p.HTTPStatus != 0 {
			status = strconv.Itoa(p.HTTPStatus)
		}
		t.row(how, p.Node, string(p.Health), latency(p.Took), status, p.Dialect, p.Version, p.Reason+p.Error)
	}
	return t.flush()
}
