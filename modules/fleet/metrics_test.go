package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// scrape reads the metrics of one federation, as `name{label=value,…}` without
// the federation's own label.
func scrape(t *testing.T, federation string) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(collector{}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.Metric {
			mine, labels := false, []string{}
			for _, label := range metric.Label {
				if label.GetName() == "federation" {
					mine = label.GetValue() == federation
					continue
				}
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			if mine {
				put(all, strings.TrimPrefix(family.GetName(), "caddy_federation_"), strings.Join(labels, ","), metric)
			}
		}
	}
	return all
}

func put(all map[string]float64, name, labels string, metric *dto.Metric) {
	switch {
	case metric.Counter != nil:
		all[name+"{"+labels+"}"] = metric.Counter.GetValue()
	case metric.Gauge != nil:
		all[name+"{"+labels+"}"] = metric.Gauge.GetValue()
	case metric.Histogram != nil:
		all[name+"_count{"+labels+"}"] = float64(metric.Histogram.GetSampleCount())
		all[name+"_sum{"+labels+"}"] = metric.Histogram.GetSampleSum()
		for _, bucket := range metric.Histogram.Bucket {
			all[fmt.Sprintf("%s_bucket{%s,le=%g}", name, labels, bucket.GetUpperBound())] = float64(bucket.GetCumulativeCount())
		}
		all[name+"_bucket{"+labels+",le=+Inf}"] = float64(metric.Histogram.GetSampleCount())
	}
}

func TestMetricsOfANode(t *testing.T) {
	f := run(t, `health off
		node shop http://127.0.0.1:1 {
			dialect gateway
		}
		node spare http://127.0.0.1:2 {
			dialect gateway
			admin_state maintenance
		}`)
	gate := f.node("shop").Gate()
	for _, r := range []Result{
		{Outcome: OutcomeOK, Latency: 5 * time.Millisecond}, {Outcome: OutcomeOK, Latency: 6 * time.Millisecond},
		{Outcome: OutcomeOK, Latency: time.Minute}, {Outcome: OutcomeSoft, Latency: time.Second},
		{Outcome: OutcomeThrottled, Latency: time.Second, RetryAfter: time.Minute},
	} {
		ticket, err := gate.Admit(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		ticket.Done(r)
	}
	if _, err := gate.Admit(t.Context(), time.Now()); err != nil { // and it runs on
		t.Fatal(err)
	}
	if err := gate.Force("open", "a test", "me", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := gate.Admit(t.Context(), time.Now()); err == nil {
		t.Fatal("a forced-open breaker lets a call through")
	}
	all := scrape(t, f.app.Name)
	for series, want := range map[string]float64{
		"node_up{node=shop}": 0, "node_health{node=shop,state=unknown}": 1, "node_health{node=shop,state=healthy}": 0,
		"node_calls_total{node=shop,outcome=ok}": 3, "node_calls_total{node=shop,outcome=soft}": 1, "node_calls_total{node=shop,outcome=hard}": 0,
		"node_calls_in_flight{node=shop}": 1, "node_breaker_state{node=shop,state=forced_open}": 1, "node_breaker_state{node=shop,state=closed}": 0,
		"node_breaker_opens_total{node=shop}": 1, "node_breaker_refused_calls_total{node=shop}": 1, "node_flaps_total{node=shop}": 0,
		"node_call_duration_seconds_bucket{node=shop,le=0.005}": 1, "node_call_duration_seconds_bucket{node=shop,le=0.01}": 2,
		"node_call_duration_seconds_bucket{node=shop,le=10}": 2, "node_call_duration_seconds_count{node=shop}": 3, "node_call_duration_seconds_sum{node=shop}": 60.011,
		"nodes{admin_state=enabled,health=unknown,type=child}": 1, "nodes{admin_state=maintenance,health=unknown,type=child}": 1,
		"nodes{admin_state=enabled,health=unhealthy,type=master}": 0, "nodes_available{}": 0,
		"store_up{}": 1, "store_shared{}": 0, "gateways{}": 1, "configuration_drift{}": 0, "configuration_drift_gateways{}": 0,
		"health_checks_frozen{}": 0, "breakers_store_up{}": 1, "clock_skew_seconds{}": 0,
		"alerts_firing{}": 0, "alerts_pending{}": 0, "alerts_waiting_seconds{}": 0, "alerts_deliveries_total{result=delivered}": 0,
	} {
		if got, there := all[series]; !there || got != want {
			t.Errorf("%s is %v (there: %v), expected %v", series, got, there, want)
		}
	}
	if pause := all["node_pause_seconds{node=shop}"]; pause <= 50 || pause > 60 {
		t.Errorf("the pause is %v s, expected a minute", pause)
	}
}

func TestDeliveriesToARemovedWebhookStayCounted(t *testing.T) {
	h := newAlerting()
	h.queues["one"] = &alertQueue{delivered: 3, failed: 1}
	h.queues["two"] = &alertQueue{delivered: 4}
	h.keep([]*alertHook{{id: "two"}})
	if delivered, failed := h.deliveries(); delivered != 7 || failed != 1 || len(h.queues) != 1 {
		t.Errorf("%d delivered, %d failed, %d queues", delivered, failed, len(h.queues))
	}
}

func TestOpeningsAreCountedOverAReset(t *testing.T) {
	f := run(t, "health off\nnode shop http://127.0.0.1:1")
	for _, word := range []string{"open", "reset", "open", "auto", "reset"} {
		if err := f.node("shop").Gate().Force(word, "", "me", 0); err != nil {
			t.Fatal(err)
		}
	}
	if opens := scrape(t, f.app.Name)["node_breaker_opens_total{node=shop}"]; opens != 2 {
		t.Errorf("%v openings, expected 2", opens)
	}
}

// row finds the row of a label.
func row(rows []*nodeRow, label string) *nodeRow {
	for _, r := range rows {
		if r.label == label {
			return r
		}
	}
	return nil
}

// Nodes that register cannot make series without bound, and what they leave
// behind never makes a counter fall.
func TestTheNumberOfSeriesIsBounded(t *testing.T) {
	var s scraped
	nodes := make([]*Node, 2*maxNamedNodes)
	for i := range nodes {
		nodes[i] = NewNode(fmt.Sprintf("node-%d", i))
		for range i + 1 {
			nodes[i].gate.member.load.begin(0)
			nodes[i].gate.member.load.end(OutcomeOK, time.Millisecond)
		}
	}
	rows := s.rows(nodes)
	if len(rows) != maxNamedNodes+1 {
		t.Fatalf("%d rows of %d nodes, expected %d", len(rows), len(nodes), maxNamedNodes+1)
	}
	values := make(chan prometheus.Metric, 1000)
	rows[0].collect("test", values)
	if n := len(values) - 1 + len(durationBounds) + 3; n != 37 {
		t.Errorf("a node has %d series, the docs say 37", n)
	}
	total := func(rows []*nodeRow) (n uint64) {
		for _, r := range rows {
			n += r.succeeded()
		}
		return n
	}
	calls := uint64(len(nodes) * (len(nodes) + 1) / 2)
	other := row(rows, otherNodes)
	if n := total(rows); n != calls || other.up != maxNamedNodes || other.phases[breaker.Closed] != maxNamedNodes {
		t.Errorf("%d calls, expected %d; others: %+v", n, calls, other)
	}
	before := other.succeeded()

	// one with a label and one of the others leave, and a new one comes
	fresh := NewNode("fresh")
	rows = s.rows(append(append([]*Node{fresh}, nodes[1:len(nodes)-1]...), NewNode("late")))
	if row(rows, "node-0") != nil || row(rows, "fresh") == nil || row(rows, "late") != nil || len(rows) != maxNamedNodes+1 {
		t.Errorf("%d rows; node-0 %v, fresh %v, late %v", len(rows), row(rows, "node-0"), row(rows, "fresh"), row(rows, "late"))
	}
	if other := row(rows, otherNodes); other.succeeded() != before || other.up != maxNamedNodes {
		t.Errorf("the others' counter went from %d to %d, %d are up", before, other.succeeded(), other.up)
	}
	// what is left of them is there when all are gone
	if rows = s.rows(nil); len(rows) != 1 || rows[0].succeeded() != before || rows[0].up != 0 {
		t.Errorf("without nodes: %+v", rows)
	}
}
