package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func healthCommand(o *options) *cobra.Command {
	var wait, watch bool
	var timeout, interval time.Duration
	cmd := leaf(o, "health", "Shows how the gateway, its store and its nodes are", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			given := s.cmd.Flags().Changed
			switch {
			case wait && watch:
				return usage("--wait and --watch do not go together")
			case given("timeout") && (!wait || timeout <= 0):
				return usage("--timeout %s: expected a duration above 0, and --wait", timeout)
			case given("interval") && !watch || interval < 50*time.Millisecond:
				return usage("--interval %s: expected at least 50ms, and --watch", interval)
			case watch:
				return s.watchHealth(ctx, interval)
			case wait:
				if !given("timeout") {
					timeout = s.options.timeout
				}
				return s.awaitHealth(ctx, timeout)
			}
			h, err := s.health(ctx)
			if err == nil {
				err = s.printHealth(h)
			}
			if err != nil {
				return err
			}
			switch h.Status {
			case fleet.HealthPass:
				return nil
			case fleet.HealthWarn:
				return &failure{code: exitPartial}
			default:
				return &failure{code: exitFailed}
			}
		})
	cmd.Long = `Shows how the gateway, its store and its nodes are. The exit code is 0 for
pass, 5 for warn and 6 for fail.

With --wait it waits until traffic may come, which is pass or warn, and exits
with 0 then, or with 8 and what is missing when the time is over. With --watch it
shows each change until it is interrupted, and exits with 0.`
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is not fail")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait; default: --request-timeout")
	cmd.Flags().BoolVar(&watch, "watch", false, "show each change until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "how often --watch asks")
	return cmd
}

// health asks once.
func (s *session) health(ctx context.Context) (h fleet.HealthDocument, err error) {
	status, answer, err := s.do(ctx, http.MethodGet, "health", nil, nil)
	if err == nil {
		if err = decode(answer, &h); err == nil && h.Status == "" || err != nil && status >= 400 {
			err = refusal(status, answer)
		}
	}
	return h, err
}

// waitBetween is how long a command that waits pauses between two questions.
const waitBetween = 250 * time.Millisecond

// awaitHealth asks until traffic may come, or the time is over.
func (s *session) awaitHealth(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout) // which --request-timeout does not bound
	defer cancel()
	missing := "the admin endpoint did not answer"
	for {
		h, err := s.health(ctx)
		switch {
		case err == nil && h.Status != fleet.HealthFail:
			return s.printHealth(h)
		case err == nil:
			missing = whatIsMissing(h)
		case ctx.Err() == nil:
			missing = err.Error()
		}
		select {
		case <-ctx.Done():
			return &failure{exitTimeout, fmt.Errorf("it did not become well in %s: %s", timeout, missing)}
		case <-time.After(waitBetween):
		}
	}
}

// whatIsMissing says what keeps it from being well, nodes included.
func whatIsMissing(h fleet.HealthDocument) string {
	missing := []string{h.Output}
	for _, name := range slices.Sorted(maps.Keys(h.Checks)) {
		for _, check := range h.Checks[name] {
			if slug, isNode := strings.CutPrefix(name, "node:"); isNode && check.Output != "" && len(missing) < 10 {
				missing = append(missing, "node "+slug+" "+check.Output)
			}
		}
	}
	return strings.Join(missing, "; ")
}

// watchHealth shows each change until somebody interrupts it.
func (s *session) watchHealth(ctx context.Context, interval time.Duration) error {
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for last := ""; ; {
		bounded, cancel := context.WithTimeout(ctx, s.options.timeout)
		h, err := s.health(bounded)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		var usage *failure
		if errors.As(err, &usage) && usage.code != exitUnreachable && usage.code != exitTimeout {
			return err // it will not come right by itself
		}
		now := fmt.Sprint(err)
		if err == nil {
			now = looksOf(h)
		}
		if now != last {
			if err = s.showChange(h, err, last == ""); err != nil {
				return err
			}
		}
		last = now
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// showChange shows one state of a watch: as a table under its time, or as one
// line of JSON.
func (s *session) showChange(h fleet.HealthDocument, lost error, first bool) error {
	at := time.Now().UTC().Format(time.RFC3339)
	if lost != nil {
		s.say("%s %s", at, plain(lost.Error()))
		return nil
	}
	if s.json {
		line, err := json.Marshal(h)
		if err == nil {
			_, err = fmt.Fprintln(s.out, escaped(string(line)))
		}
		return err
	}
	if !first {
		if _, err := fmt.Fprintln(s.out); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(s.out, s.shaded(at, shadeFaint)); err != nil {
		return err
	}
	return s.printHealth(h)
}

// looksOf is a document without its times.
func looksOf(h fleet.HealthDocument) string {
	var b strings.Builder
	fmt.Fprintln(&b, h.Status, h.Output)
	for _, name := range slices.Sorted(maps.Keys(h.Checks)) {
		for _, check := range h.Checks[name] {
			fmt.Fprintln(&b, name, check.Status, check.ObservedValue, check.Output)
		}
	}
	return b.String()
}

func (s *session) printHealth(h fleet.HealthDocument) error {
	if s.json {
		return s.printJSON(h)
	}
	shades := map[string]shade{fleet.HealthPass: shadeGood, fleet.HealthWarn: shadeWarn, fleet.HealthFail: shadeBad}
	t := s.table("CHECK", "STATUS", "VALUE", "WHY")
	t.row(shades[h.Status], "federation "+h.Federation, h.Status, "", h.Output)
	for _, name := range slices.Sorted(maps.Keys(h.Checks)) {
		for _, check := range h.Checks[name] {
			t.row(shades[check.Status], name, check.Status, observed(check), check.Output)
			for _, feature := range slices.Sorted(maps.Keys(modes(check))) {
				t.row(shadeFaint, name+": "+feature, "", fmt.Sprint(modes(check)[feature]), "")
			}
		}
	}
	return t.flush()
}

// observed is the value of a check in words; modes have lines of their own.
func observed(check fleet.HealthCheck) string {
	if check.ObservedValue == nil || modes(check) != nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(check.ObservedValue) + " " + check.ObservedUnit)
}

// modes are what features do while the store cannot be used.
func modes(check fleet.HealthCheck) map[string]any {
	of, _ := check.ObservedValue.(map[string]any)
	return of
}
