package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/admin"
	"github.com/caddy-federation/caddy-federation/modules/admin/importing"
)

// importFlags say what to read, and how strictly.
type importFlags struct {
	format, table string
	fix           bool
	request       admin.ImportRequest
}

func (f *importFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.format, "format", "auto", "auto, json, csv or sql")
	flags.StringVar(&f.table, "table", importing.DefaultTable, "the table to read from a SQL dump")
	flags.BoolVar(&f.fix, "fix", false, "take the suggestions where there is no doubt")
	flags.BoolVar(&f.request.SkipInvalid, "skip-invalid", false, "leave invalid rows out instead of refusing them all")
}

const importLong = `
Reads a registry file of the old fleet ({"nodes": [...]}, a list, or a map by
slug), or rows of its table ai_nodes as JSON, CSV or a SQL dump of MySQL,
PostgreSQL or SQLite; "-" is stdin. A PHP config is refused, never run.`

// read reads the file and normalizes its rows.
func (f *importFlags) read(s *session, name string) (importing.Result, error) {
	if f.request.CreateOnly && f.request.Prune {
		return importing.Result{}, usage("--create-only and --prune exclude each other: one leaves the nodes alone that are there, the other disables some")
	}
	var data []byte
	var err error
	if name == "-" {
		name = ""
		data, err = io.ReadAll(io.LimitReader(s.cmd.InOrStdin(), importing.MaxSize+1))
	} else {
		data, err = readFile(name)
	}
	if err != nil {
		return importing.Result{}, usage("reading the rows: %w", err)
	}
	source, err := importing.Read(name, data, importing.Options{Format: importing.Format(f.format), Table: f.table})
	if err != nil {
		return importing.Result{}, usage("%w", err)
	}
	result := importing.Normalize(source.Rows, f.fix)
	f.request.Nodes, f.request.Invalid = result.Nodes, result.Invalid
	if !s.json {
		s.say("Read %d rows of %s.", len(source.Rows), strings.ToUpper(string(source.Format)))
		s.remarks("Left out, deleted in the old fleet", result.Deleted)
		s.remarks("Read otherwise than written", result.Fixed)
		s.remarks("To consider", result.Notes)
	}
	return result, nil
}

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, importing.MaxSize+1))
}

// remarks tells what there is to say of rows, on stderr.
func (s *session) remarks(title string, remarks []importing.Remark) {
	if len(remarks) == 0 {
		return
	}
	s.say("%s:", title)
	for _, r := range remarks {
		text := fmt.Sprintf("  row %s %s: %s %s", r.Row, r.Slug, r.Field, r.Reason)
		if r.Suggestion != "" {
			text += " -> " + r.Suggestion
		}
		s.say("  %s", plain(text))
	}
}

// planDocument is what plan prints with -o json.
type planDocument struct {
	Plan *importing.Plan `json:"plan"`
	// Changes is how many nodes would be written.
	Changes int                `json:"changes"`
	Deleted []importing.Remark `json:"deleted"`
	Fixed   []importing.Remark `json:"fixed"`
	Notes   []importing.Remark `json:"notes"`
}

func nodesPlan(o *options) *cobra.Command {
	f := new(importFlags)
	cmd := leaf(o, "plan <file>", "Shows what an import would change", cobra.ExactArgs(1), func(ctx context.Context, s *session, args []string) error {
		result, err := f.read(s, args[0])
		if err != nil {
			return err
		}
		plan, err := s.plan(ctx, f)
		if err != nil {
			return err
		}
		refused := plan.Refusal(f.request.SkipInvalid)
		if errors.Is(refused, importing.ErrNothingToTry) {
			return &failure{exitUsage, refused}
		}
		if s.json {
			err = s.printJSON(planDocument{plan, plan.Changes(), result.Deleted, result.Fixed, result.Notes})
		} else {
			err = s.printPlan(plan)
		}
		if err != nil {
			return err
		}
		if refused != nil {
			return &failure{exitUsage, errors.New("some rows are invalid: correct them, try --fix, or leave them out with --skip-invalid")}
		}
		if plan.Changes() > 0 {
			return &failure{code: exitChanges}
		}
		return nil
	})
	cmd.Long = "Shows what an import would change, and changes nothing. The exit code is 2 when\nthere is something to do, and 1 when rows are invalid." + "\n" + importLong
	f.add(cmd)
	cmd.Flags().BoolVar(&f.request.Prune, "prune", false, "disable the registered children that are not in the file")
	cmd.Flags().BoolVar(&f.request.CreateOnly, "create-only", false, "leave the nodes alone that are there already")
	return cmd
}

func (s *session) plan(ctx context.Context, f *importFlags) (*importing.Plan, error) {
	plan := new(importing.Plan)
	return plan, s.call(ctx, http.MethodPost, "plan", nil, f.request, plan)
}

// importTimeout is how long writing a fleet may take, unless --request-timeout
// says otherwise.
const importTimeout = 10 * time.Minute

// nodesApply is `apply`, and `import`, which only adds.
func nodesApply(o *options, createOnly bool) *cobra.Command {
	use, short := "apply <file>", "Changes the nodes to what a file says"
	if createOnly {
		use, short = "import <file>", "Adds the nodes of a file that are not there yet"
	}
	f := new(importFlags)
	cmd := leaf(o, use, short, cobra.ExactArgs(1), func(ctx context.Context, s *session, args []string) error {
		if createOnly {
			f.request.CreateOnly = true
		}
		if _, err := f.read(s, args[0]); err != nil {
			return err
		}
		plan, err := s.plan(ctx, f)
		if err != nil {
			return err
		}
		if !s.json {
			if err := s.printPlan(plan); err != nil {
				return err
			}
		}
		var result admin.ImportResult
		if err := s.call(ctx, http.MethodPost, "apply", nil, f.request, &result); err != nil {
			return err
		}
		return s.printResult(result)
	})
	cmd.Long = short + ".\n" + importLong + `

Nothing is changed while a row is invalid, unless --skip-invalid is given. Old
API keys are kept as hashes, so nodes go on with the keys they have. The exit
code is 5 when some nodes could not be written, and 6 when none could. It may
take 10 minutes, unless --request-timeout says otherwise.`
	f.add(cmd)
	cmd.PreRun = func(cmd *cobra.Command, _ []string) {
		if !cmd.Flags().Changed("request-timeout") {
			o.timeout = importTimeout
		}
	}
	cmd.Flags().BoolVar(&f.request.Ping, "ping", false, "ask each node that was written how it is (exit code 5 when one is not well)")
	if !createOnly {
		cmd.Flags().BoolVar(&f.request.Prune, "prune", false, "disable the registered children that are not in the file")
		cmd.Flags().BoolVar(&f.request.CreateOnly, "create-only", false, "leave the nodes alone that are there already")
	}
	return cmd
}

// printPlan shows each change, field by field.
func (s *session) printPlan(plan *importing.Plan) error {
	var b strings.Builder
	line := func(how shade, format string, args ...any) {
		b.WriteString(s.shaded(plain(fmt.Sprintf(format, args...)), how) + "\n")
	}
	field := func(format string, args ...any) { b.WriteString("    " + plain(fmt.Sprintf(format, args...)) + "\n") }
	for _, c := range plan.Create {
		line(shadeGood, "+ create %s (row %s)", c.Slug, c.Row)
		for _, f := range c.Fields {
			field("%s: %s", f.Field, shown(f.New))
		}
		if c.APIKey {
			field("api_key: imported")
		}
	}
	for _, c := range plan.Update {
		line(shadeWarn, "~ update %s (row %s)", c.Slug, c.Row)
		for _, f := range c.Fields {
			field("%s: %s -> %s", f.Field, shown(f.Old), shown(f.New))
		}
		if c.APIKey {
			field("api_key: imported")
		}
	}
	for _, c := range plan.Prune {
		line(shadeWarn, "- disable %s (not in the file)", c.Slug)
	}
	for _, c := range plan.Held {
		line(shadeWarn, "! %s is in the Caddyfile, which wins (row %s)", c.Slug, c.Row)
		for _, f := range c.Fields {
			field("%s stays %s, the row has %s", f.Field, shown(f.Old), shown(f.New))
		}
	}
	for _, r := range plan.Invalid {
		line(shadeBad, "! invalid row %s %s: %s: %s", r.Row, r.Slug, r.Field, r.Reason)
		if r.Suggestion != "" {
			field("suggestion: %s", r.Suggestion)
		}
	}
	fmt.Fprintf(&b, "%d to create, %d to update, %d to disable, %d unchanged, %d invalid\n",
		len(plan.Create), len(plan.Update), len(plan.Prune), len(plan.Unchanged), len(plan.Invalid))
	_, err := io.WriteString(s.out, b.String())
	return err
}

// shown writes a value so that nothing in it acts on a terminal.
func shown(value any) string {
	switch v := value.(type) {
	case nil:
		return "none"
	case string:
		return strconv.Quote(v)
	case []any:
		if len(v) == 0 {
			return "none"
		}
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = shown(item)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

// printResult tells what was written.
func (s *session) printResult(result admin.ImportResult) error {
	if s.json {
		if err := s.printJSON(result); err != nil {
			return err
		}
	} else {
		done := make(map[string]int)
		for _, w := range result.Results {
			if w.Error != "" {
				what, action := plain(w.Node), w.Action
				if w.Action == "key" {
					what, action = "the API key of "+what, "imported"
				}
				s.say("caddy federation: %s could not be %s: %s", what, action, plain(w.Error))
				continue
			}
			done[w.Action]++
		}
		if _, err := fmt.Fprintf(s.out, "%d created, %d updated, %d disabled, %d API keys imported, %d failed\n",
			done["created"], done["updated"], done["disabled"], done["key"], result.Failed); err != nil {
			return err
		}
		if len(result.Pings) > 0 {
			if err := s.printPings(result.Pings); err != nil {
				return err
			}
		}
	}
	if err := someFailed(result.Failed, len(result.Results)); err != nil {
		return err
	}
	if n := unwell(result.Pings); n > 0 {
		return &failure{exitPartial, fmt.Errorf("%d of %d nodes that were written are not well", n, len(result.Pings))}
	}
	return nil
}
