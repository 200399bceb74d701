package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func TestAByteOrderMarkIsNoText(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "bom.jsonl", "\ufeff"+`{"id":"b1","title":"Kettle"}`+"\r\n"+`{"id":"b2","title":"Spoon"}`+"\r\n")
	put(t, folder, "bom.json", "\ufeff"+`{"id":"b3","title":"Ladle"}`)
	put(t, folder, "bom.txt", "\ufeffSaucer\r\nbelow a cup\r\n")
	put(t, folder, "bom.html", "\ufeff<title>Whisk</title><p>beats eggs")
	// as Windows' Notepad saves it when asked for Unicode
	put(t, folder, "utf16.txt", "\xff\xfeK\x00\xe4\x00s\x00e\x00\n\x00C\x00h\x00e\x00e\x00s\x00e\x00")
	put(t, folder, "empty.txt", "")
	put(t, folder, "empty.jsonl", "")
	o := openTest(t, t.TempDir(), false, folder)
	defer o.close()
	for text, ids := range map[string]string{
		"kettle": "[b1]", "spoon": "[b2]", "ladle": "[b3]", "saucer": "[bom.txt]", "egg": "[bom.html]", "käse": "[utf16.txt]", "empty": "[empty.txt]",
	} {
		if got := fmt.Sprint(o.find(text)); got != ids {
			t.Errorf("%s: found %s, expected %s", text, got, ids)
		}
	}
	if complaints := o.logs.FilterLevelExact(zapcore.WarnLevel).All(); len(complaints) > 0 {
		t.Errorf("complained: %v", complaints)
	}
}

func TestWordsOfHTMLEndWhereABlockDoes(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "a.html", `<h1>Tea<h2>Cups</h2><ul><li>kettle<li>spoon</ul>salt<br>pepper<br/>sugar<hr>to<b>mato</b><td>rice<td>corn<p`)
	o := openTest(t, t.TempDir(), false, folder)
	defer o.close()
	for _, word := range []string{"tea", "cups", "kettle", "spoon", "salt", "pepper", "sugar", "tomato", "rice", "corn"} {
		if got := fmt.Sprint(o.find(word)); got != "[a.html]" {
			t.Errorf("%s: found %s", word, got)
		}
	}
}

func TestASourceMayBeALinkAndNoPipe(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "release-7/a.txt", "tea")
	put(t, folder, "release-7/sub/b.txt", "tea")
	// loops lead nowhere
	for link, target := range map[string]string{"current": "release-7", "release-7/loop": "..", "self": "self"} {
		if err := os.Symlink(target, filepath.Join(folder, link)); err != nil {
			t.Fatal(err)
		}
	}
	o := openTest(t, t.TempDir(), true, filepath.Join(folder, "current"))
	if got := fmt.Sprint(o.find("tea")); got != "[a.txt sub/b.txt]" {
		t.Errorf("found %s", got)
	}
	put(t, folder, "release-8/a.txt", "coffee")
	// as a deployment switches
	if err := os.Symlink("release-8", filepath.Join(folder, "next")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(folder, "next"), filepath.Join(folder, "current")); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for fmt.Sprint(o.find("coffee"), o.find("tea")) != "[a.txt] []" {
		if time.Now().After(deadline) {
			t.Fatalf("found %v and %v", o.find("coffee"), o.find("tea"))
		}
		o.wait()
	}
	o.close()

	pipe := filepath.Join(folder, "pipe.jsonl")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{pipe, filepath.Join(folder, "self"), filepath.Join(folder, "missing"), "/dev/null"} {
		o := openTest(t, t.TempDir(), false, source) // and does not wait for a writer
		if o.describe().Error == "" {
			t.Errorf("%s: nothing is said", source)
		}
		o.close()
	}
	// a file that is a pipe by the time it is opened
	if _, err := openFile(pipe); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("error is %v", err)
	}
}

// broken is a file that ends with an error after its first line.
type broken struct {
	fs.File
	read bool
}

func (b *broken) Read(p []byte) (int, error) {
	if b.read {
		return 0, &fs.PathError{Op: "read", Path: "b.jsonl", Err: syscall.EIO}
	}
	b.read = true
	return copy(p, `{"id":"1","title":"tea"}`+"\n"), nil
}

func TestAFileThatCannotBeReadStaysAsItWas(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "a.txt", "tea")
	put(t, folder, "b.jsonl", `{"id":"1","title":"tea","collection":"x"}`+"\n"+`{"id":"2","title":"tea leaves","collection":"y"}`+"\n")
	core, logs := observer.New(zapcore.InfoLevel)
	data := t.TempDir()
	index, err := openFolder(data, "en", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	l := newLive(index, data, "en", []string{folder}, zap.New(core))
	o := &opened{t, l, logs}
	defer func() { _ = l.closeIndex() }()
	pass := func(found string) {
		t.Helper()
		l.pass(t.Context())
		if got := fmt.Sprint(o.find("tea")); got != found {
			t.Errorf("found %s, expected %s", got, found)
		}
	}
	pass("[a.txt 1 2]")
	counted := *l.lengths.Load()

	later := time.Now().Add(time.Hour)
	for _, name := range []string{"a.txt", "b.jsonl"} {
		if err := os.Chtimes(filepath.Join(folder, name), later, later); err != nil {
			t.Fatal(err)
		}
	}
	l.open = func(path string) (fs.File, error) {
		if strings.HasSuffix(path, "a.txt") {
			return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.EACCES}
		}
		return &broken{File: must(os.Open(path))}, nil
	}
	pass("[a.txt 1 2]")
	pass("[a.txt 1 2]")
	if got := *l.lengths.Load(); got.Documents != counted.Documents {
		t.Errorf("counted %+v, before %+v", got, counted)
	}
	if got := fmt.Sprint(l.describe().Collections); got != "[{x x} {y y}]" {
		t.Errorf("collections are %s", got)
	}
	if n := logs.FilterMessage("file cannot be read and stays as it was indexed").Len(); n != 2 {
		t.Errorf("complained %d times", n)
	}
	put(t, folder, "b.jsonl", `{"id":"1","title":"tea"}`)
	if err := os.Chtimes(filepath.Join(folder, "b.jsonl"), later, later); err != nil {
		t.Fatal(err)
	}
	l.open = openFile // it can be read again, and nothing but that has changed
	pass("[a.txt 1]")
	if got := *l.lengths.Load(); got.Documents != 2 {
		t.Errorf("counted %+v", got)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestAnIndexIsOpenInOneProcess(t *testing.T) {
	folder, data := t.TempDir(), t.TempDir()
	put(t, folder, "a.txt", "tea")
	o := openTest(t, data, false, folder)
	_, err := open(data, []string{folder}, "en", false, zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "open in another process") {
		t.Errorf("error is %v", err)
	}
	if got := fmt.Sprint(o.find("tea")); got != "[a.txt]" {
		t.Errorf("found %s", got)
	}
	o.close()
	// the folder cannot be made
	blocked := filepath.Join(folder, "a.txt", "below")
	if _, err := open(blocked, []string{folder}, "en", false, zap.NewNop()); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

// TestAnIndexThatCannotBeWrittenIsRenewed takes the disk away from below it.
func TestAnIndexThatCannotBeWrittenIsRenewed(t *testing.T) {
	folder, data := t.TempDir(), filepath.Join(t.TempDir(), "index")
	put(t, folder, "a.txt", "tea")
	core, logs := observer.New(zapcore.WarnLevel)
	index, err := openFolder(data, "en", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	l := newLive(index, data, "en", []string{folder}, zap.New(core))
	defer func() { _ = l.closeIndex() }()
	o := &opened{t, l, logs}
	l.pass(t.Context())
	if got := fmt.Sprint(o.find("tea")); got != "[a.txt]" {
		t.Fatalf("found %s", got)
	}
	// a file where the folder was: nothing can be written, nor made anew
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Dir(data), "index", "something else")
	for i := range 3 {
		put(t, folder, fmt.Sprintf("b%d.txt", i), "tea")
		l.pass(t.Context())
		if l.describe().Error == "" {
			t.Error("nothing is said")
		}
		// it may find nothing, but it answers
		_, _ = l.search(t.Context(), &fleet.SearchQuery{Text: "tea", Limit: 1})
	}
	if n := logs.FilterMessage("documents cannot be indexed").Len(); n != 1 {
		t.Errorf("said %d times that documents cannot be indexed", n)
	}
	if err := os.Remove(data); err != nil {
		t.Fatal(err)
	}
	l.pass(t.Context())
	if got := fmt.Sprint(o.find("tea")); got != "[a.txt b0.txt b1.txt b2.txt]" || l.describe().Error != "" {
		t.Errorf("found %s, state %+v", got, l.describe())
	}
	if _, err := os.Stat(filepath.Join(data, "probe")); err == nil {
		t.Error("the probe is still there")
	}
}
