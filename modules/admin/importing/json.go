package importing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// readJSON reads {"nodes": …}, a bare list, a map by slug, one object per
// line, or what phpMyAdmin exports of a table.
func readJSON(data []byte) ([]Row, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var documents []json.RawMessage
	for {
		var document json.RawMessage
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, jsonError(err, data, decoder.InputOffset())
		}
		if documents = append(documents, document); len(documents) > MaxRows {
			return nil, tooManyRows()
		}
	}
	if len(documents) > 1 { // one object per line
		return rowsOfList(documents)
	}
	members, err := membersOf(documents[0])
	if err != nil {
		return nil, err
	}
	if members == nil {
		return rowsOfDocument(documents[0])
	}
	for _, m := range members {
		if m.name == "nodes" {
			rows, err := rowsOfDocument(m.value)
			if err != nil {
				return nil, fmt.Errorf("nodes: %w", err)
			}
			return rows, nil
		}
	}
	return rowsOfMap(members)
}

// rowsOfDocument reads a list or a map by slug.
func rowsOfDocument(document json.RawMessage) ([]Row, error) {
	members, err := membersOf(document)
	if err != nil {
		return nil, err
	}
	if members != nil {
		return rowsOfMap(members)
	}
	var list []json.RawMessage
	if document[0] != '[' || json.Unmarshal(document, &list) != nil {
		return nil, errors.New(`expected {"nodes": [...]}, a list of nodes, or a map of nodes by slug`)
	}
	if table := phpMyAdminTable(list); table != nil {
		list = table
	}
	return rowsOfList(list)
}

func rowsOfList(list []json.RawMessage) ([]Row, error) {
	if len(list) > MaxRows {
		return nil, tooManyRows()
	}
	rows := make([]Row, 0, len(list))
	for i, item := range list {
		fields, err := fieldsOf(item)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		rows = append(rows, Row{Position: strconv.Itoa(i), Fields: fields})
	}
	return rows, nil
}

func rowsOfMap(members []member) ([]Row, error) {
	if len(members) > MaxRows {
		return nil, tooManyRows()
	}
	rows := make([]Row, 0, len(members))
	for _, m := range members {
		fields, err := fieldsOf(m.value)
		if err != nil {
			return nil, fmt.Errorf("row %q: %w", m.name, err)
		}
		_, err = strconv.Atoi(m.name) // a PHP list with a hole is a map of numbers
		rows = append(rows, Row{Position: m.name, Keyed: err != nil, Fields: fields})
	}
	return rows, nil
}

// phpMyAdminTable returns the rows of phpMyAdmin's export, which is a list of
// {"type": "header"}, {"type": "database"} and {"type": "table", "data": [...]}.
func phpMyAdminTable(list []json.RawMessage) []json.RawMessage {
	for i, item := range list {
		var part struct {
			Type string            `json:"type"`
			Data []json.RawMessage `json:"data"`
		}
		if json.Unmarshal(item, &part) != nil || (i == 0 && part.Type != "header") {
			return nil
		}
		if part.Type == "table" && part.Data != nil {
			return part.Data
		}
	}
	return nil
}

// fieldsOf reads one record. What is no object is no error: it is reported as
// a row that cannot be used.
func fieldsOf(item json.RawMessage) (map[string]any, error) {
	if len(item) == 0 || item[0] != '{' {
		return nil, nil
	}
	var twice *jsontext.SyntacticError
	if _, err := jsontext.NewDecoder(bytes.NewReader(item)).ReadValue(); errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &twice) {
		return nil, fmt.Errorf("%.64q is given twice", string(twice.JSONPointer))
	}
	var fields map[string]any
	if err := decodeJSON(item, &fields); err != nil {
		return nil, err
	}
	if len(fields) > MaxColumns {
		return nil, fmt.Errorf("it has more than %d fields", MaxColumns)
	}
	return fields, nil
}

// member is one member of an object, in the order of the file.
type member struct {
	name  string
	value json.RawMessage
}

// membersOf splits an object, and returns nil when the document is none.
func membersOf(document json.RawMessage) ([]member, error) {
	if document[0] != '{' {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	members := []member{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		members = append(members, member{name: name.(string), value: value})
	}
	return members, nil
}

// decodeJSON keeps numbers as they are written.
func decodeJSON(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text follows the JSON value")
	}
	return nil
}

// jsonError says where the text is broken, without quoting it: it may hold a key.
func jsonError(err error, data []byte, offset int64) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset > 0 {
		offset = syntax.Offset
	}
	line := 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
	return fmt.Errorf("line %d is not JSON: expected a registry file or a list of rows", line)
}

// valuesOf returns the values of a PHP array: a list, or a map of numbers in
// their order.
func valuesOf(value any) ([]any, bool) {
	switch v := value.(type) {
	case []any:
		return v, true
	case map[string]any:
		keys := make([]int, 0, len(v))
		for key := range v {
			n, err := strconv.Atoi(key)
			if err != nil {
				return nil, false
			}
			keys = append(keys, n)
		}
		slices.Sort(keys)
		values := make([]any, 0, len(v))
		for _, key := range keys {
			value, ok := v[strconv.Itoa(key)]
			if !ok {
				return nil, false
			}
			values = append(values, value)
		}
		return values, true
	default:
		return nil, false
	}
}
