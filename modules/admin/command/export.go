package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
)

func nodesExport(o *options) *cobra.Command {
	var all bool
	cmd := leaf(o, "export", "Writes the registered nodes as a file that plan, apply and import read", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			query := url.Values{}
			if all {
				query.Set("all", "true")
			}
			var file struct {
				Nodes []json.RawMessage `json:"nodes"`
			}
			if err := s.call(ctx, http.MethodGet, "export", query, nil, &file); err != nil {
				return err
			}
			s.say("Credentials, keys, header_up and transport are not exported: they can hold secrets.")
			return s.printFile(file.Nodes)
		})
	cmd.Flags().BoolVar(&all, "all", false, "those of the Caddyfile too")
	return cmd
}

// printFile writes a registry file with one member of a node on each line. What
// is in the member is not indented: nodes say what is nested how deep, and a
// line would be as long as that for each value.
func (s *session) printFile(nodes []json.RawMessage) error {
	var b bytes.Buffer
	b.WriteString("{\n  \"nodes\": [")
	for i, node := range nodes {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n    {")
		if err := writeMembers(&b, node); err != nil {
			return &failure{exitUnreachable, fmt.Errorf("the admin endpoint's answer is not a registry file")}
		}
		b.WriteString("\n    }")
	}
	if len(nodes) > 0 {
		b.WriteString("\n  ")
	}
	b.WriteString("]\n}\n")
	_, err := io.WriteString(s.out, escaped(b.String()))
	return err
}

// writeMembers writes the members of an object, each on its line.
func writeMembers(b *bytes.Buffer, object []byte) error {
	read := jsontext.NewDecoder(bytes.NewReader(object))
	if start, err := read.ReadToken(); err != nil || start.Kind() != jsontext.KindBeginObject {
		return fmt.Errorf("not an object")
	}
	for separator := "\n      "; read.PeekKind() == jsontext.KindString; separator = ",\n      " {
		name, err := read.ReadValue()
		if err != nil {
			return err
		}
		b.WriteString(separator)
		b.Write(name)
		b.WriteString(": ")
		value, err := read.ReadValue()
		if err != nil {
			return err
		}
		if err := value.Compact(); err != nil {
			return err
		}
		b.Write(value)
	}
	_, err := read.ReadToken()
	return err
}
