package sqlstore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"orchestrator/backend"
)

// mostUnreadable is how many rows are remembered by name.
const mostUnreadable = 100

// unreadable are the rows of a file whose values have the wrong type. SQLite takes any value in any column of a file
// that an older program made, so whoever edits one by hand can write what no program of ours does.
//
// Such a row is given to its readers as a record without version and document. None of them can read it, and each says
// what that means: for a declaration, that recoveries are off. It must not look like a row that is not there.
type unreadable struct {
	mu   sync.Mutex
	rows map[name]string // and why
}

func newUnreadable() *unreadable { return &unreadable{rows: map[name]string{}} }

// found notes what reading these rows has found. within says which rows were read.
func (u *unreadable) found(rows map[name]string, within func(name) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.rows) == 0 && len(rows) == 0 {
		return
	}
	maps.DeleteFunc(u.rows, func(n name, _ string) bool { return within(n) })
	for n, why := range rows {
		if len(u.rows) < mostUnreadable {
			u.rows[n] = why
		}
	}
}

// within says which rows a reader of the records reads: its values are the kind, and perhaps the key.
func within(values []any) func(name) bool {
	return func(n name) bool {
		switch {
		case n.kind == leaseTable:
			return false
		case len(values) == 0:
			return true
		case values[0] != n.kind:
			return false
		}
		key, one := values[1].(string)
		return !one || key == n.key
	}
}

// leaseTable stands in place of a kind for the rows of leases.
const leaseTable = "lease"

// Unreadable names the rows that could not be read when they were last looked at, and says what to do.
func (s *Store) Unreadable() (says []string) {
	s.unreadable.mu.Lock()
	defer s.unreadable.mu.Unlock()
	for n, why := range s.unreadable.rows {
		what := fmt.Sprintf("%s %.80q", n.kind, n.key)
		says = append(says, fmt.Sprintf("%s in %s can't be read: %s; write it again, or remove its row", what, s.name,
			why))
	}
	slices.Sort(says)
	return says
}

// number is an integer column. What is not one does not keep the rest of the row, or other rows, from being read.
type number struct {
	value int64
	wrong string // what it is instead; "" if it is a number
}

// Scan implements sql.Scanner.
func (n *number) Scan(v any) error {
	*n = number{}
	var err error
	switch v := v.(type) {
	case int64:
		n.value = v
	case bool:
		if v {
			n.value = 1
		}
	case []byte: // as MySQL sends it
		n.value, err = strconv.ParseInt(string(v), 10, 64)
	case string:
		n.value, err = strconv.ParseInt(v, 10, 64)
	default:
		n.wrong = shown(v)
	}
	if err != nil {
		n.value, n.wrong = 0, shown(v)
	}
	return nil
}

// not says what the column of this name is instead of a number; "" if it is one.
func (n number) not(column string) string {
	if n.wrong == "" {
		return ""
	}
	return fmt.Sprintf("%s is %s, not a number", column, n.wrong)
}

func shown(v any) string {
	if b, ok := v.([]byte); ok {
		v = string(b)
	}
	return fmt.Sprintf("%.40q", fmt.Sprint(v))
}

// text is a column of text, or of bytes.
type text string

// Scan implements sql.Scanner.
func (t *text) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = ""
	case []byte:
		*t = text(v)
	default:
		*t = text(fmt.Sprint(v))
	}
	return nil
}

// row is a row of records as it is read.
type row struct {
	kind, key, writer text
	version, deleted  number
	document          []byte
}

// wrong says why the row is no record; "" if it is one.
func (r row) wrong() string {
	return cmp.Or(r.version.not("version"), r.deleted.not("deleted"))
}

// record is what the readers get.
func (r row) record() backend.Record {
	out := backend.Record{Kind: string(r.kind), Key: string(r.key), Writer: string(r.writer)}
	if r.wrong() != "" {
		return out
	}
	out.Version, out.Deleted = r.version.value, r.deleted.value != 0
	if len(r.document) > 0 {
		out.Document = r.document
	}
	return out
}
