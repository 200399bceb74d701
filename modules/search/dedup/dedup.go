// Package dedup finds the hits of a search that are the same document: pure
// functions over texts, without a server.
package dedup

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strings"
)

// Document is what identifies a hit. Empty members identify nothing.
type Document struct {
	// URL where the document lives. Only absolute ones identify it: a
	// relative one means something else at every node.
	URL []byte
	// Content is the exact text.
	Content []byte
}

// Exact groups documents that are the same: by canonical URL (see
// [AppendCanonicalURL]) or by exact content. It returns the group of each document,
// numbered from 0 in order of first appearance, and how many groups there are.
// Being the same is transitive: one copy without URL joins two with.
func Exact(documents []Document) (groups []int, count int) {
	parent := make([]int, len(documents))
	for i := range parent {
		parent[i] = i
	}
	size := 0
	for _, d := range documents {
		size += len(d.URL) + 1
	}
	memory := make([]byte, 0, size) // of all canonical URLs
	urls := newIndex(len(documents))
	contents := newIndex(len(documents))
	for i, d := range documents {
		start := len(memory)
		memory = AppendCanonicalURL(memory, d.URL)
		if key := memory[start:len(memory):len(memory)]; len(key) > 0 {
			if first, ok := urls.find(key, i); ok {
				join(parent, first, i)
			}
		}
		if len(d.Content) > 0 {
			if first, ok := contents.find(d.Content, i); ok {
				join(parent, first, i)
			}
		}
	}
	groups = parent
	number := make([]int, len(documents))
	for i := range groups {
		if root := find(parent, i); root == i {
			number[i] = count
			count++
		} else {
			number[i] = number[root]
		}
	}
	copy(groups, number)
	return groups, count
}

// find returns the first document of i's group.
func find(parent []int, i int) int {
	for parent[i] != i {
		parent[i] = parent[parent[i]]
		i = parent[i]
	}
	return i
}

func join(parent []int, a, b int) {
	a, b = find(parent, a), find(parent, b)
	parent[max(a, b)] = min(a, b)
}

// index finds equal texts without copying them: an open-addressing hash table
// of document numbers. The seed is of this process, so nobody outside can aim
// texts at one slot.
type index struct {
	slots []int32 // document + 1; 0 is free
	texts [][]byte
}

var seed = maphash.MakeSeed()

func newIndex(n int) index {
	size := 1
	for size < 2*n {
		size *= 2
	}
	return index{slots: make([]int32, size), texts: make([][]byte, n)}
}

// find returns the document that had the text first; else it is i from now on.
func (x *index) find(text []byte, i int) (first int, ok bool) {
	mask := uint64(len(x.slots) - 1)
	for at := maphash.Bytes(seed, text) & mask; ; at = (at + 1) & mask {
		switch owner := int(x.slots[at]) - 1; {
		case owner < 0:
			x.slots[at], x.texts[i] = int32(i+1), text
			return 0, false
		case bytes.Equal(x.texts[owner], text):
			return owner, true
		}
	}
}

// tracking are the query parameters that say how a visitor came, not where.
var tracking = []string{"fbclid", "gclid", "dclid", "msclkid", "igshid", "mc_cid", "mc_eid", "yclid", "_ga"}

// AppendCanonicalURL appends the text two URLs of one document share: host in lower
// case, no scheme, default port, fragment, tracking parameters or trailing
// slash, and the query's parameters sorted. A URL without scheme and host has
// none. Other schemes than http and https are compared as they are.
func AppendCanonicalURL(canonical, url []byte) []byte {
	scheme, rest, ok := bytes.Cut(url, []byte("://"))
	if !ok || len(scheme) == 0 || len(rest) == 0 || bytes.ContainsAny(scheme, "/?#") {
		return canonical
	}
	var port string
	switch {
	case bytes.EqualFold(scheme, []byte("https")):
		port = ":443"
	case bytes.EqualFold(scheme, []byte("http")):
		port = ":80"
	default:
		return append(canonical, url...)
	}
	rest, _, _ = bytes.Cut(rest, []byte("#"))
	rest, query, _ := bytes.Cut(rest, []byte("?"))
	host, path := rest, []byte(nil)
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	host = bytes.TrimSuffix(host, []byte(port))
	if len(host) == 0 {
		return canonical
	}
	for _, c := range host {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		canonical = append(canonical, c)
	}
	canonical = append(canonical, bytes.TrimRight(path, "/")...)
	if parameters := wanted(query); len(parameters) > 0 {
		canonical = append(canonical, '?')
		canonical = append(canonical, strings.Join(parameters, "&")...)
	}
	return canonical
}

// wanted returns the parameters of a query that tell documents apart, sorted.
func wanted(query []byte) []string {
	if len(query) == 0 {
		return nil
	}
	var parameters []string
	for p := range strings.SplitSeq(string(query), "&") {
		name, _, _ := strings.Cut(p, "=")
		name = strings.ToLower(name)
		if name != "" && !strings.HasPrefix(name, "utm_") && !slices.Contains(tracking, name) {
			parameters = append(parameters, p)
		}
	}
	slices.Sort(parameters)
	return parameters
}
