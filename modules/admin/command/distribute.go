package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func nodesDistribute(o *options) *cobra.Command {
	var capabilities []string
	cmd := leaf(o, "distribute <count>", "Shares the jobs of a batch out by the nodes' weights", cobra.ExactArgs(1), func(ctx context.Context, s *session, args []string) error {
		if n, err := strconv.Atoi(args[0]); err != nil || n < 1 {
			return notACount(args[0])
		}
		var d fleet.Distribution
		if err := s.call(ctx, http.MethodGet, "distribution", url.Values{"count": args, "capability": capabilities}, nil, &d); err != nil {
			return err
		}
		if err := s.printDistribution(d); err != nil {
			return err
		}
		if d.Count == 0 {
			return &failure{exitFailed, errors.New(nobodyFits(d, capabilities))}
		}
		return nil
	})
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var shorthand interface{ GetSpecifiedShortnames() string } // a number below 0 looks like one
		if errors.As(err, &shorthand) {
			if text := shorthand.GetSpecifiedShortnames(); strings.IndexAny(text, "0123456789") == 0 {
				return finish(cmd, notACount("-"+text))
			}
		}
		return err
	})
	cmd.Long = `Says how many of a number of jobs each node should get, by weight: the numbers
sum to what was asked for (largest remainder). Nodes that cannot be called now get
none, and are listed with the reason. Nothing is sent or reserved. The exit code is 6
when no node can have any.`
	cmd.Flags().StringSliceVar(&capabilities, "capability", nil, "only nodes that have all of these")
	return cmd
}

func notACount(text string) error {
	return usage("<count>: expected a whole number above 0, got %s", text)
}

// nobodyFits says why no node gets any.
func nobodyFits(d fleet.Distribution, capabilities []string) string {
	nodes, which := fmt.Sprintf("%d nodes", len(d.LeftOut)), ""
	switch len(d.LeftOut) {
	case 0:
		return "nothing is shared out: the federation has no nodes"
	case 1:
		nodes = "1 node"
	}
	if len(capabilities) > 0 {
		which = " that has " + plain(strings.Join(capabilities, " and "))
	}
	return fmt.Sprintf("nothing is shared out: of %s none%s can be called now", nodes, which)
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
