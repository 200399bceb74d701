package redaction

import (
	"context"
	"net"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
)

// chosenLoggers are those that log_name, or else the site's configuration, names.
func chosenLoggers(ctx context.Context, server *caddyhttp.Server, host string) []string {
	if chosen, ok := caddyhttp.GetVar(ctx, caddyhttp.AccessLoggerNameVarKey).([]any); ok {
		return names(chosen)
	}
	if server.Logs == nil {
		return []string{""}
	}
	return loggerNames(server.Logs, host)
}

func names(chosen []any) []string {
	texts := make([]string, len(chosen))
	for i, name := range chosen {
		texts[i], _ = name.(string)
	}
	return texts
}

// loggerNames are those of a host, exactly or by the most specific wildcard.
func loggerNames(logs *caddyhttp.ServerLogConfig, host string) []string {
	host = strings.ToLower(withoutPort(host))
	if names, ok := logs.LoggerNames[host]; ok {
		return names
	}
	labels := strings.Split(host, ".")
	for i := range labels {
		if labels[i] == "" {
			continue
		}
		labels[i] = "*"
		if names, ok := logs.LoggerNames[strings.Join(labels, ".")]; ok {
			return names
		}
	}
	return []string{logs.DefaultLoggerName}
}

// logged tells whether the server writes access lines for a host.
func logged(logs *caddyhttp.ServerLogConfig, host string) bool {
	if logs == nil {
		return false
	}
	host = withoutPort(host)
	for name := range logs.LoggerNames {
		if certmagic.MatchWildcard(host, name) {
			return true
		}
	}
	for _, name := range logs.SkipHosts {
		if certmagic.MatchWildcard(host, name) {
			return false
		}
	}
	return !logs.SkipUnmappedHosts
}

func withoutPort(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}
