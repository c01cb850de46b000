package server

import (
	"iter"
	"strconv"
	"strings"

	"orchestrator/daemon/printable"
)

// Row is one row, read by column name; case does not matter. A column that is NULL, or not there, is "".
type Row struct {
	names []string
	cells []string
}

// longestText is how much is read of a text. The longest that servers say of themselves are messages, of 1,024
// characters. What a server says is kept, shown, logged and stored: without a bound one that lies fills all of these.
const longestText = 4 << 10

// Get returns the first of the columns that the row has: servers name the same thing in two vocabularies. A text that
// is longer than any that servers have is cut.
func (r Row) Get(names ...string) string { return printable.Clip(r.Long(names...), longestText) }

// Long is Get for what may have any length: positions, and what was stored.
func (r Row) Long(names ...string) string {
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
