package balancer

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// diallingCause is why a connection could not be made, when that is why a
// request failed. Caddy's DialError hides its cause from [errors.As], and all
// that it shows is a text: that of [net.OpError].
func diallingCause(err error) error {
	var dialling reverseproxy.DialError
	if !errors.As(err, &dialling) {
		return err
	}
	text := dialling.Error()
	switch {
	case strings.Contains(text, "lookup "): // first: a resolver can refuse connections, too
		return &net.DNSError{Err: "not resolved"}
	case strings.HasSuffix(text, syscall.ECONNREFUSED.Error()):
		return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case strings.HasSuffix(text, os.ErrDeadlineExceeded.Error()):
		return &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	default:
		return err
	}
}
