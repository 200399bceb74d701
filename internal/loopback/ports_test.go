package loopback

import (
	"fmt"
	"net"
	"testing"
)

func TestFreePortsDifferAndCanBeListenedOn(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		port := FreePort(t)
		if seen[port] || port < first || port+10000 >= 32768 {
			t.Fatalf("port %d, after %d others", port, len(seen))
		}
		seen[port] = true
		listener, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if free(port) {
			t.Fatalf("port %d is said to be free while it is listened on", port)
		}
	}
}
