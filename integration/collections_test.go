package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// collectionsFolder holds retrieval test collections: cranfield, cisi and
// cacm, each with corpus.jsonl, queries.jsonl and qrels.txt. They are not part
// of the project.
const collectionsFolder = "../../shared/collections"

// TestCollectionsAsNodes stands a gateway in front of real document sets, each
// a node of its own, asks every query that people judged, and holds the quality
// of the merged answers to a floor a little below what was measured.
func TestCollectionsAsNodes(t *testing.T) {
	names := []string{"cacm", "cisi", "cranfield"}
	if _, err := os.Stat(collectionsFolder); err != nil {
		t.Skipf("NOT TESTED: the quality of merged answers, because %s is missing", collectionsFolder)
	}
	var block, sites strings.Builder
	ports := make(map[string]int)
	for _, name := range names {
		ports[name] = loopback.FreePort(t)
		folder, err := filepath.Abs(filepath.Join(collectionsFolder, name, "corpus.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&block, "node %s http://127.0.0.1:%d {\n dialect gateway\n}\n", name, ports[name])
		fmt.Fprintf(&sites, "http://127.0.0.1:%d {\n federation_index %q {\n name %s\n path %q\n no_watch\n }\n}\n", ports[name], folder, name, t.TempDir())
	}
	port := loopback.FreePort(t)
	load(t, federation(port, block.String(), "timeout 20s")+sites.String())
	for _, name := range names {
		waitForIndex(t, ports[name])
	}
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}

	floors := map[string]float64{"rrf": 0.17, "relative": 0.17, "raw": 0.37}
	for _, method := range []string{"rrf", "relative", "raw"} {
		total, judged := 0.0, 0
		for _, name := range names {
			gains := readJudgements(t, name)
			for id, query := range readQueries(t, name) {
				if len(gains[id]) == 0 {
					continue
				}
				a := g.search(http.StatusOK, fmt.Sprintf(`{"query":%q,"limit":10,"fusion":%q}`, query, method))
				var found []string
				for _, hit := range a.Hits {
					found = append(found, hit.ID)
					if len(hit.Sources) != 1 || hit.Sources[0].Node != hit.Node || !strings.HasPrefix(strings.ToLower(hit.ID), hit.Node[:4]) {
						t.Fatalf("hit %s is said to be of %s, from %v", hit.ID, hit.Node, hit.Sources)
					}
				}
				if a.Partial || len(a.Nodes) != len(names) || len(found) != 10 {
					t.Fatalf("query %s: %d hits, %v", id, len(found), a.Nodes)
				}
				total += ndcg(found, gains[id])
				judged++
			}
		}
		mean := total / float64(judged)
		t.Logf("%s: nDCG@10 %.4f over %d queries", method, mean, judged)
		if judged < 300 || mean < floors[method] {
			t.Errorf("%s: nDCG@10 %.4f over %d queries, expected at least %.2f", method, mean, judged, floors[method])
		}
	}
}

// waitForIndex waits until the node has indexed all its documents.
func waitForIndex(t *testing.T, port int) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for range 2400 {
		if response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/v1/health", port)); err == nil {
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if strings.Contains(string(body), `"pass"`) {
				return
			}
		}
		<-ticker.C
	}
	t.Fatalf("the index on port %d was not built in two minutes", port)
}

func readQueries(t *testing.T, name string) map[string]string {
	t.Helper()
	queries := make(map[string]string)
	eachLine(t, filepath.Join(collectionsFolder, name, "queries.jsonl"), func(line []byte) {
		var query struct{ ID, Text string }
		if err := json.Unmarshal(line, &query); err != nil {
			t.Fatal(err)
		}
		queries[query.ID] = query.Text
	})
	return queries
}

// readJudgements returns the gain of each judged document, by query.
func readJudgements(t *testing.T, name string) map[string]map[string]float64 {
	t.Helper()
	gains := make(map[string]map[string]float64)
	eachLine(t, filepath.Join(collectionsFolder, name, "qrels.txt"), func(line []byte) {
		var query, zero, document string
		var gain float64
		if _, err := fmt.Sscan(string(line), &query, &zero, &document, &gain); err != nil {
			t.Fatal(err)
		}
		if gain <= 0 {
			return
		}
		if gains[query] == nil {
			gains[query] = make(map[string]float64)
		}
		gains[query][document] = gain
	})
	return gains
}

func eachLine(t *testing.T, path string, yield func([]byte)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		yield(lines.Bytes())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// ndcg is nDCG@10 with the gain as given and a logarithmic discount (Järvelin
// and Kekäläinen, ACM TOIS 2002).
func ndcg(found []string, gains map[string]float64) float64 {
	var got, best float64
	for i, id := range found[:min(10, len(found))] {
		got += gains[id] / math.Log2(float64(i+2))
	}
	var ideal []float64
	for _, gain := range gains {
		ideal = append(ideal, gain)
	}
	slices.Sort(ideal)
	slices.Reverse(ideal)
	for i, gain := range ideal[:min(10, len(ideal))] {
		best += gain / math.Log2(float64(i+2))
	}
	return got / best
}
