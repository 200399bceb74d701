package ratelimit

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
)

// A gateway in a process of its own is this test's binary with gatewayEnv set:
// it reads a config from its input, says that it runs and what its clock says,
// and ends with its input.
const (
	gatewayEnv = "RATELIMIT_TEST_GATEWAY"
	// secondsEnv is how long the test of three processes runs.
	secondsEnv = "RATELIMIT_TEST_SECONDS"
	// skewEnv moves the clock of a process by so many seconds, in a binary
	// that was built with the overlay of `make skew`.
	skewEnv = "FAKE_CLOCK_SKEW"
	// skewedEnv is set by `make skew`: clocks must be fake then.
	skewedEnv = "RATELIMIT_TEST_SKEWED"
)

func processTestTime() time.Duration {
	if seconds, err := strconv.Atoi(os.Getenv(secondsEnv)); err == nil {
		return time.Duration(seconds) * time.Second
	}
	return 8 * time.Second
}

func gatewayProcess() int {
	input := bufio.NewReader(os.Stdin)
	text, err := input.ReadBytes('\n')
	if err == nil {
		err = caddy.Load(text, true)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("running", time.Now().UnixNano())
	_, _ = io.Copy(io.Discard, input)
	if err := caddy.Stop(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// startProcess runs a gateway until the test ends.
func startProcess(t testing.TB, config []byte, skew int) {
	t.Helper()
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), gatewayEnv+"=1", fmt.Sprintf("%s=%d", skewEnv, skew))
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	process.Stderr = os.Stderr
	input, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		if err := process.Wait(); err != nil {
			t.Errorf("a gateway ended with %v", err)
		}
	})
	if _, err := input.Write(append(config, '\n')); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	word, clock, ok := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || !ok || word != "running" {
		t.Fatalf("a gateway said %q, %v", line, err)
	}
	nanos, err := strconv.ParseInt(clock, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	ahead := time.Until(time.Unix(0, nanos))
	fake := time.Duration(0)
	if os.Getenv(skewedEnv) != "" {
		fake = time.Duration(skew) * time.Second
	}
	if off := ahead - fake; off > time.Second || off < -time.Second {
		t.Fatalf("a gateway's clock is %v ahead, expected %v", ahead, fake)
	}
}

func limiterOf(name string) *limiter.Limiter { return fleet.Limiters()[name] }
