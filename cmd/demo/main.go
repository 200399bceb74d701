// Command demo runs a federation on this machine: a gateway on :8080 and
// nodes over the documents in testdata/demo, or over folders of your own.
//
//	go run ./cmd/demo [<folder>...]
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-federation/caddy-federation"
)

const (
	demoCaddyfile = "testdata/demo/Caddyfile"
	gatewayPort   = 8080
	firstNodePort = 9101
)

func main() {
	text, query, err := prepare(os.Args[1:])
	var stdin *os.File
	if err == nil {
		stdin, err = piped(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	go announce(query)
	// Caddy takes over: it reads its own arguments and ends with the process
	os.Stdin = stdin
	os.Args = []string{os.Args[0], "run", "--adapter", "caddyfile", "--config", "-"}
	caddycmd.Main()
}

// piped is a file to read the text from, which is on no disk.
func piped(text string) (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = io.WriteString(writer, text) // ends when it is read
		_ = writer.Close()
	}()
	return reader, nil
}

// prepare returns the Caddyfile to run, as text, and a query to try.
func prepare(folders []string) (text, query string, err error) {
	shipped, err := os.ReadFile(demoCaddyfile)
	if err != nil {
		return "", "", fmt.Errorf("%s is not here; run this in the project's folder", demoCaddyfile)
	}
	nodes := 5
	text, query = string(shipped), "iron"
	if len(folders) > 0 {
		nodes = len(folders)
		if text, err = ownCaddyfile(folders); err != nil {
			return "", "", err
		}
		query = "your+words"
	}
	ports := []int{gatewayPort}
	for i := range nodes {
		ports = append(ports, firstNodePort+i)
	}
	return text, query, freePorts(ports)
}

// freePorts names the ports that somebody else has.
func freePorts(ports []int) error {
	var taken []string
	for _, port := range ports {
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			err = listener.Close()
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			taken = append(taken, strconv.Itoa(port))
		} else if err != nil {
			return err
		}
	}
	switch len(taken) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("port %s is taken; stop what listens there and try again", taken[0])
	default:
		return fmt.Errorf("ports %s are taken, perhaps by another demo; stop what listens there and try again", strings.Join(taken, ", "))
	}
}

// ownCaddyfile is a Caddyfile with a node for every folder.
func ownCaddyfile(folders []string) (string, error) {
	var nodes, sites strings.Builder
	slugs := make(map[string]bool)
	for i, folder := range folders {
		absolute, err := filepath.Abs(folder)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(absolute); err != nil {
			return "", fmt.Errorf("%s: no such file or folder", folder)
		}
		slug := slugOf(filepath.Base(absolute))
		for n := 2; slugs[slug]; n++ {
			slug = fmt.Sprintf("%s-%d", slugOf(filepath.Base(absolute)), n)
		}
		slugs[slug] = true
		port := firstNodePort + i
		fmt.Fprintf(&nodes, "\t\tnode %s http://127.0.0.1:%d\n", slug, port)
		fmt.Fprintf(&sites, "http://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tfederation_index %s {\n\t\tname %s\n\t\tpath testdata/demo/index\n\t}\n}\n", port, quoted(absolute), slug)
	}
	return fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\thttp_port %d\n\tfederation demo {\n\t\tstore memory\n%s\t}\n}\nhttp://:%d {\n\tfederation_search {\n\t\tserver_timing\n\t}\n}\n%s",
		gatewayPort, nodes.String(), gatewayPort, sites.String()), nil
}

// quoted is a path as one word of a Caddyfile, in which a backslash is itself.
func quoted(path string) string { return `"` + strings.ReplaceAll(path, `"`, `\"`) + `"` }

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

func slugOf(name string) string {
	slug := strings.Trim(notSlug.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if slug == "" || slug == "local" {
		return "docs"
	}
	return slug[:min(len(slug), 60)]
}

// announce says what to try once a search is answered.
func announce(query string) {
	client := &http.Client{Timeout: 3 * time.Second}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	url := fmt.Sprintf("http://localhost:%d/v1/search?q=%s", gatewayPort, query)
	for ctx.Err() == nil {
		time.Sleep(300 * time.Millisecond)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return
		}
		response, err := client.Do(request)
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			break
		}
	}
	fmt.Printf(`
The federation is running. Try, in another terminal:

  curl '%s'
  curl -d '{"query":"%s","limit":3}' http://localhost:%d/v1/search
  curl -d '{"query":"%s"}' http://localhost:%d/api/ai-engine/search

Ctrl-C ends it.

`, url, query, gatewayPort, query, gatewayPort)
}
