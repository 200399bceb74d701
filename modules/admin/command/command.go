// Package command is `caddy federation …`: what an operator does with a
// federation that runs, from a shell. It talks to Caddy's admin endpoint.
//
// Data goes to stdout, everything else to stderr. The exit code says how it went.
package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK           = 0
	exitUsage        = 1 // wrong arguments, or refused as asked
	exitChanges      = 2 // a plan has changes
	exitUnreachable  = 3 // no Caddy, no federation or no store answers
	exitNotFound     = 4
	exitPartial      = 5 // some of several failed
	exitFailed       = 6 // all of it failed
	exitUnauthorised = 7
	exitTimeout      = 8
)

// failure is why a command failed, with its exit code. A nil err says nothing:
// what there was to say has been said.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...)}
}

// exitCode is the exit code of an error.
func exitCode(err error) int {
	var f *failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f):
		return f.code
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	default:
		return exitUsage
	}
}

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "federation",
		Usage:     "<command>",
		Short:     "Looks after the nodes of a running federation",
		CobraFunc: build,
	})
}

// options are the flags that all commands have.
type options struct {
	address, config, adapter string
	federation               string
	output                   string
	timeout                  time.Duration
}

// build makes the command.
func build(root *cobra.Command) {
	o := new(options)
	root.Long = `Looks after the nodes of a running federation, through Caddy's admin endpoint.

Data goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 usage or
refused, 2 a plan has changes, 3 unreachable, 4 not found, 5 partial, 6 all
failed, 7 unauthorised, 8 timed out.`
	root.Args = cobra.NoArgs
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	flags := root.PersistentFlags()
	flags.StringVar(&o.address, "address", "", "the address of the admin endpoint (host:port or unix//path)")
	flags.StringVarP(&o.config, "config", "c", "", "a configuration file to read the address from")
	flags.StringVarP(&o.adapter, "adapter", "a", "", "the adapter of the configuration file")
	flags.StringVar(&o.federation, "federation", "", "which federation, when several run")
	flags.StringVarP(&o.output, "output", "o", "table", "table or json")
	flags.DurationVar(&o.timeout, "request-timeout", 30*time.Second, "how long the command may take")
	root.AddCommand(nodesCommand(o), breakerCommand(o), tokenCommand(o), limitsCommand(o), statsCommand(o), healthCommand(o), testAlertCommand(o))
}

// group is a command that only has others below it.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(commands...)
	return cmd
}

// session is one run of a command.
type session struct {
	*client
	*printer
	options *options
	cmd     *cobra.Command
}

// leaf is a command that does something.
func leaf(o *options, use, short string, args cobra.PositionalArgs, run func(context.Context, *session, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		return finish(cmd, start(cmd, o, args, run))
	}}
}

// start makes the session and runs the command in it.
func start(cmd *cobra.Command, o *options, args []string, run func(context.Context, *session, []string) error) error {
	if o.output != "table" && o.output != "json" {
		return usage("unknown output %q, expected table or json", o.output)
	}
	if o.timeout <= 0 {
		return usage("--request-timeout %s is not above 0", o.timeout)
	}
	c, err := newClient(o)
	if err != nil {
		return err
	}
	defer c.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	return run(ctx, &session{client: c, printer: newPrinter(cmd, o.output == "json"), options: o, cmd: cmd}, args)
}

// finish says what went wrong, and hands the exit code to Caddy, which takes
// one above 1 only from its own kind of command.
func finish(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var f *failure
	if !errors.As(err, &f) || f.err != nil {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "caddy federation: %s\n", plain(err.Error()))
	}
	code := exitCode(err)
	if code <= exitUsage {
		return err
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
}
