package subdirective

import (
	"strings"
	"testing"
)

func TestHint(t *testing.T) {
	known := []string{"timeout", "node_timeout", "limit", "local"}
	for name, expected := range map[string]string{
		"timout": "; did you mean timeout?", "TIMEOUT": "; did you mean timeout?", "limt": "; did you mean limit?",
		"banana": "; known are limit, local, node_timeout, timeout", "": "; known are limit, local, node_timeout, timeout",
	} {
		if got := Hint(name, known); got != expected {
			t.Errorf("%s: %q, expected %q", name, got, expected)
		}
	}
	if got := Hint(strings.Repeat("x", 10_000), known); !strings.HasPrefix(got, "; known") {
		t.Errorf("got %q", got)
	}
}
