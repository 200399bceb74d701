package fleet

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// TestNamesOfAGatewayThatIsMissed: a store that was emptied has heard of nobody.
func TestNamesOfAGatewayThatIsMissed(t *testing.T) {
	var o otherFiles
	start := time.Now()
	heard := map[string][]string{"a": {"mill", "gate"}, "b": {"gate"}, "me": {"own"}}
	alone := map[string][]string{"me": {"own"}}
	for _, step := range []struct {
		what     string
		after    time.Duration
		heard    map[string][]string
		expected []string
	}{
		{"all are heard", 0, heard, []string{"gate", "mill", "own"}},
		{"the store is empty", time.Second, alone, []string{"gate", "mill", "own"}},
		{"one was reloaded", 2 * time.Second, map[string][]string{"me": {"own"}, "a": {"gate"}}, []string{"gate", "own"}},
		{"both are missed", 3 * time.Second, alone, []string{"gate", "own"}},
		{"one for too long", time.Second + gatewayMissed, alone, []string{"gate", "own"}},
		{"the other too", 3*time.Second + gatewayMissed, alone, []string{"own"}},
	} {
		if got := slices.Sorted(maps.Keys(o.names(step.heard, start.Add(step.after)))); !slices.Equal(got, step.expected) {
			t.Errorf("when %s: %v, expected %v", step.what, got, step.expected)
		}
	}
}

// TestANameIsHeldWhileTheStoreIsEmpty: until the other gateway's next beat, who
// asked at this one got its name.
func TestANameIsHeldWhileTheStoreIsEmpty(t *testing.T) {
	server := sharedRedis(t)
	without := openEnrollment + "\n" + twoNodes
	gatewayOn(t, server, 1, "", without+"node gate http://127.0.0.1:8")
	b := gatewayOn(t, server, 2, "", without)
	gate := Registration{Name: "gate", URL: "http://127.0.0.1:7"}
	if _, err := b.app.Register(t.Context(), gate, enrollSecret, nil); code(err) != CodeNodeExists {
		t.Fatalf("while all is well: %v", err)
	}
	server.Do("FLUSHALL")
	for range 20 {
		if got, err := b.app.Register(t.Context(), gate, enrollSecret, nil); err == nil {
			t.Fatalf("registered as %+v", got)
		}
	}
}
