package federation

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// builder is what xcaddy.Builder reads, as far as the manifest may use it.
type builder struct {
	CaddyVersion string `json:"caddy_version"`
	Plugins      []struct {
		Path    string `json:"module_path"`
		Version string `json:"version"`
	} `json:"plugins"`
	Replacements []struct {
		Old string `json:"old"`
		New string `json:"new"`
	} `json:"replacements"`
	TimeoutGet   time.Duration `json:"timeout_get"`
	TimeoutBuild time.Duration `json:"timeout_build"`
	BuildFlags   string        `json:"build_flags"`
}

func TestTheManifestIsTrue(t *testing.T) {
	text, err := os.ReadFile("xcaddy.json")
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	var b builder
	if err := decoder.Decode(&b); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	module := regexp.MustCompile(`(?m)^module (\S+)$`).FindSubmatch(mod)
	caddy := regexp.MustCompile(`(?m)^\tgithub\.com/caddyserver/caddy/v2 (\S+)$`).FindSubmatch(mod)
	if module == nil || caddy == nil {
		t.Fatal("go.mod names no module or no Caddy")
	}
	if b.CaddyVersion != string(caddy[1]) {
		t.Errorf("the manifest builds Caddy %s, go.mod has %s", b.CaddyVersion, caddy[1])
	}
	if len(b.Plugins) != 1 || b.Plugins[0].Path != string(module[1]) {
		t.Errorf("the manifest builds %+v, the module is %s", b.Plugins, module[1])
	}
	if len(b.Replacements) != 1 || b.Replacements[0].Old != string(module[1]) || b.Replacements[0].New != "." {
		t.Errorf("the manifest replaces %+v", b.Replacements)
	}
	if !strings.Contains(b.BuildFlags, "nobadger,nomysql,nopgx") {
		t.Errorf("the build flags are %q", b.BuildFlags)
	}
}
