// Package importing moves the registry of an old fleet over: it reads the old
// registry file or rows of the old table ai_nodes, turns them into settings of
// this gateway's nodes, and plans what has to change. It reads text and
// returns values; it opens no file and no connection, and runs nothing.
package importing

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Format is how rows are written.
type Format string

// The formats. FormatAuto goes by the file's name and its first characters.
const (
	FormatAuto Format = "auto"
	FormatJSON Format = "json"
	FormatCSV  Format = "csv"
	FormatSQL  Format = "sql"
)

// What is read at most. A fleet has hundreds of nodes; a file beyond these
// limits is not one.
const (
	// MaxSize is the largest input, in bytes.
	MaxSize = 64 << 20
	// MaxRows is how many rows are read.
	MaxRows = 10_000
	// MaxValue is the longest single value, in bytes.
	MaxValue = 1 << 20
	// MaxColumns is how many columns or members a row can have.
	MaxColumns = 256
)

// DefaultTable is the old fleet's table of nodes.
const DefaultTable = "ai_nodes"

// Options of [Read].
type Options struct {
	// Format. Default: FormatAuto.
	Format Format
	// Table is the table to read from a SQL dump, without its schema.
	// Default: ai_nodes.
	Table string
}

// Row is one record as it was found.
type Row struct {
	// Position names the row: its index from 0, or its key when the rows are
	// in a map.
	Position string
	// Keyed says that Position is a key, which stands for a missing slug.
	Keyed bool
	// Fields are by the old column's name: nil, bool, json.Number, string,
	// []any or map[string]any. It is nil when the record is no row.
	Fields map[string]any
	// Table is set for rows of a table: a CSV file or an SQL dump.
	Table bool
}

// Source is what was read.
type Source struct {
	Format Format
	Rows   []Row
}

// ErrPHP is the answer to a PHP config: it would have to be run.
var ErrPHP = errors.New("this is a PHP file, which is never executed here; let the old application write it as JSON: " +
	`php -r 'echo json_encode(require "config/ai-engine-nodes.php");' > nodes.json`)

// Read reads rows. The name of the file helps to tell the format and may be
// empty. An error names what was expected and where.
func Read(name string, data []byte, options Options) (*Source, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("the input has more than %d MiB: export the table %s alone", MaxSize>>20, DefaultTable)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	extension := strings.ToLower(filepath.Ext(name))
	trimmed := bytes.TrimSpace(data)
	switch {
	case strings.HasPrefix(extension, ".php"), bytes.HasPrefix(trimmed, []byte("<?")):
		return nil, ErrPHP
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return nil, errors.New("the input is UTF-16: save it as UTF-8")
	case bytes.HasPrefix(data, []byte("SQLite format 3\x00")):
		return nil, errors.New("this is a SQLite database: write it as SQL with `sqlite3 database.sqlite '.dump ai_nodes'`")
	case bytes.HasPrefix(data, []byte("PGDMP")):
		return nil, errors.New("this is a binary dump of PostgreSQL: write it as SQL with `pg_dump --data-only --inserts --table ai_nodes`")
	case bytes.HasPrefix(data, []byte("\x1f\x8b")):
		return nil, errors.New("the input is compressed: unpack it first")
	case len(trimmed) == 0:
		return nil, errors.New("the input is empty")
	case !utf8.Valid(data):
		return nil, errors.New("the input is not UTF-8")
	}
	format := options.Format
	if format == "" || format == FormatAuto {
		format = detect(extension, trimmed)
	}
	var rows []Row
	var err error
	switch format {
	case FormatJSON:
		rows, err = readJSON(trimmed)
	case FormatCSV:
		rows, err = readCSV(data)
	case FormatSQL:
		table := options.Table
		if table == "" {
			table = DefaultTable
		}
		rows, err = readSQL(string(data), table)
	default:
		return nil, fmt.Errorf("unknown format %q, expected auto, json, csv or sql", format)
	}
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i].Table = format != FormatJSON
	}
	return &Source{Format: format, Rows: rows}, nil
}

// detect goes by the extension, and where it says nothing by the text.
func detect(extension string, trimmed []byte) Format {
	switch extension {
	case ".json", ".jsonl", ".ndjson":
		return FormatJSON
	case ".csv", ".tsv":
		return FormatCSV
	case ".sql", ".dump":
		return FormatSQL
	}
	if trimmed[0] == '{' || trimmed[0] == '[' {
		return FormatJSON
	}
	if looksLikeSQL(trimmed) {
		return FormatSQL
	}
	return FormatCSV
}

// looksLikeSQL goes by the first line.
func looksLikeSQL(trimmed []byte) bool {
	line, _, _ := bytes.Cut(trimmed, []byte("\n"))
	upper := strings.ToUpper(string(line[:min(len(line), 200)]))
	for _, start := range []string{"--", "/*", "INSERT ", "REPLACE ", "CREATE ", "DROP ", "PRAGMA ", "BEGIN", "SET ", "COPY ", "LOCK ", "USE ", "SELECT ", "START "} {
		if strings.HasPrefix(upper, start) {
			return true
		}
	}
	return false
}

func tooManyRows() error { return fmt.Errorf("there are more than %d rows", MaxRows) }
