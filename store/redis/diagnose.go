package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// What a url is like whose scheme does not fit its port. It may fit tomorrow,
// so the store opens.
var (
	errNoTLS = unavailable("redis does not speak TLS there: use redis:// without tls, or its port for TLS")
	errTLS   = unavailable("redis speaks TLS there: use rediss://, or its port without TLS")
)

// diagnoseTimeout bounds each look at a server that fails at the start.
const diagnoseTimeout = 500 * time.Millisecond

// diagnose finds out whether a server that fails at the start speaks TLS when
// it should not, or not when it should: both fail in ways that say nothing.
// No credentials are sent.
func (s *Store) diagnose(ctx context.Context, err error) error {
	if code(err) != "" || strings.HasPrefix(s.settings.Addresses[0], "/") || s.settings.MasterName != "" || len(s.settings.Addresses) != 1 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	conn, dialErr := new(net.Dialer).DialContext(ctx, "tcp", s.settings.Addresses[0])
	if dialErr != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if s.settings.tls != nil {
		// an inline command, which a server for TLS takes for no handshake
		first := make([]byte, 1)
		if _, err := conn.Write([]byte("PING\r\n")); err == nil {
			if _, err = conn.Read(first); err == nil && (first[0] == '+' || first[0] == '-') {
				return errNoTLS
			}
		}
		return err
	}
	// nothing is sent, so it does not matter whose certificate it is
	handshake := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	if handshake == nil || strings.Contains(handshake.Error(), "remote error: tls:") { // it wants a certificate of ours
		return errTLS
	}
	return err
}

// noDatabase tells whether the server refused the number of the url's database.
func noDatabase(err error) bool {
	var reply goredis.Error
	return errors.As(err, &reply) && strings.Contains(reply.Error(), "DB index is out of range")
}

// certificateFault says what is wrong with the server's certificate, or "".
func certificateFault(err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return "the certificate of redis is of an unknown authority, tls ca names one"
	case errors.As(err, &name):
		return "the certificate of redis is for another name, tls server_name says which"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate of redis is not valid now"
	default:
		return ""
	}
}
