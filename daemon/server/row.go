package server

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
)

// Row is one row, read by column name; case does not matter. A column that is NULL, or not there, is "".
type Row struct {
	names []string
	cells []string
}

// Get returns the first of the columns that the row has: servers name the same thing in two vocabularies.
func (r Row) Get(names ...string) string {
	for _, name := range names {
		for i, n := range r.names {
			if len(n) == len(name) && strings.EqualFold(n, name) {
				return r.cells[i]
			}
		}
	}
	return ""
}

// Has says that there is such a column.
func (r Row) Has(name string) bool {
	for _, n := range r.names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// Uint is Get as a number; 0 where it is none.
func (r Row) Uint(names ...string) uint64 {
	n, _ := strconv.ParseUint(r.Get(names...), 10, 64)
	return n
}

// Int is Get as a number; 0 where it is none.
func (r Row) Int(names ...string) int64 {
	n, _ := strconv.ParseInt(r.Get(names...), 10, 64)
	return n
}

// On is Get as a switch.
func (r Row) On(names ...string) bool { return On(r.Get(names...)) }

// On says that a switch is on, whatever word stands for that: MariaDB 12 has more than one for read_only.
func On(word string) bool {
	switch strings.ToUpper(word) {
	case "", "0", "OFF", "NO":
		return false
	}
	return true
}

// All are the columns, in the server's order and spelling.
func (r Row) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for i, name := range r.names {
			if !yield(name, r.cells[i]) {
				return
			}
		}
	}
}

// Named reads a list of Variable_name and Value as one row.
func Named(rows []Row) (all Row) {
	for _, r := range rows {
		all.names = append(all.names, r.Get("Variable_name"))
		all.cells = append(all.cells, r.Get("Value"))
	}
	return all
}

// readAnswers reads what each of several statements has returned: keep says how many rows of it, 0: all that the budget
// allows. taken says whether these are all the rows of an answer.
func readAnswers(r driver.Rows, keep []int, most int, taken func(rows int) bool) (answers [][]Row, err error) {
	statements := len(keep)
	answers = make([][]Row, 0, statements)
	for {
		rows, read, err := readAll(r, keep[len(answers)], most)
		if err == nil && len(r.Columns()) > 0 && !taken(read) {
			err = errIncomplete
		}
		if err != nil {
			return answers, err
		}
		if answers = append(answers, rows); len(answers) == statements {
			return answers, nil
		}
		next, ok := r.(driver.RowsNextResultSet)
		if !ok || !next.HasNextResultSet() {
			return answers, fmt.Errorf("%w: it returned %d answers to %d questions", ErrAlien, len(answers), statements)
		}
		if err := next.NextResultSet(); err != nil {
			return answers, err
		}
	}
}

// readAll reads all rows, and keeps so many of them (0: all). Then there may be more than the budget allows.
func readAll(r driver.Rows, keep, most int) (out []Row, read int, err error) {
	names := r.Columns()
	if len(names) == 0 {
		return nil, 0, nil
	}
	if len(names) > maxColumns {
		return nil, 0, fmt.Errorf("%w: %d columns", ErrTooMuch, len(names))
	}
	values := make([]driver.Value, len(names))
	for ; ; read++ {
		switch err := r.Next(values); {
		case errors.Is(err, io.EOF):
			return out, read, nil
		case err != nil:
			return nil, read, err
		case keep > 0 && read >= keep:
			continue
		case read == most:
			return nil, read, fmt.Errorf("%w: more than %d rows", ErrTooMuch, most)
		}
		out = append(out, Row{names, texts(values)})
	}
}

// texts turns what the driver has made of the cells back into text: all of a row in one piece of memory.
func texts(values []driver.Value) []string {
	const longest = 20 // of a whole number
	size := 0
	for _, v := range values {
		if text, is := v.([]byte); is {
			size += len(text)
		} else if v != nil {
			size += longest
		}
	}
	var all strings.Builder
	all.Grow(size)
	cells := make([]string, len(values))
	var number [longest]byte
	for i, v := range values {
		start := all.Len()
		switch v := v.(type) {
		case nil:
		case []byte:
			all.Write(v)
		case int64:
			all.Write(strconv.AppendInt(number[:0], v, 10))
		case uint64:
			all.Write(strconv.AppendUint(number[:0], v, 10))
		default:
			fmt.Fprint(&all, v)
		}
		cells[i] = all.String()[start:]
	}
	return cells
}
