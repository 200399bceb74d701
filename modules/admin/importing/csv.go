package importing

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// readCSV reads rows below a row of column names. The separator is a comma, a
// semicolon or a tab, whichever the header has. An empty cell, NULL and \N are
// no value.
func readCSV(data []byte) ([]Row, error) {
	reader := csv.NewReader(bytes.NewReader(data))
	reader.Comma = separator(data)
	reader.FieldsPerRecord = -1
	reader.TrimLeadingSpace = true
	reader.ReuseRecord = true
	header, err := reader.Read()
	if err != nil {
		return nil, csvError(err)
	}
	columns, err := columnNames(header)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := reader.FieldPos(0)
		if len(rows) == MaxRows {
			return nil, tooManyRows()
		}
		if len(record) != len(columns) {
			return nil, fmt.Errorf("line %d has %d cells, and the header has %d columns", line, len(record), len(columns))
		}
		fields := make(map[string]any, len(columns))
		for i, cell := range record {
			if len(cell) > MaxValue {
				return nil, fmt.Errorf("line %d: %s is longer than %d MiB", line, columns[i], MaxValue>>20)
			}
			if cell != "" && cell != "NULL" && cell != `\N` {
				fields[columns[i]] = strings.Clone(cell)
			}
		}
		rows = append(rows, Row{Position: strconv.Itoa(len(rows)), Fields: fields})
	}
}

func columnNames(header []string) ([]string, error) {
	if len(header) > MaxColumns {
		return nil, fmt.Errorf("the header has more than %d columns", MaxColumns)
	}
	columns := make([]string, len(header))
	seen := make(map[string]bool, len(header))
	for i, name := range header {
		columns[i] = strings.ToLower(strings.TrimSpace(name))
		if seen[columns[i]] {
			return nil, fmt.Errorf("the header has the column %q twice", columns[i])
		}
		seen[columns[i]] = true
	}
	if !seen["name"] && !seen["slug"] && !seen["url"] {
		return nil, errors.New("the first line names no column of the table ai_nodes: expected at least name and url")
	}
	return columns, nil
}

// separator is what occurs most in the header.
func separator(data []byte) rune {
	line, _, _ := bytes.Cut(bytes.TrimLeft(data, "\r\n"), []byte("\n"))
	best, most := ',', 0
	for _, candidate := range []rune{',', ';', '\t'} {
		if n := bytes.Count(line, []byte(string(candidate))); n > most {
			best, most = candidate, n
		}
	}
	return best
}

// csvError says where, in the words of the library, which quote no cell.
func csvError(err error) error {
	var broken *csv.ParseError
	if errors.As(err, &broken) {
		return fmt.Errorf("line %d is not CSV: %w", broken.Line, broken.Err)
	}
	return fmt.Errorf("reading CSV: %w", err)
}
