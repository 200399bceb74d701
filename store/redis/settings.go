package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// longer is how much longer than Timeout a listing or a batch may take.
const longer = 50

// dialTimeout bounds one attempt to connect. It runs on beside the command
// that wanted the connection, which waits for its own timeout only.
const dialTimeout = time.Second

// check finds the mistakes that can be found before placeholders are replaced.
func (r *Redis) check() error {
	if len(r.URLs) == 0 {
		return errors.New("the url is missing, as in redis://127.0.0.1:6379")
	}
	for _, text := range r.URLs {
		if strings.Contains(text, "{") {
			continue
		}
		address, err := parseAddress(text)
		if err != nil {
			return err
		}
		if address.Password != "" {
			return errors.New("a url must not hold a password; use password {env.REDIS_PASSWORD}")
		}
	}
	if strings.ContainsAny(r.Prefix, "{} \t\n") {
		return fmt.Errorf("prefix %q: braces and spaces cannot be in it", r.Prefix)
	}
	if r.Cluster && r.MasterName != "" {
		return errors.New("cluster and master_name exclude each other")
	}
	if r.Timeout < 0 {
		return fmt.Errorf("timeout %v is negative", time.Duration(r.Timeout))
	}
	if r.TLS != nil && (r.TLS.Certificate == "") != (r.TLS.Key == "") {
		return errors.New("tls: cert and key need each other")
	}
	return nil
}

// parseAddress reads a URL. Its error does not repeat the URL, which may hold
// a password.
func parseAddress(text string) (*goredis.Options, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("a url is not a URL, expected one as redis://127.0.0.1:6379")
	}
	switch u.Scheme {
	case "redis", "rediss":
	case "unix":
		if u.Path == "" {
			return nil, errors.New("a unix url has no path, expected one as unix:///run/redis.sock")
		}
	default:
		return nil, fmt.Errorf("the scheme of a url is %q, expected redis, rediss or unix", u.Scheme)
	}
	for name := range u.Query() {
		if name != "db" {
			return nil, fmt.Errorf("a url sets %q, only db can be set in it", name)
		}
	}
	if numbers := databases(u); len(numbers) > 1 {
		return nil, errors.New("a url names its database twice")
	} else if len(numbers) == 1 && !databaseNumber.MatchString(numbers[0]) {
		return nil, errDatabase
	}
	if port, err := strconv.Atoi(u.Port()); err == nil && (port < 1 || port > 65535) {
		return nil, errors.New("the port of a url is not from 1 to 65535")
	}
	address, err := goredis.ParseURL(text)
	if err != nil {
		return nil, errDatabase
	}
	return address, nil
}

var (
	errDatabase    = errors.New("the database or address of a url cannot be read, expected one as redis://127.0.0.1:6379/0")
	databaseNumber = regexp.MustCompile(`^[0-9]{1,9}$`)
)

// databases are the numbers of databases in a URL: of them it may have one.
func databases(u *url.URL) []string {
	numbers := u.Query()["db"]
	if path := strings.Trim(u.Path, "/"); path != "" && u.Scheme != "unix" {
		numbers = append(numbers, path)
	}
	return numbers
}

// resolve replaces placeholders.
func (r *Redis) resolve(repl *caddy.Replacer) (settings, error) {
	if err := r.check(); err != nil {
		return settings{}, err
	}
	s := settings{Prefix: r.Prefix, Timeout: time.Duration(r.Timeout), MasterName: r.MasterName, Cluster: r.Cluster}
	var fromURL struct{ username, password string }
	secured := r.TLS != nil
	for i, text := range r.URLs {
		text, err := repl.ReplaceOrErr(text, true, true)
		if err != nil {
			return settings{}, fmt.Errorf("url: %w", err)
		}
		address, err := parseAddress(strings.TrimSpace(text))
		if err != nil {
			return settings{}, err
		}
		if i > 0 && (address.DB != s.DB || (address.TLSConfig != nil) != secured && r.TLS == nil ||
			address.Username != fromURL.username || address.Password != fromURL.password) {
			return settings{}, errors.New("the urls differ in their scheme, database or credentials")
		}
		s.Addresses = append(s.Addresses, address.Addr)
		s.DB, fromURL.username, fromURL.password = address.DB, address.Username, address.Password
		secured = secured || address.TLSConfig != nil
	}
	s.Cluster = s.Cluster || len(s.Addresses) > 1 && s.MasterName == ""
	if s.Cluster && s.DB != 0 {
		return settings{}, errors.New("a Cluster has no databases but 0")
	}
	var err error
	if s.Username, err = repl.ReplaceOrErr(r.Username, true, true); err != nil {
		return settings{}, fmt.Errorf("username: %w", err)
	}
	if s.Password, err = repl.ReplaceOrErr(r.Password, true, true); err != nil {
		return settings{}, fmt.Errorf("password: %w", err)
	}
	s.Password = strings.TrimSuffix(s.Password, "\n") // of a file
	switch {
	case s.MasterName != "":
		s.SentinelUsername, s.SentinelPassword = fromURL.username, fromURL.password
	case s.Username == "" && s.Password == "":
		s.Username, s.Password = fromURL.username, fromURL.password
	}
	if secured {
		if s.TLS, s.tls, err = r.TLS.resolve(repl); err != nil {
			return settings{}, fmt.Errorf("tls: %w", err)
		}
	}
	return s, nil
}

// resolve reads the files. A nil receiver has the defaults.
func (t *TLS) resolve(repl *caddy.Replacer) (*TLS, *tls.Config, error) {
	var r TLS
	if t != nil {
		r = *t
	}
	for name, text := range map[string]*string{"ca": &r.CA, "cert": &r.Certificate, "key": &r.Key, "server_name": &r.ServerName} {
		var err error
		if *text, err = repl.ReplaceOrErr(*text, true, true); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.ServerName}
	if r.CA != "" {
		pem, err := os.ReadFile(r.CA)
		if err != nil {
			return nil, nil, fmt.Errorf("ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("ca: %s holds no certificate in PEM", r.CA)
		}
	}
	if r.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(r.Certificate, r.Key)
		if err != nil {
			return nil, nil, fmt.Errorf("cert and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &r, config, nil
}

// client makes the client, which connects when it is used.
func (s settings) client() goredis.UniversalClient {
	long := s.Timeout * longer
	options := &goredis.UniversalOptions{
		Addrs: s.Addresses, DB: s.DB, MasterName: s.MasterName, IsClusterMode: s.Cluster,
		Username: s.Username, Password: s.Password,
		SentinelUsername: s.SentinelUsername, SentinelPassword: s.SentinelPassword,
		TLSConfig: s.tls,
		Protocol:  2, // all that scripts need, and the same on every server

		// every command has a deadline of its own; these bound the rest
		ContextTimeoutEnabled: true,
		DialTimeout:           dialTimeout, ReadTimeout: long, WriteTimeout: long, PoolTimeout: long,
		MaxRetries: -1, DialerRetries: 1,

		// no commands of the client's own
		DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		PipelinePoolSize: -1,
	}
	if s.Cluster {
		cluster := options.Cluster()
		cluster.DisableRoutingPolicies = true
		return goredis.NewClusterClient(cluster)
	}
	return goredis.NewUniversalClient(options)
}
