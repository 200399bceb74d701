package command

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/admin"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

func breakerCommand(o *options) *cobra.Command {
	return group("breaker", "Lists and forces circuit breakers", breakerLs(o), breakerForce(o))
}

func breakerLs(o *options) *cobra.Command {
	return leaf(o, "ls", "Lists the circuit breakers of the nodes", cobra.NoArgs, func(ctx context.Context, s *session, _ []string) error {
		var list admin.BreakerList
		if err := s.call(ctx, http.MethodGet, "breakers", nil, nil, &list); err != nil {
			return err
		}
		return s.printBreakers(list)
	})
}

func breakerForce(o *options) *cobra.Command {
	var wish fleet.BreakerForce
	var lasts time.Duration
	cmd := leaf(o, "force <node> open|closed|auto|reset", "Makes a circuit breaker do what you say", cobra.ExactArgs(2),
		func(ctx context.Context, s *session, args []string) error {
			wish.Force = args[1]
			switch wish.Force {
			case "open", "closed", "auto", "reset":
			default:
				return usage("unknown state %q, expected open, closed, auto or reset", args[1])
			}
			if s.cmd.Flags().Changed("for") {
				if lasts <= 0 {
					return usage("--for %s is not above 0", lasts)
				}
				wish.For = lasts.String()
			}
			var now fleet.NodeBreaker
			if err := s.call(ctx, http.MethodPost, nodePath(args[0], "breaker"), nil, wish, &now); err != nil {
				return err
			}
			return s.printBreakers(admin.BreakerList{Breakers: []fleet.NodeBreaker{now}, Count: 1})
		})
	cmd.Long = `Makes a circuit breaker do what you say: open refuses every call to the node,
closed lets every call through, auto takes that back, reset closes the breaker and
forgets what it has seen. The other gateways of the store follow.`
	cmd.Flags().StringVar(&wish.Reason, "reason", "", "why, for the history")
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long open or closed hold, at most 720h; default: until auto")
	return cmd
}

func (s *session) printBreakers(list admin.BreakerList) error {
	if s.json {
		return s.printJSON(list)
	}
	t := s.table("NODE", "STATE", "SHARE", "SINCE", "OPENS", "NEXT", "FORCED BY", "GUARDED", "WHY")
	for _, b := range list.Breakers {
		how := shadeNone
		switch b.State {
		case breaker.Open, breaker.ForcedOpen:
			how = shadeBad
		case breaker.HalfOpen, breaker.ForcedClosed:
			how = shadeWarn
		}
		state, since, actor := string(b.State), "", ""
		switch {
		case b.Shadow:
			state += " (shadow)"
		case b.Panic:
			state += " (panic)"
		}
		if !b.Since.IsZero() {
			since = b.Since.UTC().Format(time.RFC3339)
		}
		if b.State == breaker.ForcedOpen || b.State == breaker.ForcedClosed {
			actor = b.Actor
		}
		guarded := strconv.FormatUint(b.Guarded, 10)
		if b.LastGuard != "" {
			guarded += ": " + b.LastGuard
		}
		t.row(how, b.Node, state, strconv.FormatFloat(100*b.Share, 'f', 0, 64)+"%", since, strconv.FormatUint(b.Opens, 10), nextOf(b), actor, guarded, b.Reason)
	}
	return t.flush()
}

// nextOf says what happens next by itself.
func nextOf(b fleet.NodeBreaker) string {
	switch {
	case b.State == breaker.HalfOpen:
		return "trial calls now"
	case b.Until.IsZero():
		return ""
	case b.State == breaker.ForcedClosed:
		return "auto at " + b.Until.UTC().Format(time.RFC3339)
	default:
		return "trial calls at " + b.Until.UTC().Format(time.RFC3339)
	}
}
