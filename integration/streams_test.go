package integration

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

func TestAStreamDoesNotHoldUpAStop(t *testing.T) {
	url := node(t, answers(`{"status":"pass"}`))
	ended := make(chan time.Duration, 1)
	ran := t.Run("gateway", func(t *testing.T) {
		g := registryGateway(t, "node ops "+url+" {\ncapabilities nodes:read\n}", openNodes)
		request, err := http.NewRequest(http.MethodGet, g.url+"/v1/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+g.issued("ops"))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		go func() {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			ended <- time.Since(start)
		}()
	}) // and the gateway stops
	if !ran {
		return
	}
	if took := <-ended; took > 1900*time.Millisecond {
		t.Errorf("the stream lived for %v, as long as the grace period lets it", took)
	}
}

// TestTheStreamsOfACallerAreBounded: one caller alone cannot take all connections.
func TestTheStreamsOfACallerAreBounded(t *testing.T) {
	url := node(t, answers(`{"status":"pass"}`))
	g := registryGateway(t, "node ops "+url+" {\ncapabilities nodes:read\n}\nnode board "+url+" {\ncapabilities nodes:read\n}", openNodes)
	ops, board := g.issued("ops"), g.issued("board")
	open := func(token string) (int, func()) {
		ctx, leave := context.WithCancel(t.Context())
		t.Cleanup(leave)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/v1/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, func() {
			leave()
			response.Body.Close()
		}
	}
	var leave func()
	for i := range 16 {
		var status int
		if status, leave = open(ops); status != 200 {
			t.Fatalf("stream %d is answered %d", i, status)
		}
	}
	if status, _ := open(ops); status != 429 {
		t.Errorf("the 17th stream is answered %d", status)
	}
	if status, _ := open(board); status != 200 {
		t.Errorf("another caller's stream is answered %d", status)
	}
	leave()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if status, _ := open(ops); status == 200 {
			return
		} else if time.Now().After(end) {
			t.Fatalf("when a stream has ended, the next one is answered %d", status)
		}
	}
}
