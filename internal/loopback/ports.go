// Package loopback finds ports for what tests start on this machine.
package loopback

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are taken from below the ranges that systems take ports of outgoing
// connections and of listeners on port 0 from (32768 and up on Linux, 49152 and
// up elsewhere). In those ranges a port that was free when it was looked for
// can be anybody's when it is listened on. A Redis Cluster's bus, ten thousand
// above its port, stays below them too.
const (
	first = 12000
	count = 10000
)

var (
	mutex sync.Mutex
	given = map[int]bool{}
)

// FreePort returns a port of 127.0.0.1 that nobody listens on, and that this
// process has not been given before. It is free until somebody takes it: that
// is unlikely to be another test, since ports are chosen at random out of ten
// thousand, and nothing else takes ports of that range unasked.
func FreePort(t testing.TB) int {
	t.Helper()
	mutex.Lock()
	defer mutex.Unlock()
	for range 1000 {
		port := first + rand.IntN(count)
		if !given[port] && free(port) {
			given[port] = true
			return port
		}
	}
	t.Fatalf("no free port found among %d to %d", first, first+count-1)
	return 0
}

func free(port int) bool {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
