package index

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	textencoding "golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// Sizes above which documents are left out, with a line in the log.
const (
	maxFile = 16 << 20 // a file that is one document, or one JSON value
	maxLine = 1 << 20  // a line of JSONL
)

// document is one thing to find.
type document struct {
	ID         string         `json:"id"`
	Title      string         `json:"title,omitempty"`
	Content    string         `json:"content,omitempty"`
	URL        string         `json:"url,omitempty"`
	Collection string         `json:"collection,omitempty"`
	Metadata   jsontext.Value `json:"metadata,omitempty"`
}

// readers reads each kind of file by its ending.
var readers = map[string]func(name string, r io.Reader, yield func(document) error, complain func(line int, err error)) error{
	".jsonl": readLines, ".ndjson": readLines, ".json": readJSON, ".txt": readText, ".text": readText,
	".md": readMarkdown, ".markdown": readMarkdown, ".html": readHTML, ".htm": readHTML,
}

// sourceFiles lists the documents' files below a source, by the name they
// have there. Hidden files and links are left out; the source itself may be a link.
func sourceFiles(source string) (map[string]fs.FileInfo, error) {
	info, err := os.Stat(source)
	if err != nil {
		return nil, err
	}
	files := make(map[string]fs.FileInfo)
	if info.Mode().IsRegular() {
		files[filepath.Base(source)] = info
		return files, nil
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is neither a file nor a folder", source)
	}
	if source, err = filepath.EvalSymlinks(source); err != nil {
		return nil, err
	}
	err = filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && path == source:
			return err
		case err != nil:
			return nil // gone meanwhile, or not ours to read
		case strings.HasPrefix(entry.Name(), ".") && path != source:
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case !entry.Type().IsRegular() || readers[strings.ToLower(filepath.Ext(path))] == nil:
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		name, err := filepath.Rel(source, path)
		if err == nil {
			files[filepath.ToSlash(name)] = info
		}
		return nil
	})
	return files, err
}

// openFile opens a file to read. What has become a pipe or a device since it
// was listed is refused, and not waited for.
func openFile(path string) (fs.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("not a file")}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// readFile yields the documents of one file. An error that is a *[fs.PathError]
// tells of the file and not of what is in it.
func readFile(open func(path string) (fs.File, error), path, name string, yield func(document) error, complain func(line int, err error)) error {
	read := readers[strings.ToLower(filepath.Ext(path))]
	if read == nil {
		return fmt.Errorf("unknown kind of file, expected .jsonl, .json, .txt, .md or .html")
	}
	file, err := open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	// a byte order mark is no text, and tells UTF-16
	return read(name, transform.NewReader(file, textencoding.BOMOverride(transform.Nop)), yield, complain)
}

// readLines reads one JSON object a line. A line that is none is complained
// of and left out.
func readLines(name string, r io.Reader, yield func(document) error, complain func(int, error)) error {
	reader := bufio.NewReaderSize(r, 64<<10)
	for number := 1; ; number++ {
		line, tooLong, err := readLine(reader)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		end := errors.Is(err, io.EOF)
		switch {
		case tooLong:
			complain(number, fmt.Errorf("the line is longer than %d bytes", maxLine))
		case len(bytes.TrimSpace(line)) > 0:
			doc, err := parseObject(line, fmt.Sprintf("%s#%d", name, number))
			if err != nil {
				complain(number, err)
			} else if err := yield(doc); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}

// readLine reads up to the next line's end, and no more of it than is kept.
func readLine(reader *bufio.Reader) (line []byte, tooLong bool, err error) {
	for {
		part, err := reader.ReadSlice('\n')
		if !tooLong {
			line = append(line, part...)
		}
		if len(line) > maxLine {
			line, tooLong = nil, true
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, tooLong, err
		}
	}
}

// readJSON reads a file that is one object, or an array of them.
func readJSON(name string, r io.Reader, yield func(document) error, complain func(int, error)) error {
	body, err := readWhole(r)
	if err != nil {
		return err
	}
	value := jsontext.Value(body)
	if value.Kind() != '[' {
		doc, err := parseObject(body, name)
		if err != nil {
			return err
		}
		return yield(doc)
	}
	var list []jsontext.Value
	if err := fleet.CheckJSON(body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("not valid JSON")
	}
	for i, entry := range list {
		doc, err := parseObject(entry, fmt.Sprintf("%s#%d", name, i+1))
		if err != nil {
			complain(i+1, err)
		} else if err := yield(doc); err != nil {
			return err
		}
	}
	return nil
}

func readWhole(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(body) > maxFile {
		err = fmt.Errorf("the file is larger than %d bytes", maxFile)
	}
	return body, err
}

// parseObject reads one JSON document. Members it does not know are metadata.
func parseObject(body []byte, fallbackID string) (document, error) {
	if err := fleet.CheckJSON(body); err != nil {
		return document{}, err
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil {
		return document{}, errors.New("not a JSON object")
	}
	take := func(names ...string) string {
		for _, name := range names {
			value := members[name]
			switch value.Kind() {
			case '"':
				var said string
				if json.Unmarshal(value, &said) == nil && said != "" {
					delete(members, name)
					return said
				}
			case '0':
				delete(members, name)
				return string(value)
			}
		}
		return ""
	}
	doc := document{
		ID: take("id", "_id"), Title: take("title", "name"), Content: take("text", "content", "body", "abstract"),
		URL: take("url", "link"), Collection: take("collection", "type"),
	}
	if doc.Title == "" && doc.Content == "" {
		return document{}, errors.New("neither title nor text, expected members such as id, title, text, url")
	}
	if doc.ID == "" {
		sum := fnv.New64a()
		_, _ = io.WriteString(sum, fallbackID)
		doc.ID = fmt.Sprintf("%016x", sum.Sum64())
	}
	if len(members) > 0 {
		metadata, err := json.Marshal(members, json.Deterministic(true))
		if err != nil {
			return document{}, errors.New("not a JSON object")
		}
		doc.Metadata = metadata
	}
	return doc, nil
}

func readText(name string, r io.Reader, yield func(document) error, _ func(int, error)) error {
	body, err := readPlain(r)
	if err != nil {
		return err
	}
	title, _, _ := strings.Cut(strings.TrimSpace(body), "\n")
	return yield(fileDocument(name, title, body))
}

// readPlain reads a file that people wrote.
func readPlain(r io.Reader) (string, error) {
	body, err := readWhole(r)
	if err != nil {
		return "", err
	}
	if bytes.IndexByte(body, 0) >= 0 {
		return "", errors.New("the file is not text")
	}
	return strings.ToValidUTF8(string(body), "�"), nil
}

// fileDocument is a document that is a file.
func fileDocument(name, title, content string) document {
	if title = strings.TrimSpace(title); title == "" || len(title) > 200 {
		title = strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
	}
	return document{ID: name, Title: title, Content: strings.TrimSpace(content), URL: name}
}

func readMarkdown(name string, r io.Reader, yield func(document) error, _ func(int, error)) error {
	body, err := readPlain(r)
	if err != nil {
		return err
	}
	source := []byte(body)
	var title string
	var content strings.Builder
	walk := func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			if node.Type() == ast.TypeBlock {
				content.WriteByte('\n')
			}
			return ast.WalkContinue, nil
		}
		switch n := node.(type) {
		case *ast.Heading:
			if title == "" {
				title = string(n.Lines().Value(source))
			}
		case *ast.Text:
			content.Write(n.Segment.Value(source))
			if n.SoftLineBreak() || n.HardLineBreak() {
				content.WriteByte(' ')
			}
		case *ast.String:
			content.Write(n.Value)
		case *ast.CodeBlock, *ast.FencedCodeBlock:
			content.Write(node.Lines().Value(source))
		}
		return ast.WalkContinue, nil
	}
	if err := ast.Walk(goldmark.DefaultParser().Parse(text.NewReader(source)), walk); err != nil {
		return err
	}
	return yield(fileDocument(name, title, content.String()))
}

func readHTML(name string, r io.Reader, yield func(document) error, _ func(int, error)) error {
	body, err := readPlain(r)
	if err != nil {
		return err
	}
	var title string
	var content strings.Builder
	tokens := html.NewTokenizer(strings.NewReader(body))
	tokens.SetMaxBuf(maxFile)
	var inside atom.Atom
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			if err := tokens.Err(); !errors.Is(err, io.EOF) {
				return err
			}
			return yield(fileDocument(name, title, content.String()))
		case html.StartTagToken:
			name, _ := tokens.TagName()
			switch tag := atom.Lookup(name); tag {
			case atom.Script, atom.Style, atom.Title, atom.Template, atom.Noscript:
				inside = tag
			default:
				separate(&content, tag)
			}
		case html.SelfClosingTagToken:
			name, _ := tokens.TagName()
			separate(&content, atom.Lookup(name))
		case html.EndTagToken:
			name, _ := tokens.TagName()
			tag := atom.Lookup(name)
			if tag == inside {
				inside = 0
			}
			separate(&content, tag)
		case html.TextToken:
			switch inside {
			case 0:
				content.Write(tokens.Text())
			case atom.Title:
				title += string(tokens.Text())
			}
		}
	}
}

// separate ends a word where a tag does. The tags of a few letters inside a
// word do not.
func separate(content *strings.Builder, tag atom.Atom) {
	switch tag {
	case atom.A, atom.Abbr, atom.B, atom.Code, atom.Em, atom.Font, atom.I, atom.Mark, atom.S, atom.Small, atom.Span,
		atom.Strong, atom.Sub, atom.Sup, atom.U, atom.Wbr:
	default:
		content.WriteByte(' ')
	}
}

// excerpt cuts a text at a word's end, at most limit bytes.
func excerpt(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	if space := strings.LastIndexFunc(text[:cut], unicode.IsSpace); space > cut/2 {
		cut = space
	}
	return strings.TrimRightFunc(text[:cut], unicode.IsSpace) + "…"
}
