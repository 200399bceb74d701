package redis

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// TestConformanceOnEveryVersion runs the suite on the servers of other
// versions: one, and a Cluster of one.
func TestConformanceOnEveryVersion(t *testing.T) {
	for _, program := range []redistest.Program{redistest.Redis80, redistest.Valkey81} {
		t.Run(string(program), func(t *testing.T) {
			server := program.StartWithClock(t)
			conforms(t, server, Redis{URLs: []string{server.URL()}})
		})
		t.Run(string(program)+" as a Cluster", func(t *testing.T) {
			server := program.StartWithClock(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
			server.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
			redistest.Eventually(t, "the Cluster is up", func() bool {
				return strings.Contains(server.Do("CLUSTER", "INFO"), "cluster_state:ok")
			})
			conforms(t, server, Redis{URLs: []string{server.URL()}, Cluster: true})
		})
	}
}

// TestConformanceOnAServerOlderThanTheOldest stands in for Redis 6.2, which no
// registry within reach of the tests has: what passes on 6.0 needs nothing that
// is newer.
func TestConformanceOnAServerOlderThanTheOldest(t *testing.T) {
	was := oldest
	oldest = version{6, 0}
	defer func() { oldest = was }()
	server := redistest.Redis60.StartWithClock(t)
	conforms(t, server, Redis{URLs: []string{server.URL()}})
}

// TestARealServerThatIsTooOldIsRefused: at the start, and nothing is written.
func TestARealServerThatIsTooOldIsRefused(t *testing.T) {
	server := redistest.Redis60.Start(t)
	s, err := opened(t, Redis{URLs: []string{server.URL()}})
	if err == nil {
		_ = s.Close()
		t.Fatal("it was taken")
	}
	if !strings.Contains(err.Error(), "the server is Redis 6.0.16, expected 6.2 or newer, or Valkey") {
		t.Error(err)
	}
	tellsNothing(t, err)
	if keys := server.Do("DBSIZE"); keys != "0" {
		t.Errorf("the refused server holds %s keys", keys)
	}
}

var (
	luaCall   = regexp.MustCompile(`redis\.p?call\('([A-Z]+)'`)
	luaOption = regexp.MustCompile(`'([A-Z]{2,})'`)
)

// TestEveryCommandExistsSinceRedis62 asks a server since when there is each
// command, and each option, that the scripts and the store use.
func TestEveryCommandExistsSinceRedis62(t *testing.T) {
	// those that the store and the client library send by themselves
	used := map[string][]string{
		"HELLO": {"AUTH"}, "AUTH": nil, "SELECT": nil, "PING": nil, "EVAL": nil, "EVALSHA": nil, "GET": nil, "DEL": nil,
		"SUBSCRIBE": nil, "UNSUBSCRIBE": nil, "CLUSTER SLOTS": nil, "READONLY": nil, "COMMAND": nil,
	}
	files, err := sources.ReadDir("lua")
	if err != nil {
		t.Fatal(err)
	}
	calls, written := 0, 0
	for _, file := range files {
		text, err := sources.ReadFile("lua/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		written += strings.Count(string(text), "redis.call(") + strings.Count(string(text), "redis.pcall(")
		for line := range strings.Lines(string(text)) {
			for at := luaCall.FindStringSubmatchIndex(line); at != nil; at = luaCall.FindStringSubmatchIndex(line) {
				name := line[at[2]:at[3]]
				line = line[at[3]:]
				calls++
				own, _, _ := strings.Cut(line, "redis.") // the options of a call within it are that one's
				for _, option := range luaOption.FindAllStringSubmatch(own, -1) {
					used[name] = append(used[name], option[1])
				}
				used[name] = append(used[name], "")
			}
		}
	}
	if calls != written || calls < 100 {
		t.Fatalf("%d of %d calls in the scripts were read", calls, written)
	}

	server := redistest.Start(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr, Protocol: 3})
	defer client.Close()
	for name, options := range used {
		docs, err := client.Do(t.Context(), "COMMAND", "DOCS", strings.ReplaceAll(name, " ", "|")).Result()
		about := under(docs, strings.ToLower(strings.ReplaceAll(name, " ", "|")))
		if err != nil || about == nil {
			t.Errorf("%s: the server does not know it: %v", name, err)
			continue
		}
		known := map[string]string{"": under(about, "since").(string)}
		noteOptions(under(about, "arguments"), known[""], known)
		slices.Sort(options)
		for _, option := range slices.Compact(append(options, "")) {
			if since := known[option]; !inRedis62(since) {
				t.Errorf("%s %s is there since Redis %q", name, option, since)
			}
		}
	}
	t.Logf("%d calls of %d commands", calls, len(used))
}

// under is what a reply has under a name.
func under(reply any, name string) any {
	m, _ := reply.(map[any]any)
	return m[name]
}

// noteOptions notes since when there is each option in the documentation of arguments.
func noteOptions(arguments any, since string, known map[string]string) {
	list, _ := arguments.([]any)
	for _, argument := range list {
		own := since
		if said, ok := under(argument, "since").(string); ok {
			own = said
		}
		if token, ok := under(argument, "token").(string); ok {
			known[token] = own
		}
		noteOptions(under(argument, "arguments"), own, known)
	}
}

// inRedis62 tells whether what is there since a version is there in 6.2.
func inRedis62(since string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(since, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major < 6 || major == 6 && minor <= 2
}
