package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNoCaddyfileMakesTheAdapterPanic takes Caddyfiles that adapt and leaves
// out, doubles or spoils one word after the other. What comes of it is adapted
// or refused with the file and a line.
func TestNoCaddyfileMakesTheAdapterPanic(t *testing.T) {
	files, err := filepath.Glob("../testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no Caddyfiles: %v", err)
	}
	refused, adapted := 0, 0
	try := func(text string) {
		defer func() {
			if r := recover(); r != nil {
				t.Errorf("%v from\n%s", r, text)
			}
		}()
		_, err := adapt(text)
		if err == nil {
			adapted++
			return
		}
		refused++
		if said := err.Error(); strings.Contains(said, "federation") && !strings.Contains(said, "Caddyfile:") {
			t.Errorf("no line is named in %q for\n%s", said, text)
		}
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(body), "----------")
		var lines [][]string
		for line := range strings.Lines(text) {
			lines = append(lines, strings.Fields(line))
		}
		with := func(at int, words ...string) string {
			var b strings.Builder
			for i, line := range lines {
				if i == at {
					line = words
				}
				fmt.Fprintln(&b, strings.Join(line, " "))
			}
			return b.String()
		}
		for at, words := range lines {
			for i := range words {
				try(with(at, slices.Delete(slices.Clone(words), i, i+1)...))
				try(with(at, slices.Insert(slices.Clone(words), i, words[i])...))
				for _, spoiled := range []string{"-1", "{", `""`, "99999999999999999999", "\xff"} {
					try(with(at, slices.Replace(slices.Clone(words), i, i+1, spoiled)...))
				}
			}
			try(with(at, append(slices.Clone(words), "\n", strings.Join(words, " "))...))
		}
	}
	t.Logf("%d adapted, %d refused", adapted, refused)
	if adapted < 50 || refused < 500 {
		t.Errorf("%d adapted and %d refused: the words are not varied", adapted, refused)
	}
}
