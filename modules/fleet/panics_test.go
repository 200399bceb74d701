package fleet

import (
	"strings"
	"testing"
)

func TestPanicPlace(t *testing.T) {
	var none map[string]int
	for name, work := range map[string]func(){
		"a panic":            func() { panic("text") },
		"one of the runtime": func() { none["x"] = 1 },
		"a nil pointer":      func() { _ = *(*int)(nil) },
	} {
		func() {
			defer func() {
				_ = recover()
				if place := PanicPlace(); !strings.HasPrefix(place, "panics_test.go:") {
					t.Errorf("%s was in %s", name, place)
				}
			}()
			work()
		}()
	}
	if place := PanicPlace(); place != "unknown" {
		t.Errorf("no panic was in %s", place)
	}
}
