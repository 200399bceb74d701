package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// printer writes what a command has to say.
type printer struct {
	out, err io.Writer
	json     bool
	colour   bool
}

// newPrinter colours on a terminal only, and not with NO_COLOR (no-color.org).
func newPrinter(cmd *cobra.Command, asJSON bool) *printer {
	p := &printer{out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(), json: asJSON}
	file, isFile := p.out.(*os.File)
	p.colour = isFile && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return p
}

// say tells a person something that is no data.
func (p *printer) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.err, format+"\n", args...)
}

// printJSON writes a document, indented.
func (p *printer) printJSON(document any) error {
	encoded, isRaw := document.(json.RawMessage)
	if !isRaw {
		var err error
		if encoded, err = json.Marshal(document); err != nil {
			return &failure{exitFailed, err}
		}
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, bytes.TrimSpace(encoded), "", "  "); err != nil {
		return &failure{exitFailed, fmt.Errorf("the admin endpoint's answer is not JSON")}
	}
	_, err := io.WriteString(p.out, escaped(indented.String())+"\n")
	return err
}

// escaped writes the characters that a terminal acts on, and that JSON allows
// as they are, as \u escapes, which mean the same.
func escaped(text string) string {
	if strings.IndexFunc(text, acts) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !acts(r) {
			b.WriteRune(r)
		} else if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// acts tells whether a character does something to a terminal or hides text.
func acts(r rune) bool {
	return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029')
}

// plain makes text of nodes, which may be hostile, fit for a line of a terminal.
func plain(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case acts(r):
			return -1
		default:
			return r
		}
	}, text)), " ")
}

// shade is how a line of a table looks on a terminal.
type shade string

const (
	shadeNone   shade = ""
	shadeGood   shade = "\x1b[32m"
	shadeWarn   shade = "\x1b[33m"
	shadeBad    shade = "\x1b[31m"
	shadeFaint  shade = "\x1b[2m"
	shadeStrong shade = "\x1b[1m"
	shadeEnd          = "\x1b[0m"
)

func (p *printer) shaded(text string, s shade) string {
	if !p.colour || s == shadeNone {
		return text
	}
	return string(s) + text + shadeEnd
}

// table is written with aligned columns. Whole lines are shaded, after the
// layout, because escapes would count as width.
type table struct {
	p      *printer
	buffer bytes.Buffer
	writer *tabwriter.Writer
	shades []shade
}

func (p *printer) table(columns ...string) *table {
	t := &table{p: p}
	t.writer = tabwriter.NewWriter(&t.buffer, 0, 0, 2, ' ', 0)
	if len(columns) > 0 {
		t.row(shadeStrong, columns...)
	}
	return t
}

// row adds a line. Cells are made plain, and clipped where they would break
// the table; an empty one is a dash.
func (t *table) row(s shade, cells ...string) {
	t.shades = append(t.shades, s)
	_, _ = fmt.Fprintln(t.writer, strings.Join(clipped(cells), "\t"))
}

// wide adds a line whose last cell is never clipped.
func (t *table) wide(s shade, last string, cells ...string) {
	t.shades = append(t.shades, s)
	_, _ = fmt.Fprintln(t.writer, strings.Join(clipped(cells), "\t")+"\t"+plain(last))
}

// clipped makes cells fit for a table.
func clipped(cells []string) []string {
	for i, cell := range cells {
		if cell = plain(cell); cell == "" {
			cell = "-"
		}
		if runes := []rune(cell); len(runes) > maxCell {
			cell = string(runes[:maxCell-1]) + "…"
		}
		cells[i] = cell
	}
	return cells
}

// raw adds a line with a value that is never clipped.
func (t *table) raw(name, value string) {
	_, _ = fmt.Fprintln(t.writer, name+"\t"+plain(value))
	t.shades = append(t.shades, shadeNone)
}

// maxCell is the widest cell, in characters.
const maxCell = 80

func (t *table) flush() error {
	if err := t.writer.Flush(); err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSuffix(t.buffer.String(), "\n"), "\n") {
		if i >= len(t.shades) {
			return nil
		}
		if _, err := fmt.Fprintln(t.p.out, t.p.shaded(strings.TrimRight(line, " "), t.shades[i])); err != nil {
			return err
		}
	}
	return nil
}
