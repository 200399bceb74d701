package command

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-federation/caddy-federation/modules/admin"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func tokenCommand(o *options) *cobra.Command {
	return group("token", "Issues, revokes and explains tokens and API keys",
		tokenIssue(o), tokenLs(o), tokenRevoke(o), tokenInspect(o))
}

func tokenIssue(o *options) *cobra.Command {
	var apiKey bool
	var client string
	var capabilities []string
	var expires time.Duration
	cmd := leaf(o, "issue [node]", "Gives a node tokens or an API key, or a client an API key", cobra.MaximumNArgs(1),
		func(ctx context.Context, s *session, args []string) error {
			switch {
			case (len(args) == 1) == (client != ""):
				return usage("name a node, or a client with --client")
			case client == "" && (len(capabilities) > 0 || expires != 0):
				return usage("--capabilities and --expires are for a --client: a node has those that the registry gives it")
			case client != "" && len(capabilities) == 0:
				return usage("a client needs --capabilities, such as search,actions")
			case expires < 0:
				return usage("--expires %s is in the past", expires)
			case client != "":
				body := map[string]any{"name": client, "capabilities": capabilities}
				if expires > 0 {
					body["expires"] = time.Now().Add(expires).UTC().Format(time.RFC3339)
				}
				return s.newKey(ctx, "keys", body)
			case apiKey:
				return s.newKey(ctx, "nodes/"+url.PathEscape(args[0])+"/api-key", nil)
			}
			var tokens admin.Tokens
			if err := s.call(ctx, http.MethodPost, "tokens", nil, map[string]string{"node": args[0]}, &tokens); err != nil {
				return err
			}
			if s.json {
				return s.printJSON(tokens)
			}
			t := s.table()
			t.raw("access_token", tokens.AccessToken)
			t.raw("refresh_token", tokens.RefreshToken)
			t.raw("expires_in", (time.Duration(tokens.ExpiresIn) * time.Second).String())
			s.say("These tokens of node %s are shown this once.", plain(tokens.Node))
			return t.flush()
		})
	cmd.Flags().BoolVar(&apiKey, "api-key", false, "an API key instead of tokens")
	cmd.Flags().StringVar(&client, "client", "", "the name of a client that is no node")
	cmd.Flags().StringSliceVar(&capabilities, "capabilities", nil, "what the client may do")
	cmd.Flags().DurationVar(&expires, "expires", 0, "how long the client's key is good (default: until it is revoked)")
	return cmd
}

func (s *session) newKey(ctx context.Context, path string, body any) error {
	var key admin.NewKey
	if err := s.call(ctx, http.MethodPost, path, nil, body, &key); err != nil {
		return err
	}
	if s.json {
		return s.printJSON(key)
	}
	t := s.table()
	t.raw("api_key", key.APIKey)
	t.raw("id", key.ID)
	s.say("This API key of %s is shown this once.", plain(key.Name))
	return t.flush()
}

func tokenLs(o *options) *cobra.Command {
	return leaf(o, "ls [node]", "Lists API keys, without the keys themselves", cobra.MaximumNArgs(1),
		func(ctx context.Context, s *session, args []string) error {
			query := url.Values{}
			if len(args) == 1 {
				query.Set("node", args[0])
			}
			var list admin.KeyList
			if err := s.call(ctx, http.MethodGet, "keys", query, nil, &list); err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("ID", "OF", "CAPABILITIES", "CREATED", "EXPIRES", "FROM")
			for _, key := range list.Keys {
				of, may, from, expires := "node "+key.Node, "", "here", ""
				if key.Node == "" {
					of, may = "client "+key.Name, strings.Join(key.Capabilities, ",")
				}
				if key.Imported {
					from = "imported"
				}
				if !key.Expires.IsZero() {
					expires = key.Expires.UTC().Format(time.RFC3339)
				}
				t.row(shadeNone, key.ID, of, may, key.Created.UTC().Format(time.RFC3339), expires, from)
			}
			return t.flush()
		})
}

func tokenRevoke(o *options) *cobra.Command {
	var node, key string
	cmd := leaf(o, "revoke [token]", "Ends a token, an API key, or everything that a node was given", cobra.MaximumNArgs(1),
		func(ctx context.Context, s *session, args []string) error {
			switch {
			case node != "" && key != "", (node != "" || key != "") && len(args) > 0:
				return usage("name one of a token, --node and --key")
			case node != "":
				if err := s.call(ctx, http.MethodPost, "nodes/"+url.PathEscape(node)+"/revoke", nil, nil, nil); err != nil {
					return err
				}
				s.say("Everything that node %s was given is dead.", plain(node))
				return nil
			case key != "":
				if err := s.call(ctx, http.MethodDelete, "keys/"+url.PathEscape(key), nil, nil, nil); err != nil {
					return err
				}
				s.say("API key %s is dead.", plain(key))
				return nil
			}
			token, err := s.shownToken(args)
			if err != nil {
				return err
			}
			if err := s.call(ctx, http.MethodPost, "tokens/revoke", nil, map[string]string{"token": token}, nil); err != nil {
				return err
			}
			s.say("If it was good, the token is dead.")
			return nil
		})
	cmd.Long = "Ends a token, an API key, or everything that a node was given. The token is\nread from the argument, or from stdin, which keeps it out of the process list."
	cmd.Flags().StringVar(&node, "node", "", "everything that this node was given")
	cmd.Flags().StringVar(&key, "key", "", "the API key with this id")
	return cmd
}

func tokenInspect(o *options) *cobra.Command {
	cmd := leaf(o, "inspect [token]", "Says in words whether a token would be taken, and why not", cobra.MaximumNArgs(1),
		func(ctx context.Context, s *session, args []string) error {
			token, err := s.shownToken(args)
			if err != nil {
				return err
			}
			var seen fleet.Inspection
			if err := s.call(ctx, http.MethodPost, "tokens/inspect", nil, map[string]string{"token": token}, &seen); err != nil {
				return err
			}
			if err := s.printInspection(seen); err != nil {
				return err
			}
			if !seen.Accepted && !seen.Compatible {
				return &failure{code: exitUnauthorised}
			}
			return nil
		})
	cmd.Long = `Says in words whether a token, API key or shared secret would be taken here, and
why not. The exit code is 7 when it would be refused. It is read from the
argument, or from stdin, which keeps it out of the process list.`
	return cmd
}

func (s *session) printInspection(seen fleet.Inspection) error {
	if s.json {
		return s.printJSON(seen)
	}
	kind := map[string]string{"jwt": "access token", "api_key": "API key", "refresh_token": "refresh token", "shared_secret": "shared secret"}[seen.Kind]
	if kind == "" {
		kind = "no credential of a known kind"
	}
	verdict := shadeGood
	if !seen.Accepted {
		verdict = shadeWarn
	}
	if !seen.Accepted && !seen.Compatible {
		verdict = shadeBad
	}
	lines := []string{s.shaded(plain(seen.Verdict), verdict), "kind: " + kind}
	if len(seen.Header) > 0 {
		lines = append(lines, "header: "+plain(string(seen.Header)))
	}
	if len(seen.Claims) > 0 {
		lines = append(lines, "claims: "+plain(string(seen.Claims)))
	}
	if _, err := io.WriteString(s.out, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	if len(seen.Checks) == 0 {
		return nil
	}
	t := s.table("CHECK", "", "WHY")
	for _, check := range seen.Checks {
		if check.OK {
			t.row(shadeNone, check.Name, "ok", "")
		} else {
			t.row(shadeBad, check.Name, "refused", check.Detail)
		}
	}
	return t.flush()
}

// maxToken is the longest token that is read from stdin.
const maxToken = 1 << 20

// shownToken takes the token from the argument, else from stdin.
func (s *session) shownToken(args []string) (string, error) {
	if len(args) == 1 && args[0] != "-" {
		return args[0], nil
	}
	in := s.cmd.InOrStdin()
	if file, isFile := in.(*os.File); isFile && len(args) == 0 && term.IsTerminal(int(file.Fd())) {
		return "", usage("name the token, or write it to stdin")
	}
	text, err := io.ReadAll(io.LimitReader(in, maxToken))
	if err != nil {
		return "", &failure{exitUsage, errors.New("stdin cannot be read")}
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", usage("no token came from stdin")
	}
	return token, nil
}
