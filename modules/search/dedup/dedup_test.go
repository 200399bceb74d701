package dedup

import (
	"fmt"
	"testing"
)

func TestExact(t *testing.T) {
	doc := func(url, content string) Document { return Document{[]byte(url), []byte(content)} }
	for _, c := range []struct {
		name      string
		documents []Document
		groups    []int
	}{
		{"nothing", nil, nil},
		{"by URL", []Document{doc("https://a.example/x", "1"), doc("http://A.example:80/x/?utm_source=y#z", "2"), doc("https://a.example/y", "3")}, []int{0, 0, 1}},
		{"by content", []Document{doc("", "same"), doc("", "other"), doc("", "same")}, []int{0, 1, 0}},
		{"the empty content is no content", []Document{doc("", ""), doc("", "")}, []int{0, 1}},
		{"a chain", []Document{doc("https://a.example/1", "x"), doc("https://b.example/2", "y"), doc("https://a.example/1", "y")}, []int{0, 0, 0}},
		{"relative URLs", []Document{doc("/x", "1"), doc("/x", "2")}, []int{0, 1}},
	} {
		groups, count := Exact(c.documents)
		distinct := make(map[int]bool)
		for _, g := range groups {
			distinct[g] = true
		}
		if fmt.Sprint(groups) != fmt.Sprint(c.groups) || count != len(distinct) {
			t.Errorf("%s: groups %v (%d), expected %v", c.name, groups, count, c.groups)
		}
	}
}

func TestCanonicalURL(t *testing.T) {
	for _, c := range [][2]string{
		{"https://Docs.Example/A/b/", "docs.example/A/b"},
		{"http://docs.example:80/", "docs.example"},
		{"https://docs.example:443?b=2&a=1", "docs.example?a=1&b=2"},
		{"https://docs.example:8443/x", "docs.example:8443/x"},
		{"https://docs.example/x?utm_source=a&gclid=b&q=1#top", "docs.example/x?q=1"},
		{"HTTPS://docs.example/x?UTM_medium=a", "docs.example/x"},
		{"app://shop/17", "app://shop/17"},
		{"/relative", ""}, {"", ""}, {"://x", ""}, {"https://", ""}, {"https:///path", ""}, {"docs.example/x", ""},
		{"/search?u=https://a.example", ""},
	} {
		if got := string(AppendCanonicalURL(nil, []byte(c[0]))); got != c[1] {
			t.Errorf("%s: %q, expected %q", c[0], got, c[1])
		}
	}
}

func FuzzCanonicalURL(f *testing.F) {
	f.Add([]byte("https://a.example/?b=1&a"))
	f.Fuzz(func(t *testing.T, url []byte) {
		once := AppendCanonicalURL(nil, url)
		if len(once) > len(url)+1 {
			t.Errorf("%q grew to %q", url, once)
		}
	})
}
