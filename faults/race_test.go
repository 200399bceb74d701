//go:build race

package faults

// raced is set where the race detector slows everything down.
const raced = true
