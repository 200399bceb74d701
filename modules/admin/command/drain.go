package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/admin"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func nodesDrain(o *options) *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := leaf(o, "drain <node>...", "Gives nodes no new work, and lets them finish", cobra.MinimumNArgs(1),
		func(ctx context.Context, s *session, args []string) error {
			given := s.cmd.Flags().Changed("timeout")
			if given && (!wait || timeout <= 0) {
				return usage("--timeout %s: expected a duration above 0, and --wait", timeout)
			}
			list, err := s.sayWord(ctx, args, "drain")
			if wait && list.Count > 0 {
				if !given {
					timeout = s.options.timeout
				}
				err = errors.Join(s.awaitDrained(ctx, &list, timeout), err)
			} else {
				s.tellInFlight(list)
			}
			if list.Count == 0 {
				return err
			}
			return errors.Join(s.printNodes(list), err)
		})
	cmd.Long = `Gives nodes no new work, and lets them finish what they have. How many calls still
run, on all gateways, is said on stderr. With --wait the command ends when none does,
or with the exit code 8 when the time is over; the nodes stay draining.`
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until no call to them runs any more")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait; default: --request-timeout")
	return cmd
}

// inFlight counts the calls to a node that run on all gateways. Those of
// others are as of a second ago.
func inFlight(n fleet.NodeView) int64 { return n.Load.InFlight + n.InFlightElsewhere }

func (s *session) tellInFlight(list admin.NodeList) {
	for _, n := range list.Nodes {
		s.say("Node %s has %s in flight.", plain(n.Slug), callsOf(inFlight(n)))
	}
}

func callsOf(n int64) string {
	if n == 1 {
		return "1 call"
	}
	return fmt.Sprintf("%d calls", n)
}

// drainedFor is how long no call must have been seen: others tell theirs once
// a second.
const drainedFor = 1500 * time.Millisecond

// awaitDrained looks until no call to the nodes runs, and leaves in the list
// how they are then.
func (s *session) awaitDrained(ctx context.Context, list *admin.NodeList, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout) // which --request-timeout does not bound
	defer cancel()
	said, quiet := "", time.Now()
	for {
		var busy []string
		for i := range list.Nodes {
			n := &list.Nodes[i]
			var now fleet.NodeView
			if err := s.call(ctx, http.MethodGet, nodePath(n.Slug), nil, nil, &now); err != nil {
				if ctx.Err() != nil {
					return undrained(busy, said, timeout)
				}
				return err
			}
			if *n = now; inFlight(now) > 0 {
				busy = append(busy, fmt.Sprintf("%s has %s in flight", plain(n.Slug), callsOf(inFlight(now))))
			}
		}
		if len(busy) > 0 {
			quiet = time.Now()
			if text := strings.Join(busy, ", "); text != said {
				said = text
				s.say("Waiting: %s.", text)
			}
		} else if time.Since(quiet) >= drainedFor {
			return nil
		}
		select {
		case <-ctx.Done():
			return undrained(busy, said, timeout)
		case <-time.After(waitBetween):
		}
	}
}

func undrained(busy []string, said string, timeout time.Duration) error {
	if len(busy) > 0 {
		said = strings.Join(busy, ", ")
	}
	if said == "" {
		said = "that no gateway has a call in flight was not known yet"
	}
	return &failure{exitTimeout, fmt.Errorf("not drained in %s: %s", timeout, said)}
}
