package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-federation/caddy-federation/store"
)

// refusal is why a server cannot be the store, whatever it does next.
type refusal string

func (r refusal) Error() string { return string(r) }

// serverFaults are the replies of a server that is not to be used now, by the
// code they begin with.
var serverFaults = map[string]string{
	"LOADING":     "redis is loading its data",
	"READONLY":    "redis is a read-only replica",
	"MASTERDOWN":  "redis is a replica that has lost its master",
	"NOREPLICAS":  "redis has too few replicas to write",
	"CLUSTERDOWN": "the Redis Cluster is down",
	"MISCONF":     "redis cannot write to its disk",
	"BUSY":        "redis is busy with a script",
	"NOAUTH":      "redis wants a password",
	"WRONGPASS":   "redis refuses the credentials",
	"NOMASTER":    "no Sentinel knows the master",
	"MAXCLIENTS":  "redis has too many clients",
}

// scriptFault finds the code in what Redis before 7 says of a failed script.
var scriptFault = regexp.MustCompile(`^ERR Error running script.*?-([A-Z]+) `)

// code is what a reply of the server begins with, or "".
func code(err error) string {
	var reply goredis.Error
	if !errors.As(err, &reply) {
		return ""
	}
	text := reply.Error()
	if found := scriptFault.FindStringSubmatch(text); found != nil {
		return found[1]
	}
	if strings.HasPrefix(text, "ERR max number of clients") {
		return "MAXCLIENTS"
	}
	word, _, _ := strings.Cut(text, " ")
	if strings.ToUpper(word) != word {
		return "" // one of the client's own
	}
	return word
}

// failed tells whether the server, or the way to it, is to blame for an
// error: not a refused command, and not a caller that left. own tells whether
// the deadline was ours.
func failed(err error, own bool) bool {
	switch {
	case err == nil, errors.Is(err, goredis.Nil), errors.Is(err, context.Canceled), errors.Is(err, goredis.ErrClosed):
		return false
	case timedOut(err):
		return own
	}
	if c := code(err); c != "" {
		return serverFaults[c] != ""
	}
	return true
}

func timedOut(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, goredis.ErrPoolTimeout) || errors.As(err, &network) && network.Timeout()
}

// plain says in words what happened, without an address or a secret, as one
// of the errors of package store.
func plain(err error) error {
	var own *serverError
	var refused refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return err
	case errors.As(err, &refused):
		return unavailable(refused.Error())
	case errors.Is(err, store.ErrCorrupt):
		return unavailable("a newer version wrote what redis holds")
	case errors.Is(err, goredis.ErrClosed):
		return store.ErrClosed
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case timedOut(err):
		return unavailable("redis did not answer in time")
	}
	switch c := code(err); {
	case c == "OOM":
		return fmt.Errorf("%w: redis has used its maxmemory", store.ErrFull)
	case serverFaults[c] != "":
		return unavailable(serverFaults[c])
	case c == "NOPERM":
		return &serverError{"the user of redis lacks a permission, see docs/stores.md", store.ErrUnavailable}
	case c != "":
		return &serverError{"redis refused the command with " + c, store.ErrUnavailable}
	}
	return unavailable(pathFault(err))
}

// pathFault says what is wrong with the way to the server.
func pathFault(err error) string {
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return "the name of redis cannot be resolved"
	case errors.Is(err, syscall.ENOENT):
		return "the unix socket of redis does not exist"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "redis refuses the connection"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "redis closed the connection"
	case certificateFault(err) != "":
		return certificateFault(err)
	case strings.Contains(err.Error(), "tls:"), strings.Contains(err.Error(), "x509:"):
		return "redis cannot be reached through TLS"
	case strings.Contains(err.Error(), "sentinel"):
		return "no Sentinel knows the master"
	default:
		return "redis cannot be reached"
	}
}

// serverError is a fault in words.
type serverError struct {
	text string
	kind error
}

func unavailable(text string) error { return &serverError{text, store.ErrUnavailable} }

func (e *serverError) Error() string { return e.kind.Error() + ": " + e.text }

func (e *serverError) Unwrap() error { return e.kind }
