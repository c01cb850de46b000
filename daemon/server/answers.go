package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/printable"
)

// answering reads what a server answers to one question. The driver does that as well, and better for database/sql: but
// it keeps a buffer, a goroutine and its configuration for each connection, and makes text of the name of each column
// in each answer. Of thousands of servers that are asked every few seconds, that was a third of the memory and half of
// what is allocated. Its own reading is simple: every cell is text.
type answering struct {
	from    io.ReadWriter // a wire, or what lies above it: packets has followed what comes from it
	shared  *Room
	packets *packets // how answers are written

	seq        byte   // of the next packet
	buffer     []byte // what has come is from start to end
	start, end int
	naming     []byte // the names of columns, as they came
}

// ask sends a question.
func (a *answering) ask(text string) error {
	const query = 3 // COM_QUERY
	length := len(text) + 1
	if length >= whole {
		return fmt.Errorf("a statement of %d bytes is too long to be sent", len(text))
	}
	q := append(a.buffer[:0], byte(length), byte(length>>8), byte(length>>16), 0, query)
	q = append(q, text...)
	a.buffer, a.seq = q[:cap(q)], 1
	_, err := a.from.Write(q)
	return err
}

// read reads what each of several statements has returned: keep says how many rows of it, 0: all, and more than most
// are an error. Where a statement fails, it returns the answers of those before.
func (a *answering) read(keep []int, most int) (answers [][]Row, err error) {
	answers = make([][]Row, 0, len(keep))
	for more := true; more; {
		if len(answers) == len(keep) { // of more statements than there are
			if more, err = a.skip(); err != nil {
				return answers, err
			}
			continue
		}
		var rows []Row
		if rows, more, err = a.answer(keep[len(answers)], most); err != nil {
			return answers, err
		}
		answers = append(answers, rows)
	}
	return answers, nil
}

// skip reads an answer that is of no use.
func (a *answering) skip() (more bool, err error) {
	_, more, err = a.answer(1, 1)
	return more, err
}

// answer reads the answer to one statement, and says whether another one follows.
func (a *answering) answer(keep, most int) (rows []Row, more bool, err error) {
	p, err := a.packet()
	if err != nil {
		return nil, false, err
	}
	switch p[0] {
	case markOK:
		more, err := moreBehind(p)
		return nil, more, err
	case markError:
		return nil, false, errorIn(p)
	}
	count, _, known := readInteger(p)
	if !known || count == 0 || count > maxColumns {
		return nil, false, errSenseless
	}
	names, err := a.names(int(count))
	if err != nil {
		return nil, false, err
	}
	for read := 0; ; read++ {
		p, err := a.packet()
		switch {
		case err != nil:
			return nil, false, err
		case p[0] == markError:
			return nil, false, errorIn(p)
		case p[0] == markEnd && len(p) < whole:
			more, err := a.moreBehindRows(p)
			return rows, more, err
		case keep > 0 && read >= keep:
			continue
		case read == most:
			return nil, false, fmt.Errorf("%w: more than %d rows", ErrTooMuch, most)
		}
		cells, err := cells(p, len(names))
		if err != nil {
			return nil, false, err
		}
		rows = append(rows, Row{names, cells})
	}
}

// names reads the descriptions of columns, and keeps their names.
func (a *answering) names(count int) ([]string, error) {
	const before = 4 // texts: the catalog, the database, the table by its alias and by its name
	a.naming = a.naming[:0]
	for range count {
		p, err := a.packet()
		if err != nil {
			return nil, err
		}
		for range before {
			_, rest, known := readText(p)
			if !known {
				return nil, errSenseless
			}
			p = rest
		}
		_, rest, known := readText(p)
		if !known {
			return nil, errSenseless
		}
		a.naming = append(a.naming, p[:len(p)-len(rest)]...)
	}
	if !a.packets.noEOF {
		if _, err := a.packet(); err != nil {
			return nil, err
		}
	}
	return a.shared.columns(a.naming, count), nil
}

// longRow is how long a row may be to be kept in one piece of memory. Of a longer one, whoever keeps a cell would keep
// all.
const longRow = 16 << 10

// cells are the columns of a row.
func cells(p []byte, columns int) ([]string, error) {
	all, out := "", make([]string, columns)
	if len(p) <= longRow {
		all = string(p)
	}
	for i := range out {
		if len(p) == 0 {
			return nil, errIncomplete
		}
		if p[0] == markNull {
			p = p[1:]
			continue
		}
		cell, rest, known := readText(p)
		if !known {
			return nil, errIncomplete
		}
		if end := len(all) - len(rest); all != "" {
			out[i] = all[end-len(cell) : end]
		} else {
			out[i] = string(cell)
		}
		p = rest
	}
	if len(p) > 0 {
		return nil, errSenseless
	}
	return out, nil
}

// readText reads a text whose length stands before it.
func readText(b []byte) (text, rest []byte, ok bool) {
	n, rest, ok := readInteger(b)
	if !ok || b[0] == markNull || n > uint64(len(rest)) {
		return nil, nil, false
	}
	return rest[:n], rest[n:], true
}

// moreBehind says whether another answer follows an OK.
func moreBehind(p []byte) (bool, error) {
	status, err := statusIn(p[1:])
	return status&moreAnswers != 0, err
}

// moreBehindRows is moreBehind for the packet that ends rows.
func (a *answering) moreBehindRows(p []byte) (bool, error) {
	if a.packets.noEOF {
		return moreBehind(p)
	}
	if len(p) < 5 {
		return false, errSenseless
	}
	return p[3]&moreAnswers != 0, nil
}

// errorIn is the error that a server has sent.
func errorIn(p []byte) error {
	if len(p) < 4 {
		return errSenseless
	}
	e := &mysqldriver.MySQLError{Number: binary.LittleEndian.Uint16(p[1:])}
	if p = p[3:]; p[0] == '#' && len(p) >= 6 {
		copy(e.SQLState[:], p[1:6])
		p = p[6:]
	}
	e.Message = printable.Clip(string(p), longestText)
	return e
}

// packet reads one, of several parts where it is long. It is good until the next one is read.
func (a *answering) packet() (p []byte, err error) {
	var joined []byte
	for {
		head, err := a.take(4)
		if err != nil {
			return nil, err
		}
		length, inTurn := int(head[0])|int(head[1])<<8|int(head[2])<<16, head[3] == a.seq
		a.seq = head[3] + 1
		if p, err = a.take(length); err != nil {
			return nil, err
		}
		if joined != nil || length == whole {
			joined = append(joined, p...)
			p = joined
		}
		switch {
		case !inTurn && (len(p) == 0 || p[0] != markError): // a server that ends a connection says why out of turn
			return nil, errSenseless
		case length == whole:
			continue
		case len(p) == 0:
			return nil, errSenseless
		}
		return p, nil
	}
}

// take waits for n bytes. They are good until more are taken. The buffer grows with what has come, not with what is
// claimed.
func (a *answering) take(n int) ([]byte, error) {
	for a.end-a.start < n {
		if a.start > 0 {
			a.end = copy(a.buffer, a.buffer[a.start:a.end])
			a.start = 0
		}
		if a.end == len(a.buffer) {
			a.buffer = append(a.buffer, make([]byte, len(a.buffer))...)
		}
		read, err := a.from.Read(a.buffer[a.end:])
		if a.end += read; err != nil && a.end-a.start < n {
			if errors.Is(err, io.EOF) && a.end > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	p := a.buffer[a.start : a.start+n]
	a.start += n
	return p, nil
}
