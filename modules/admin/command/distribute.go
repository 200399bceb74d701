package command

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func nodesDistribute(o *options) *cobra.Command {
	var capabilities []string
	cmd := leaf(o, "distribute <count>", "Shares the jobs of a batch out by the nodes' weights", cobra.ExactArgs(1), func(ctx context.Context, s *session, args []string) error {
		if n, err := strconv.Atoi(args[0]); err != nil || n < 1 {
			return usage("%s is not a whole number above 0", args[0])
		}
		var d fleet.Distribution
		if err := s.call(ctx, http.MethodGet, "distribution", url.Values{"count": args, "capability": capabilities}, nil, &d); err != nil {
			return err
		}
		return s.printDistribution(d)
	})
	cmd.Long = `Says how many of a number of jobs each node should get, by weight: the numbers
sum to what was asked for (largest remainder). Nodes that cannot be called now get
none, and are listed with the reason. Nothing is sent or reserved.`
	cmd.Flags().StringSliceVar(&capabilities, "capability", nil, "only nodes that have all of these")
	return cmd
}

func (s *session) printDistribution(d fleet.Distribution) error {
	if s.json {
		return s.printJSON(d)
	}
	t := s.table("NODE", "WEIGHT", "COUNT", "LEFT OUT")
	for _, n := range d.Nodes {
		t.row(shadeNone, n.Node, strconv.FormatFloat(n.Weight, 'g', -1, 64), strconv.Itoa(n.Count), "")
	}
	for _, n := range d.LeftOut {
		t.row(shadeWarn, n.Node, "", "0", n.Reason)
	}
	return t.flush()
}
