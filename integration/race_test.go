//go:build race

package integration

// raced is set where the race detector slows everything down.
const raced = true
