package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// sources adapts and validates a Caddyfile and returns what it indexes, by the
// names of the nodes.
func sources(t *testing.T, text string) map[string]string {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&config); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case []any:
			for _, entry := range v {
				walk(entry)
			}
		case map[string]any:
			if v["handler"] == "federation_index" {
				found[v["name"].(string)] = fmt.Sprint(v["sources"])
			}
			for _, entry := range v {
				walk(entry)
			}
		}
	}
	var whole any
	if err := json.Unmarshal(adapted, &whole); err != nil {
		t.Fatal(err)
	}
	walk(whole)
	return found
}

func TestFoldersOfAnyNameBecomeNodes(t *testing.T) {
	root := t.TempDir()
	t.Setenv("HOME", root)
	names := map[string]string{
		"plain": "plain", "My Notes": "my-notes", `quo"ted`: "quo-ted", `back\slash`: "back-slash", "Ünïcode": "n-code", "local": "docs",
		"日本": "docs-2", "{env.HOME}": "env-home", "#hash": "hash", "sub/plain": "plain-2", strings.Repeat("long", 30): strings.Repeat("long", 15),
	}
	order := []string{"plain", "My Notes", `quo"ted`, `back\slash`, "Ünïcode", "local", "日本", "{env.HOME}", "#hash", "sub/plain", strings.Repeat("long", 30)}
	var folders []string
	for _, name := range order {
		folder := filepath.Join(root, name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		folders = append(folders, folder)
	}
	text, err := ownCaddyfile(folders)
	if err != nil {
		t.Fatal(err)
	}
	found := sources(t, text)
	for i, name := range order {
		if got := found[names[name]]; got != "["+folders[i]+"]" {
			t.Errorf("node %s indexes %s, expected %s", names[name], got, folders[i])
		}
	}
	if len(found) != len(order) {
		t.Errorf("there are %d nodes: %v", len(found), found)
	}
	if _, err := ownCaddyfile([]string{filepath.Join(root, "missing")}); err == nil || !strings.Contains(err.Error(), "no such file or folder") {
		t.Errorf("error is %v", err)
	}
}

func TestTheShippedDemoIsValid(t *testing.T) {
	t.Chdir("../..")
	text, _, err := prepare(nil)
	if err != nil && !strings.Contains(err.Error(), "taken") { // a demo may be running
		t.Fatal(err)
	}
	shipped, err := os.ReadFile(demoCaddyfile)
	if err != nil || text != string(shipped) {
		t.Fatalf("%v, text %q", err, text)
	}
	if found := sources(t, text); len(found) != 5 {
		t.Errorf("the nodes are %v", found)
	}
	t.Chdir(t.TempDir())
	if _, _, err := prepare(nil); err == nil || !strings.Contains(err.Error(), "run this in the project's folder") {
		t.Errorf("elsewhere: %v", err)
	}
}

func TestATakenPortIsNamed(t *testing.T) {
	var ports []int
	for _, address := range []string{"127.0.0.1:0", ":0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	for _, port := range ports {
		if err := freePorts([]int{port}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d is taken", port)) {
			t.Errorf("error is %v", err)
		}
	}
	if err := freePorts(ports); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("ports %d, %d are taken", ports[0], ports[1])) {
		t.Errorf("error is %v", err)
	}
	if err := freePorts(nil); err != nil {
		t.Error(err)
	}
}

func TestThePipeCarriesMoreThanAPipeHolds(t *testing.T) {
	text := strings.Repeat("# a comment\n", 20000)
	file, err := piped(text)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	body, err := io.ReadAll(file)
	if err != nil || string(body) != text {
		t.Errorf("%d of %d bytes, %v", len(body), len(text), err)
	}
}
