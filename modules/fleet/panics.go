package fleet

import (
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// PanicPlace is the line that panicked, as "laravel.go:123", for a deferred
// function that has recovered. A whole stack is not for logs.
func PanicPlace() string {
	var counters [32]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(2, counters[:])])
	for panicked := false; ; {
		frame, more := frames.Next()
		switch {
		case frame.Function == "runtime.gopanic":
			panicked = true
		case panicked && !strings.HasPrefix(frame.Function, "runtime."):
			return filepath.Base(frame.File) + ":" + strconv.Itoa(frame.Line)
		}
		if !more {
			return "unknown"
		}
	}
}
