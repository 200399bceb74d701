package fleet

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// parseNodeURL reads where a node lives, and normalizes it: equal URLs are the
// same text afterwards.
func parseNodeURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the url is not a URL") // its text may hold a password
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("the url needs the scheme http or https, as in http://%s", strings.TrimPrefix(u.Redacted(), "//"))
	case u.Hostname() == "":
		return nil, fmt.Errorf("the url has no host")
	case u.User != nil:
		return nil, fmt.Errorf("the url must not hold a user or password; use credentials basic")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("the url must not have a query or fragment")
	case strings.Contains(u.Host, "%") || strings.HasSuffix(u.Host, ":"):
		return nil, fmt.Errorf("the url's host must be a name or an address, with a port or none")
	case strings.ContainsFunc(u.Path, unicode.IsControl):
		return nil, fmt.Errorf("the url's path has a control character")
	case u.Path != "" && strings.TrimRight(path.Clean(u.Path), "/") != strings.TrimRight(u.Path, "/"):
		return nil, fmt.Errorf("the url's path must be plain: no . or .. and no empty segment")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("the url's port is not one from 1 to 65535")
		}
	}
	normalize(u)
	return u, nil
}

// normalize gives equal URLs one spelling (RFC 3986, sections 6.2.2 and 6.2.3):
// the host in lower case, an IPv6 address as RFC 5952 writes it, no default
// port, nothing escaped in the path that need not be, and no slash at its end.
// There are no dot segments: they are refused.
func normalize(u *url.URL) {
	host, port := strings.ToLower(u.Hostname()), 0
	if address, err := netip.ParseAddr(host); err == nil {
		host = address.String()
	}
	if u.Port() != "" {
		port, _ = strconv.Atoi(u.Port())
	}
	switch {
	case port != 0 && port != map[string]int{"http": 80, "https": 443}[u.Scheme]:
		u.Host = net.JoinHostPort(host, strconv.Itoa(port))
	case strings.Contains(host, ":"):
		u.Host = "[" + host + "]"
	default:
		u.Host = host
	}
	raw := strings.TrimRight(normalizeEscapes(u.EscapedPath()), "/")
	if plain, err := url.PathUnescape(raw); err == nil { // it was unescaped before
		u.Path, u.RawPath = plain, ""
		if u.EscapedPath() != raw {
			u.RawPath = raw
		}
	}
}

// normalizeEscapes takes the escapes of unreserved characters back and writes
// the others in upper case.
func normalizeEscapes(escaped string) string {
	if !strings.Contains(escaped, "%") {
		return escaped
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' || i+2 >= len(escaped) {
			b.WriteByte(escaped[i])
			continue
		}
		digits := escaped[i+1 : i+3]
		i += 2
		if n, err := strconv.ParseUint(digits, 16, 8); err == nil && unreserved(byte(n)) {
			b.WriteByte(byte(n))
		} else {
			b.WriteString("%" + strings.ToUpper(digits))
		}
	}
	return b.String()
}

// unreserved are the characters that mean the same escaped (RFC 3986, section 2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// NormalizeURL returns the one spelling of a node's URL and of all that equal
// it, as [Node.URL] has it, and a text that is no such URL as it is.
func NormalizeURL(text string) string {
	u, err := parseNodeURL(text)
	if err != nil {
		return text
	}
	return u.String()
}

// sameURL tells whether two texts are URLs of one place.
func sameURL(a, b string) bool {
	one, err := parseNodeURL(a)
	if err != nil {
		return false
	}
	two, err := parseNodeURL(b)
	return err == nil && *one == *two
}
