// Command build makes the Caddy that xcaddy.json at the root describes.
//
//	go run ./build [<output file>]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/caddyserver/xcaddy"
)

func main() {
	output := "../bin/caddy"
	if len(os.Args) > 1 {
		output = os.Args[1]
	}
	if err := build("../xcaddy.json", output); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// build reads the manifest, a serialised xcaddy.Builder, and runs it.
// Replacements in it are relative to the manifest, because that is the only
// place they can be relative to on every machine.
func build(manifest, output string) error {
	text, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	var builder xcaddy.Builder
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&builder); err != nil {
		return fmt.Errorf("%s: %w", manifest, err)
	}
	for i, replace := range builder.Replacements {
		path, err := filepath.Abs(filepath.Join(filepath.Dir(manifest), string(replace.New)))
		if err != nil {
			return err
		}
		builder.Replacements[i].New = xcaddy.ReplacementPath(path)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	return builder.Build(ctx, output)
}
