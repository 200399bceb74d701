//go:build race

package fleet

// raced is set where the race detector slows everything down.
const raced = true
