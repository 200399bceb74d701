package importing

import (
	"strings"
)

// copy reads PostgreSQL's `COPY table (columns) FROM stdin;` and the lines
// below it, up to `\.`.
func (d *dump) copy() error {
	ours, t, err := d.tableName()
	if err != nil {
		return err
	}
	columns := d.columns
	if t.symbol("(") {
		if columns, err = d.names(); err != nil {
			return err
		}
		if t, err = d.next(); err != nil {
			return err
		}
	}
	if !t.word("FROM") {
		return d.rest(t)
	}
	if t, err = d.next(); err != nil {
		return err
	}
	if !t.word("STDIN") {
		return d.rest(t)
	}
	if t, err = d.next(); err != nil {
		return err
	}
	if !t.symbol(";") {
		if ours {
			return d.errorf(t.at, "the options of this COPY are not understood: dump with `pg_dump --column-inserts`")
		}
		if err := d.rest(t); err != nil {
			return err
		}
	}
	if ours && columns == nil {
		return d.errorf(t.at, "the COPY names no columns")
	}
	d.found = d.found || ours
	d.skipLine()
	for d.pos < len(d.text) {
		at := d.pos
		line := strings.TrimSuffix(d.readLine(), "\r")
		if line == `\.` {
			return nil
		}
		if !ours {
			continue
		}
		if len(d.rows) == MaxRows {
			return tooManyRows()
		}
		cells := strings.Split(line, "\t")
		if len(cells) != len(columns) {
			return d.errorf(at, "the row has %d values for %d columns", len(cells), len(columns))
		}
		fields := make(map[string]any, len(columns))
		for i, cell := range cells {
			if cell == `\N` {
				continue
			}
			if len(cell) > MaxValue {
				return d.errorf(at, "%s is longer than %d MiB", columns[i], MaxValue>>20)
			}
			fields[columns[i]] = unescapeC(cell)
		}
		d.add(fields)
	}
	return d.errorf(d.pos, `the COPY of a table has no end: expected a line \.`)
}

// readLine returns the rest of the line and goes behind it.
func (d *dump) readLine() string {
	line, _, more := strings.Cut(d.text[d.pos:], "\n")
	d.pos += len(line)
	if more {
		d.pos++
	}
	return line
}

func (d *dump) skipLine() { d.readLine() }
