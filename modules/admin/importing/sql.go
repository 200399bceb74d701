package importing

import (
	"fmt"
	"strconv"
	"strings"
)

// readSQL reads the rows of one table out of a dump: INSERT and REPLACE as
// mysqldump, phpMyAdmin, pg_dump and sqlite write them, and PostgreSQL's COPY.
// Everything else is skipped; nothing is run.
func readSQL(text, table string) ([]Row, error) {
	d := &dump{scanner: newScanner(text), table: table}
	for {
		t, err := d.next()
		if err != nil {
			return nil, err
		}
		switch {
		case t.kind == tokenEnd:
			return d.finish()
		case t.symbol(";"):
		case t.word("INSERT"), t.word("REPLACE"):
			err = d.insert()
		case t.word("CREATE"):
			err = d.create()
		case t.word("COPY"):
			err = d.copy()
		case t.symbol(`\`), t.symbol("#"): // \restrict and other commands of psql; no statement begins with #
			d.skipLine()
		default:
			err = d.skipStatement()
		}
		if err != nil {
			return nil, err
		}
	}
}

// dump is the state of reading one.
type dump struct {
	*scanner
	table string
	// columns are those of CREATE TABLE, for an INSERT that names none.
	columns []string
	rows    []Row
	found   bool
	// similar is another table that may be meant: Laravel can prefix its tables.
	similar string
}

func (d *dump) finish() ([]Row, error) {
	switch {
	case d.found || d.columns != nil:
		return d.rows, nil
	case d.similar != "":
		return nil, fmt.Errorf("the dump has no table %s, but it has %s: name it with --table %s", d.table, d.similar, d.similar)
	default:
		return nil, fmt.Errorf("the dump has no rows of a table %s", d.table)
	}
}

// tableName reads a name with or without its schema, and tells whether it is
// the table. It returns the token behind the name.
func (d *dump) tableName() (ours bool, after token, err error) {
	var name string
	for {
		t, err := d.next()
		if err != nil {
			return false, t, err
		}
		if name = t.name(); name == "" {
			return false, t, nil
		}
		if after, err = d.next(); err != nil {
			return false, after, err
		}
		if !after.symbol(".") {
			break
		}
	}
	if strings.EqualFold(name, d.table) {
		return true, after, nil
	}
	if strings.HasSuffix(strings.ToLower(name), DefaultTable) {
		d.similar = name
	}
	return false, after, nil
}

// rest skips the statement whose last token was t.
func (d *dump) rest(t token) error {
	if t.kind == tokenEnd || t.symbol(";") {
		return nil
	}
	return d.skipStatement()
}

// insert reads `INTO table [(columns)] VALUES (…), (…) …;`.
func (d *dump) insert() error {
	for {
		t, err := d.next()
		if err != nil {
			return err
		}
		if t.word("INTO") {
			break
		}
		if t.kind != tokenWord {
			return d.rest(t)
		}
	}
	ours, t, err := d.tableName()
	if err != nil || !ours {
		return orRest(err, d, t)
	}
	d.found = true
	columns := d.columns
	if t.symbol("(") {
		if columns, err = d.names(); err != nil {
			return err
		}
		if t, err = d.next(); err != nil {
			return err
		}
	}
	for t.kind == tokenWord && !t.word("VALUES") && !t.word("VALUE") { // OVERRIDING SYSTEM VALUE
		if t.word("SELECT") {
			return d.errorf(t.at, "INSERT … SELECT has no rows to read")
		}
		if t.word("OVERRIDING") {
			for range 2 {
				if _, err = d.next(); err != nil {
					return err
				}
			}
		}
		if t, err = d.next(); err != nil {
			return err
		}
	}
	if t.kind != tokenWord {
		return d.errorf(t.at, "expected VALUES in the INSERT of %s", d.table)
	}
	if columns == nil {
		return d.errorf(t.at, "the INSERT names no columns and no CREATE TABLE does: dump with the structure, "+
			"or with `mysqldump --complete-insert` or `pg_dump --column-inserts`")
	}
	return d.tuples(columns)
}

func orRest(err error, d *dump, t token) error {
	if err != nil {
		return err
	}
	return d.rest(t)
}

// names reads `column, column)`.
func (d *dump) names() ([]string, error) {
	var names []string
	for {
		t, err := d.next()
		if err != nil {
			return nil, err
		}
		name := t.name()
		if name == "" {
			return nil, d.errorf(t.at, "expected a column's name")
		}
		if names = append(names, strings.ToLower(name)); len(names) > MaxColumns {
			return nil, d.errorf(t.at, "there are more than %d columns", MaxColumns)
		}
		if t, err = d.next(); err != nil {
			return nil, err
		}
		if t.symbol(")") {
			return names, nil
		}
		if !t.symbol(",") {
			return nil, d.errorf(t.at, "expected a comma or ) between the columns")
		}
	}
}

// tuples reads `(…), (…)` up to the end of the statement.
func (d *dump) tuples(columns []string) error {
	for {
		t, err := d.next()
		if err != nil {
			return err
		}
		if !t.symbol("(") {
			return d.errorf(t.at, "expected ( before the values of a row")
		}
		if len(d.rows) == MaxRows {
			return tooManyRows()
		}
		fields := make(map[string]any, len(columns))
		for i := 0; ; i++ {
			value, after, err := d.value(0)
			if err != nil {
				return err
			}
			if i >= len(columns) {
				return d.errorf(t.at, "the row has more values than the %d columns", len(columns))
			}
			if value != nil {
				fields[columns[i]] = value
			}
			if after.symbol(",") {
				continue
			}
			if !after.symbol(")") {
				return d.errorf(after.at, "expected a comma or ) between the values")
			}
			if i+1 != len(columns) {
				return d.errorf(t.at, "the row has %d values for %d columns", i+1, len(columns))
			}
			break
		}
		d.add(fields)
		if t, err = d.next(); err != nil {
			return err
		}
		if !t.symbol(",") { // the end, or ON CONFLICT …
			return d.rest(t)
		}
	}
}

func (d *dump) add(fields map[string]any) {
	d.rows = append(d.rows, Row{Position: strconv.Itoa(len(d.rows)), Fields: fields})
}

// notAColumn are the words that begin a part of CREATE TABLE that is no column.
var notAColumn = map[string]bool{
	"PRIMARY": true, "UNIQUE": true, "KEY": true, "INDEX": true, "CONSTRAINT": true, "FOREIGN": true, "CHECK": true,
	"FULLTEXT": true, "SPATIAL": true, "LIKE": true, "EXCLUDE": true, "PERIOD": true,
}

// create learns the order of the columns from CREATE TABLE.
func (d *dump) create() error {
	for {
		t, err := d.next()
		if err != nil {
			return err
		}
		if t.word("TABLE") {
			break
		}
		switch {
		case t.word("TEMPORARY"), t.word("UNLOGGED"), t.word("GLOBAL"), t.word("LOCAL"):
		default:
			return d.rest(t)
		}
	}
	before := d.pos
	if t, err := d.next(); err != nil {
		return err
	} else if t.word("IF") { // NOT EXISTS
		for range 2 {
			if _, err := d.next(); err != nil {
				return err
			}
		}
	} else {
		d.pos = before
	}
	ours, t, err := d.tableName()
	if err != nil || !ours || !t.symbol("(") {
		return orRest(err, d, t)
	}
	var columns []string
	first, depth := true, 1
	for depth > 0 {
		if t, err = d.next(); err != nil {
			return err
		}
		switch {
		case t.kind == tokenEnd:
			return d.errorf(t.at, "the CREATE TABLE of %s is not closed", d.table)
		case t.symbol("("):
			depth++
		case t.symbol(")"):
			depth--
		case t.symbol(",") && depth == 1:
			first = true
			continue
		case first && (t.kind == tokenIdentifier || t.kind == tokenWord && !notAColumn[strings.ToUpper(t.text)]):
			if columns = append(columns, strings.ToLower(t.name())); len(columns) > MaxColumns {
				return d.errorf(t.at, "there are more than %d columns", MaxColumns)
			}
		}
		first = false
	}
	d.columns = columns
	return d.skipStatement()
}
