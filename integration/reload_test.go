package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddyserver/caddy/v2"
)

// TestAReloadUnderLoadLosesNoRequest reloads while clients connect anew for
// each request. A server of net/http that is shutting down closes connections
// whose first request it has not read yet, and the kernel resets those that
// nobody had accepted: so it is with any config of Caddy, which the second run
// shows. Such a request can be sent again, because nothing was done for it (RFC
// 9110, section 9.2.2): sent again it is answered, and no request that reached a
// node is ever without its answer.
func TestAReloadUnderLoadLosesNoRequest(t *testing.T) {
	slow := func(t *testing.T, reached *sync.Map) string {
		return node(t, func(w http.ResponseWriter, r *http.Request) {
			asked := r.URL.Query().Get("q")
			var body struct{ Query string }
			if json.NewDecoder(r.Body).Decode(&body) == nil {
				asked = body.Query
			}
			reached.Store(asked, true)
			time.Sleep(5 * time.Millisecond)
			answers(hits("a"))(w, r)
		})
	}
	t.Run("search", func(t *testing.T) {
		var reached sync.Map
		url, port := slow(t, &reached), loopback.FreePort(t)
		reloadUnderLoad(t, port, &reached, func(n int) string {
			return federation(port, fmt.Sprintf("node one %s {\n dialect gateway\n weight %d\n}", url, n+1), "")
		})
	})
	t.Run("stock Caddy", func(t *testing.T) {
		var reached sync.Map
		url, port := slow(t, &reached), loopback.FreePort(t)
		reloadUnderLoad(t, port, &reached, func(n int) string {
			return fmt.Sprintf("{\n admin off\n auto_https off\n grace_period 2s\n log {\n  level ERROR\n }\n}\nhttp://127.0.0.1:%d {\n header X-Config %d\n reverse_proxy %s\n}\n", port, n, url)
		})
	})
}

// reloadUnderLoad fails the test for each request that stays unanswered when
// it is sent again, or that reached a node without being answered.
func reloadUnderLoad(t *testing.T, port int, reached *sync.Map, config func(int) string) {
	t.Helper()
	load(t, config(0))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	search := func(query string) error {
		response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/v1/search?q=%s", port, query))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if _, err = io.Copy(io.Discard, response.Body); err == nil && response.StatusCode != http.StatusOK {
			err = errors.New(response.Status)
		}
		return err
	}
	stop := make(chan struct{})
	var answered, turnedAway atomic.Int64
	var group sync.WaitGroup
	for caller := range 8 {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				query := fmt.Sprintf("q-%d-%d", caller, n)
				if err := search(query); err != nil {
					turnedAway.Add(1)
					if _, in := reached.Load(query); in {
						t.Errorf("%s got in and was not answered: %v", query, err)
					}
					if err := search(query); err != nil && search(query) != nil {
						t.Errorf("%s is lost: %v", query, err)
					}
				}
				answered.Add(1)
			}
		})
	}
	for n := range 10 {
		adapted, err := adapt(config(n))
		if err != nil {
			t.Fatal(err)
		}
		before := answered.Load()
		if err := caddy.Load(adapted, true); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return answered.Load() > before+100 })
	}
	close(stop)
	group.Wait()
	t.Logf("%d answered over 10 reloads, %d of them sent again", answered.Load(), turnedAway.Load())
}

func TestABrokenReloadChangesNothing(t *testing.T) {
	url := node(t, answers(hits("a")))
	port := loopback.FreePort(t)
	good := federation(port, "node one "+url+" {\n dialect gateway\n}", "")
	load(t, good)
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	g.search(200, `{"query":"x"}`)

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	folder := t.TempDir()
	foreign := filepath.Join(folder, "foreign.db")
	if err := os.WriteFile(foreign, []byte(strings.Repeat("something else ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]string{
		"provision fails": federation(port, "node one "+url+" {\n credentials jwt nobody\n}\nnode two "+url, ""),
		"start fails":     strings.ReplaceAll(federation(port, "node two "+url, ""), "store memory", "store bolt "+foreign),
		"listen fails":    federation(busy.Addr().(*net.TCPAddr).Port, "node two "+url, ""),
	} {
		t.Run(name, func(t *testing.T) {
			adapted, err := adapt(broken)
			if err != nil {
				t.Fatal(err)
			}
			if err := caddy.Load(adapted, true); err == nil {
				t.Fatal("the broken config was loaded")
			}
			a := gateway{t, g.url}.search(200, `{"query":"x"}`)
			if len(a.Nodes) != 1 || a.Nodes[0].Node != "one" {
				t.Errorf("the nodes changed: %s", a.raw)
			}
		})
	}
	if body, err := os.ReadFile(foreign); err != nil || !strings.HasPrefix(string(body), "something else") {
		t.Error("the foreign file was written to")
	}
}

// TestARefusedReloadTakesNoName: Caddy starts the federation before or after the
// server that cannot listen, by chance.
func TestARefusedReloadTakesNoName(t *testing.T) {
	g := registryGateway(t, "", openNodes)
	token, _ := g.enrolled("mill", node(t, answers(hits("a"))))
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port, err := strconv.Atoi(g.url[strings.LastIndexByte(g.url, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	taken := registryCaddyfile(port, "node mill http://127.0.0.1:9", openNodes)
	refused, err := adapt(taken + fmt.Sprintf("http://127.0.0.1:%d {\n}\n", busy.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if err := caddy.Load(refused, true); err == nil {
			t.Fatal("the broken config was loaded")
		}
		if r := g.call("GET", "/v1/nodes/mill", "", "Authorization", "Bearer "+token); r.status != 200 {
			t.Fatalf("the token of a registered node is answered %d after a reload that was refused: %s", r.status, r.raw)
		}
	}
	good, err := adapt(taken)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(good, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		return g.call("GET", "/v1/nodes/mill", "", "Authorization", "Bearer "+token).status == 401
	})
}

func TestValidateOpensNothing(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "a.txt"), []byte("a document"), 0o600); err != nil {
		t.Fatal(err)
	}
	var called atomic.Int32
	url := node(t, func(http.ResponseWriter, *http.Request) { called.Add(1) })
	text := strings.ReplaceAll(federation(loopback.FreePort(t), "node one "+url, "local bleve "+folder+" {\n path "+folder+"/index\n}"),
		"store memory", "store bolt "+folder+"/test.db")
	adapted, err := adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&config); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"test.db", "index"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err == nil {
			t.Errorf("validating made %s", name)
		}
	}
	if called.Load() > 0 {
		t.Error("validating called a node")
	}
}

func TestNodesKeepTheirIDsOverRestarts(t *testing.T) {
	seen := make(chan string, 100)
	url := node(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			seen <- r.Header.Get("Authorization")
		}
		answers(hits("a"))(w, r)
	})
	file := filepath.Join(t.TempDir(), "kept.db")
	var subjects []float64
	for i := range 3 {
		block := "node b " + url + "\n"
		if i > 0 {
			block = "node a " + url + "\n" + block // joins later, sorts first
		}
		port := loopback.FreePort(t)
		text := strings.ReplaceAll(federation(port, "key main hs256 a-secret-of-more-than-thirty-two-bytes\n node_defaults {\n dialect gateway\n}\n"+block, ""),
			"store memory", "store bolt "+file)
		adapted, err := adapt(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.Load(adapted, true); err != nil {
			t.Fatal(err)
		}
		gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}.search(200, `{"query":"x","nodes":["b"]}`)
		subjects = append(subjects, claims(t, <-seen)["sub"].(float64))
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if subjects[0] != 1 || subjects[1] != 1 || subjects[2] != 1 {
		t.Errorf("node b was %v", subjects)
	}
}
