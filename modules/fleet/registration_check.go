package fleet

import (
	"encoding/json"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sizes of what a node may say of itself.
const (
	maxNodeName     = 255
	maxDescription  = 4000
	maxWords        = 500
	maxWordLength   = 255
	maxNodeMetadata = 16 << 10
	minOwnerProof   = 16
	maxOwnerProof   = 256
)

// Privileged tells whether a capability is one that only an operator gives,
// because it is over other nodes and over tokens.
func Privileged(capability string) bool {
	capability = strings.ToLower(capability)
	return capability == "tokens" || strings.Contains(capability, ":")
}

// normalize checks the registration and fills in its defaults.
func (r *Registration) normalize() (*url.URL, error) {
	r.Name = strings.TrimSpace(r.Name)
	if n := utf8.RuneCountInString(r.Name); n == 0 || n > maxNodeName || !utf8.ValidString(r.Name) || strings.ContainsFunc(r.Name, unicode.IsControl) {
		return nil, invalidNode("name", "expected 1 to %d characters, none of them a control character", maxNodeName)
	}
	if r.Slug == "" {
		if r.Slug = SlugOf(r.Name); len(r.Slug) > 64 {
			r.Slug = strings.Trim(r.Slug[:64], "-")
		}
		if !ValidSlug(r.Slug) {
			return nil, invalidNode("slug", "no slug can be made of the name; give one of a-z, 0-9 and hyphens")
		}
	}
	if !ValidSlug(r.Slug) {
		return nil, invalidNode("slug", "expected 1 to 64 characters of a-z, 0-9 and single hyphens inside, and not %q", LocalSlug)
	}
	if r.URL == "" {
		return nil, invalidNode("url", "the url is missing")
	}
	if len(r.URL) > 2048 || strings.ContainsAny(r.URL, "{}") {
		return nil, invalidNode("url", "expected at most 2048 characters without braces")
	}
	u, err := parseNodeURL(r.URL)
	if err != nil {
		return nil, invalidNode("url", "%s", err.Error())
	}
	switch r.Type {
	case "", TypeChild, TypeMaster:
	default:
		return nil, invalidNode("type", "expected child or master")
	}
	switch r.Dialect {
	case "", "auto", "laravel", "gateway":
	default:
		return nil, invalidNode("dialect", "expected auto, laravel or gateway; an operator can set others")
	}
	if utf8.RuneCountInString(r.Description) > maxDescription || !utf8.ValidString(r.Description) || strings.ContainsFunc(r.Description, steers) {
		return nil, invalidNode("description", "expected at most %d characters, of the control characters only line feeds and tabs", maxDescription)
	}
	if len(r.Version) > maxWordLength || !utf8.ValidString(r.Version) || strings.ContainsFunc(r.Version, unicode.IsControl) {
		return nil, invalidNode("version", "expected at most %d bytes without control characters", maxWordLength)
	}
	if len(r.Metadata) > maxNodeMetadata || len(r.Metadata) > 0 && r.Metadata[0] != '{' {
		return nil, invalidNode("metadata", "expected an object of at most %d bytes", maxNodeMetadata)
	}
	if n := len(r.OwnerProof); n != 0 && (n < minOwnerProof || n > maxOwnerProof) {
		return nil, invalidNode("owner_proof", "expected %d to %d bytes", minOwnerProof, maxOwnerProof)
	}
	for _, c := range r.Capabilities {
		if Privileged(c) {
			return nil, &NodeError{CodeNotPermitted, "capabilities", "a node cannot give itself " + clipWord(c) + "; an operator can"}
		}
	}
	return u, r.checkWords()
}

// steers tells whether a character of a text could steer a terminal.
func steers(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t' }

func (r *Registration) checkWords() error {
	var names []string
	for _, c := range r.Collections {
		names = append(names, c.Name, c.Class)
	}
	for field, words := range map[string][]string{
		"capabilities": r.Capabilities, "domains": r.Domains, "keywords": r.Keywords, "data_types": r.DataTypes, "collections": names,
	} {
		if len(words) > 2*maxWords || field != "collections" && len(words) > maxWords {
			return invalidNode(field, "expected at most %d entries", maxWords)
		}
		for _, word := range words {
			if len(word) > maxWordLength || !utf8.ValidString(word) || strings.ContainsFunc(word, unicode.IsControl) {
				return invalidNode(field, "an entry is longer than %d bytes, no valid UTF-8 or has a control character", maxWordLength)
			}
			if field == "capabilities" && strings.ContainsAny(word, "*, ") {
				return invalidNode(field, "an entry has a space, comma or asterisk, which no capability has")
			}
		}
	}
	return nil
}

func clipWord(word string) string {
	if len(word) > 64 {
		return strings.ToValidUTF8(word[:64], "") + "…"
	}
	return word
}

// Config is the registration as an operator's settings. The error is a [NodeError].
func (r *Registration) Config() (NodeConfig, error) {
	if _, err := r.normalize(); err != nil {
		return NodeConfig{}, err
	}
	c := NodeConfig{
		Slug: r.Slug, URL: r.URL, Name: r.Name, Type: r.Type, Capabilities: r.Capabilities, Description: r.Description,
		Domains: r.Domains, Keywords: r.Keywords, DataTypes: r.DataTypes, Collections: r.Collections,
	}
	if r.Dialect != "" && r.Dialect != "auto" {
		c.DialectRaw = json.RawMessage(`{"dialect":"` + r.Dialect + `"}`)
	}
	return c, nil
}
