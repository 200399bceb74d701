#!/usr/bin/env bash
# Writes an overlay for `go build -overlay` with which time.Now is as many
# seconds off as FAKE_CLOCK_SKEW says: libfaketime cannot move the clock of a Go
# program, which asks the kernel without libc. Usage: skewed-clock.sh <folder>
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
source=$(go env GOROOT)/src/time

awk '{ print } !done && /sec, nsec, mono := runtimeNow\(\)/ { print "\tsec += clockSkew"; done = 1 }
	END { if (!done) exit 1 }' "$source/time.go" >"$folder/time.go" || {
	echo "time.Now is not what it was: this script must follow" >&2
	exit 1
}
cat >"$folder/skew.go" <<'GO'
package time

import "syscall"

// clockSkew is how many seconds the wall clock of this process is ahead.
var clockSkew = func() (skew int64) {
	text, _ := syscall.Getenv("FAKE_CLOCK_SKEW")
	sign := int64(1)
	for _, c := range text {
		switch {
		case c == '-':
			sign = -1
		case c >= '0' && c <= '9':
			skew = 10*skew + int64(c-'0')
		}
	}
	return sign * skew
}()
GO
printf '{"Replace": {"%s/time.go": "%s/time.go", "%s/skew.go": "%s/skew.go"}}\n' \
	"$source" "$folder" "$source" "$folder" >"$folder/overlay.json"
