package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// shown are the keys that limits ls shows with -o json.
func (o operator) shown(args ...string) (limits struct {
	Policies []string
	Lost     bool `json:"store_lost"`
	Keys     []struct {
		Policy, Key      string
		Allowed, Refused int
		Remaining        int
		RetryAfter       int64 `json:"retry_after_ms"`
	}
}) {
	o.Helper()
	r := o.expect(0, "", append([]string{"limits", "ls", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.out), &limits); err != nil {
		o.Fatalf("%v: %s", err, r.out)
	}
	return limits
}

// The keys of a limiter can be seen and reset where there is no federation.
func TestTheCommandResetsRateLimitsWithoutAFederation(t *testing.T) {
	o := operator{t, fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))}
	port := loopback.FreePort(t)
	load(t, strings.Replace(limited(port, "", "policy team {\n limit 2 1h\n key {header.X-Team}\n}\npolicy all {\n limit 100 90s\n key all\n}", "respond hello"),
		"admin off", "admin "+o.address, 1))
	ask := func(team string, want int) {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header["X-Team"] = []string{team}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("team %.20q: status %d, expected %d", team, response.StatusCode, want)
		}
	}
	if r := o.expect(0, "", "limits", "ls"); strings.Count(r.out, "\n") != 1 {
		t.Errorf("nobody has asked: %s", r.out)
	}
	for range 2 {
		ask("reds", http.StatusOK)
	}
	ask("reds", http.StatusTooManyRequests)
	listed := o.expect(0, "", "limits", "ls", "--top", "2")
	listed.out = regexp.MustCompile(`(29m59|30m0?)[.\d]*s?`).ReplaceAllString(listed.out, "NEXT")
	o.golden(listed, `ALLOWED  REFUSED  LEFT  LIMIT  NEXT IN  KEY
2  1  98  100 in 1m30s  -  all:all
2  1  0  2 in 1h  NEXT  team:reds
`)
	if l := o.shown("--policy", "team"); len(l.Keys) != 1 || l.Keys[0].Policy != "team" || l.Keys[0].RetryAfter < 1 || fmt.Sprint(l.Policies) != "[all team]" || l.Lost {
		t.Errorf("%+v", l)
	}
	if r := o.expect(0, "", "limits", "reset", "team:reds"); !strings.Contains(r.errout, "The key team:reds is reset.") || r.out != "" {
		t.Errorf("%+v", r)
	}
	ask("reds", http.StatusOK)

	// keys are text of callers
	long := strings.Repeat("x", 5000)
	for _, team := range []string{"a\tb\u202e  \u00e9", "\xff\xfe\xfd", long, `"quoted"`, "<script>"} {
		for range 2 {
			ask(team, http.StatusOK)
		}
		ask(team, http.StatusTooManyRequests)
		for _, line := range strings.Split(o.expect(0, "", "limits", "ls", "--policy", "team").out, "\n")[1:] {
			if _, key, found := strings.Cut(line, "  "); found && strings.HasPrefix(line, "2  ") {
				key = key[strings.LastIndex(key, "  ")+2:]
				o.expect(0, "", "limits", "reset", key)
			}
		}
		ask(team, http.StatusOK)
		o.shown()
		if team != "\xff\xfe\xfd" { // which no program can say
			ask(team, http.StatusOK)
			ask(team, http.StatusTooManyRequests)
			o.expect(0, "", "limits", "reset", "team:"+team)
			ask(team, http.StatusOK)
		}
	}

	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{4, `there is no key "team:nobody": it has its whole burst`, []string{"reset", "team:nobody"}},
		{4, `there is no policy "teem" here`, []string{"reset", "teem:reds"}},
		{4, `names no policy`, []string{"reset", "reds"}},
		{4, `there is no policy "xxx`, []string{"reset", long + ":"}},
		{4, `there is no key "team:xxx`, []string{"reset", "team:" + strings.Repeat("x", 100_000)}},
		{1, `is not a key in quotes`, []string{"reset", `"team:reds`}},
		{1, `key: required`, []string{"reset", ``}},
		{1, `requires at least 1 arg`, []string{"reset"}},
		{5, `1 of 2 failed`, []string{"reset", "team:reds", "team:nobody"}},
		{4, `there is no policy "teem"; those that are: all, team`, []string{"ls", "--policy", "teem"}},
		{1, `from 1 to 1000`, []string{"ls", "--top", "0"}},
		{1, `from 1 to 1000`, []string{"ls", "--top", "1001"}},
		{4, `no federation "other" runs here; those that do: default`, []string{"ls", "--federation", "other"}},
	} {
		if r := o.expect(c.code, "", append([]string{"limits"}, c.args...)...); !strings.Contains(r.errout, c.says) || len(r.errout) > 1000 {
			t.Errorf("%.50q says %.500q, expected %q", c.args, r.errout, c.says)
		}
	}
	for body, want := range map[string]int{`{"key":"team:a","a":1}`: 400, `{`: 400, `{"key":7}`: 400, `{"key":"` + strings.Repeat("x", 2<<20) + `"}`: 413} {
		response, err := http.Post("http://"+o.address+"/federation/limits/reset", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%.40s: status %d, expected %d", body, response.StatusCode, want)
		}
	}
}

// Where nothing is limited there is nothing to show.
func TestTheCommandSaysThatNothingIsLimited(t *testing.T) {
	o := operator{t, fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))}
	load(t, fmt.Sprintf("{\n\tadmin %s\n\tlog {\n\t\tlevel FATAL\n\t}\n}\n", o.address))
	for _, args := range [][]string{{"limits", "ls"}, {"limits", "reset", "a:b"}} {
		if r := o.expect(3, "", args...); !strings.Contains(r.errout, "nothing is limited here") {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// The budgets of nodes are limits too.
func TestTheCommandResetsABudget(t *testing.T) {
	shop := node(t, answers(hits("a")))
	o := operator{t, fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))}
	port := loopback.FreePort(t)
	load(t, strings.Replace(federation(port, "node shop "+shop+" {\n dialect gateway\n budget 1 1h per_path\n}", ""), "admin off", "admin "+o.address, 1))
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	g.search(http.StatusOK, `{"query":"tea"}`)
	g.search(http.StatusServiceUnavailable, `{"query":"tea"}`)
	key := ""
	for _, k := range o.shown("--policy", "budget/shop").Keys {
		if strings.HasSuffix(k.Key, "/search") {
			key = k.Key
		}
	}
	o.expect(0, "", "limits", "reset", key)
	g.search(http.StatusOK, `{"query":"tea"}`)
}

// A reset at one gateway gives the key its whole burst at all of them, and the
// store forgets it. Without the store it is this gateway's alone, and is said so.
func TestAResetReachesAllGateways(t *testing.T) {
	server := redistest.Start(t)
	var operators []operator
	var urls []string
	for range 3 {
		o := operator{t, fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))}
		port := loopback.FreePort(t)
		text := limited(port, "federation resets {\n store redis "+server.URL()+" {\n timeout 2s\n}\n}", "policy team {\n limit 30 1h\n key reds\n}", "respond hello")
		another(t, strings.Replace(text, "admin off", "admin "+o.address, 1))
		operators, urls = append(operators, o), append(urls, fmt.Sprintf("http://127.0.0.1:%d/", port))
	}
	for _, url := range urls {
		within(t, time.Minute, url+" answers", func() bool {
			response, err := http.Head(url)
			if err != nil {
				return false
			}
			response.Body.Close()
			return response.StatusCode == http.StatusOK
		})
	}
	// passed counts the requests that pass when all gateways are asked in turn.
	passed := func() (n int) {
		t.Helper()
		for i := range 60 {
			if seen, _, _ := statuses(t, urls[i%3], 1); seen[0] == http.StatusOK {
				n++
			}
		}
		return n
	}
	if n := passed(); n > 30-3 {
		t.Fatalf("%d of 30 passed beside 3 that asked whether it runs", n)
	}
	for i, o := range operators {
		l := o.shown("--top", "1")
		if len(l.Keys) != 1 || l.Keys[0].Key != "team:reds" || l.Keys[0].Remaining != 0 || l.Keys[0].Refused == 0 {
			t.Errorf("gateway %d shows %+v", i, l)
		}
	}
	operators[1].expect(0, "", "limits", "reset", "team:reds")
	if left := server.Do("ZSCORE", "{fed:resets:limits}", "team:reds"); left != "" {
		t.Errorf("the store has %q still", left)
	}
	total := 0
	within(t, 10*time.Second, "all gateways know of the reset", func() bool {
		for _, url := range urls {
			seen, last, _ := statuses(t, url, 1)
			if seen[0] == http.StatusOK {
				total++
			}
			if last.Header.Get("RateLimit-Policy") == "" {
				t.Fatalf("%v", last.Header)
			}
			if seen[0] != http.StatusOK && total >= 30 {
				return true
			}
		}
		return total >= 30
	})
	if n := passed(); n+total != 30 {
		t.Errorf("%d passed after the reset, expected 30", n+total)
	}
	server.Kill()
	within(t, 10*time.Second, "the loss is shown", func() bool {
		statuses(t, urls[0], 1) // a refusal is remembered for a second
		return operators[0].shown().Lost
	})
	if r := operators[0].expect(3, "", "limits", "reset", "team:reds"); !strings.Contains(r.errout, "reset on this gateway alone") || strings.Contains(r.errout, "127.0.0.1") {
		t.Errorf("%+v", r)
	}
}
