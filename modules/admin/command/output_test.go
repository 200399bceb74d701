package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestATableIsAlignedAndPlain(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out}
	table := p.table("SLUG", "NAME")
	table.row(shadeBad, "a-long-slug", "\x1b[2Jtwo\nlines\u202e")
	table.row(shadeNone, "b", "")
	table.row(shadeNone, "c", strings.Repeat("ä", 100))
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	want := "SLUG         NAME\na-long-slug  [2Jtwo lines\nb            -\nc            " + strings.Repeat("ä", 79) + "…\n"
	if out.String() != want {
		t.Errorf("%q, expected %q", out.String(), want)
	}
}

func TestColourDoesNotMoveColumns(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out, colour: true}
	table := p.table("A", "B")
	table.row(shadeBad, "x", "y")
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[1mA  B\x1b[0m\n\x1b[31mx  y\x1b[0m\n"; out.String() != want {
		t.Errorf("%q, expected %q", out.String(), want)
	}
}

func TestJSONKeepsItsMeaningAndActsOnNoTerminal(t *testing.T) {
	var out bytes.Buffer
	name := "\x1b\x07\u009b\u202e\u2028\U000e0001 plain ü 漢 👩‍🔬"
	if err := (&printer{out: &out}).printJSON(map[string]string{"name": name}); err != nil {
		t.Fatal(err)
	}
	if i := strings.IndexFunc(out.String(), acts); i >= 0 {
		t.Errorf("%q acts on a terminal", out.String()[i:])
	}
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["name"] != name {
		t.Errorf("%q, %v", back["name"], err)
	}
}

func TestExitCodes(t *testing.T) {
	for code, err := range map[int]error{
		exitOK: nil, exitUsage: errors.New("unknown flag"), exitTimeout: fmt.Errorf("waiting: %w", context.DeadlineExceeded),
		exitNotFound: errors.Join(nil, &failure{code: exitNotFound}), exitChanges: fmt.Errorf("x: %w", &failure{code: exitChanges}),
	} {
		if got := exitCode(err); got != code {
			t.Errorf("%v: %d, expected %d", err, got, code)
		}
	}
	for status, code := range map[int]int{
		400: exitUsage, 401: exitUnauthorised, 403: exitUnauthorised, 404: exitNotFound, 409: exitUsage, 413: exitUsage,
		500: exitFailed, 503: exitUnreachable, 504: exitTimeout,
	} {
		if got := exitCode(refusal(status, []byte(`{"error":"why"}`))); got != code {
			t.Errorf("HTTP %d: %d, expected %d", status, got, code)
		}
	}
	for _, status := range []int{400, 401, 404, 418, 500, 502} { // some other server
		if got := exitCode(refusal(status, []byte(`<html>`))); got != exitUnreachable {
			t.Errorf("HTTP %d of somebody: %d, expected %d", status, got, exitUnreachable)
		}
	}
	for n, code := range map[int]int{0: exitOK, 1: exitPartial, 3: exitFailed} {
		if got := exitCode(someFailed(n, 3)); got != code {
			t.Errorf("%d of 3: %d, expected %d", n, got, code)
		}
	}
}

func FuzzTextOfNodesActsOnNoTerminal(f *testing.F) {
	f.Add("\x1b]0;x\x07")
	f.Add("\u009b31m\u202e\r\n\t")
	f.Add("\xff\x9b")
	f.Fuzz(func(t *testing.T, text string) {
		if i := strings.IndexFunc(plain(text), func(r rune) bool { return acts(r) || r == '\n' }); i >= 0 {
			t.Errorf("%q becomes %q", text, plain(text))
		}
		if strings.IndexFunc(shown(text), acts) >= 0 {
			t.Errorf("%q is shown as %q", text, shown(text))
		}
	})
}
