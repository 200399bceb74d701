package integration

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// scrape reads the metrics at an address, and returns those of ours.
func scrape(t testing.TB, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", response.Status, err, body)
	}
	var ours strings.Builder
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, "caddy_federation_") {
			ours.WriteString(line)
		}
	}
	return ours.String()
}

// value is that of one series.
func value(t testing.TB, metrics, series string) (v float64) {
	t.Helper()
	for line := range strings.Lines(metrics) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			if _, err := fmt.Sscan(rest, &v); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return v
		}
	}
	t.Fatalf("there is no %s in\n%s", series, metrics)
	return 0
}

// measured writes a Caddyfile with every directive that has metrics.
func measured(admin string, port int, nodes string) string {
	return fmt.Sprintf(`{
	admin %s
	auto_https off
	grace_period 1s
	log {
		level FATAL
	}
	federation test {
		store memory
		key main hs256 a-secret-of-more-than-thirty-two-bytes
		node_defaults {
			dialect gateway
		}
		%s
	}
}
http://127.0.0.1:%d {
	metrics /metrics
	handle_path /private/* {
		federation_auth
	}
	federation_rate_limit {
		policy callers {
			limit 1000 1m
		}
	}
	federation_search
}
`, admin, nodes, port)
}

func TestMetricsGoOnOverAReload(t *testing.T) {
	up := node(t, answers(hits("a")))
	admin, port := fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t)), loopback.FreePort(t)
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	load(t, measured(admin, port, "node stays "+up+"\nnode leaves "+up))
	for range 3 {
		g.search(200, `{"query":"x"}`)
	}
	const (
		calls    = `caddy_federation_node_calls_total{federation="test",node="stays",outcome="ok"}`
		duration = `caddy_federation_node_call_duration_seconds_count{federation="test",node="stays"}`
		whole    = `caddy_federation_search_requests_total{partial="false",status="200"}`
	)
	before := scrape(t, "http://"+admin+"/metrics")
	if site := scrape(t, g.url+"/metrics"); value(t, site, calls) != 3 || value(t, before, calls) != 3 || value(t, before, duration) != 3 {
		t.Errorf("expected three calls in\n%s\nand in\n%s", before, site)
	}
	searched := value(t, before, whole)

	reload := func(text string) error {
		t.Helper()
		adapted, err := adapt(text)
		if err != nil {
			t.Fatal(err)
		}
		err = caddy.Load(adapted, true)
		http.DefaultClient.CloseIdleConnections() // they are to the old server
		return err
	}
	if err := reload(measured(admin, port, "node stays "+up+" {\n weight 2\n}\nnode joins "+up)); err != nil {
		t.Fatal(err)
	}
	g.search(200, `{"query":"x"}`)
	for _, url := range []string{"http://" + admin + "/metrics", g.url + "/metrics"} {
		after := scrape(t, url)
		if value(t, after, calls) != 4 || value(t, after, duration) != 4 || value(t, after, whole) != searched+1 {
			t.Errorf("%s: a counter did not go on\n%s", url, after)
		}
		if strings.Contains(after, `node="leaves"`) || !strings.Contains(after, `node="joins"`) {
			t.Errorf("%s: the nodes are not those of the config\n%s", url, after)
		}
	}
	// a config that cannot be loaded leaves the admin endpoint with its registry
	if err := reload(measured(admin, port, "node stays "+up+" {\n credentials jwt nobody\n}")); err == nil {
		t.Fatal("the broken config was loaded")
	}
	g.search(200, `{"query":"x"}`)
	if after := scrape(t, "http://"+admin+"/metrics"); value(t, after, calls) != 5 || !strings.Contains(after, `node="joins"`) {
		t.Errorf("after a failed reload:\n%s", after)
	}
}

var (
	documented = regexp.MustCompile("(?m)^\\| `(caddy_federation_\\w+)` \\| (\\w+) \\| (.*?) \\|")
	quoted     = regexp.MustCompile("`(\\w+)`")
	typed      = regexp.MustCompile(`(?m)^# TYPE (caddy_federation_\w+) (\w+)$`)
	labelled   = regexp.MustCompile(`(\w+)="`)
)

// TestEveryMetricIsDocumented, and every documented one is there, with its
// type and labels.
func TestEveryMetricIsDocumented(t *testing.T) {
	up := node(t, answers(hits("a")))
	admin, port := fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t)), loopback.FreePort(t)
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	load(t, measured(admin, port, "node shop "+up))
	g.search(200, `{"query":"x"}`)
	if response, err := http.Get(g.url + "/private/x"); err != nil || response.StatusCode != http.StatusUnauthorized {
		t.Fatalf("%v, %v", response, err)
	}
	metrics := scrape(t, "http://"+admin+"/metrics")
	problems, err := promlint.New(strings.NewReader(metrics)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}

	there := make(map[string]string)
	for _, m := range typed.FindAllStringSubmatch(metrics, -1) {
		name, labels := m[1], make(map[string]bool)
		for _, series := range regexp.MustCompile(`(?m)^`+name+`(?:_bucket|_sum|_count)?\{(.*)\} `).FindAllStringSubmatch(metrics, -1) {
			for _, label := range labelled.FindAllStringSubmatch(series[1], -1) {
				if label[1] != "le" {
					labels[label[1]] = true
				}
			}
		}
		there[name] = m[2] + " " + strings.Join(slices.Sorted(maps.Keys(labels)), " ")
	}
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]string)
	for _, m := range documented.FindAllStringSubmatch(string(page), -1) {
		labels := make(map[string]bool)
		for _, label := range quoted.FindAllStringSubmatch(m[3], -1) {
			labels[label[1]] = true
		}
		said[m[1]] = m[2] + " " + strings.Join(slices.Sorted(maps.Keys(labels)), " ")
	}
	for name, how := range there {
		if said[name] != how {
			t.Errorf("%s is a %s, the docs say %q", name, how, said[name])
		}
	}
	for name := range said {
		if there[name] == "" {
			t.Errorf("%s is documented, and not there", name)
		}
	}
	for _, m := range regexp.MustCompile(`caddy_federation_\w+`).FindAllString(string(page), -1) {
		if there[m] == "" && there[strings.TrimSuffix(m, "_bucket")] == "" {
			t.Errorf("the docs name %s, which is not there", m)
		}
	}
}
