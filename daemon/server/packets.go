package server

import (
	"encoding/binary"
	"fmt"
)

// packets follows the packets of an answer as the driver reads them, and ends it before the driver reads what it would
// believe: it makes room for as many columns and bytes as a server claims to send, 2^40 if it says so, which ends the
// process. What a packet is depends on those before it, so all are followed, with the driver's own rules.
type packets struct {
	// From the login: how answers are written.
	noEOF    bool // no packet stands between the columns and the rows, and an OK ends the rows
	metadata bool // a byte behind the number of columns says whether they are described (MariaDB)

	// From the last answer: a backslash in a text is one. Not known before the first.
	literal, answered bool

	next    expected
	count   int   // of the answers so far
	rows    int   // of the answer so far
	all     []int // the rows of each answer that had some and is complete; what the driver has read is taken off
	columns int   // of the answer
	pending int   // packets that stand before the rows

	// Of the packet under way.
	header  [4]byte
	read    int      // bytes of the header
	body    int      // bytes of the body that are still to come
	length  int      // of the body, with the parts before
	start   [32]byte // of the body
	kept    int      // bytes of start
	partial bool     // another part follows
}

// expected is what a packet can be.
type expected int

const (
	login   expected = iota // anything: the driver reads it
	answers                 // an OK, an error, or the number of columns
	columns                 // describes a column, or ends their list
	rows                    // a row, or the end
	nothing                 // the answer is complete
)

const (
	whole       = 0xffffff // the length of a packet that has another part
	markOK      = 0x00
	markFile    = 0xfb
	markEnd     = 0xfe
	markError   = 0xff
	markNull    = 0xfb
	moreAnswers = 8   // in a status
	noBackslash = 512 // in a status: the sql_mode NO_BACKSLASH_ESCAPES

	canNoEOF     = 1 << 24 // CLIENT_DEPRECATE_EOF
	isMySQL      = 1       // CLIENT_LONG_PASSWORD: without it the extended capabilities of MariaDB stand behind
	cachesMeta   = 1 << 4  // MARIADB_CLIENT_CACHE_METADATA, in those
	longestLogin = 64 << 10
	maxAnswers   = 1000 // to one question; each costs memory, also one that is empty
)

// agreed takes in what the client has told that it can, after what the server said.
func (f *packets) agreed(response []byte) {
	if len(response) < 36 {
		return
	}
	can := binary.LittleEndian.Uint32(response[4:])
	f.noEOF = can&canNoEOF != 0
	f.metadata = can&isMySQL == 0 && binary.LittleEndian.Uint32(response[32:])&cachesMeta != 0
}

// ask begins a question.
func (f *packets) ask() { f.next, f.count, f.rows, f.all = answers, 0, 0, f.all[:0] }

// taken says whether the driver has read all the rows of an answer when it says so: it takes one that claims to be
// longer than its packet for the end.
func (f *packets) taken(rows int) bool {
	if len(f.all) == 0 || f.all[0] != rows {
		return false
	}
	f.all = f.all[1:]
	return true
}

// follow takes in bytes. It returns how many of them belong to the answer, and asks charge before anything is believed
// that costs memory: so many bytes.
func (f *packets) follow(p []byte, charge func(int) error) (used int, err error) {
	for used < len(p) && f.next != nothing {
		if f.read < len(f.header) {
			n := copy(f.header[f.read:], p[used:])
			used += n
			if f.read += n; f.read < len(f.header) {
				break
			}
			if err := f.begin(charge); err != nil {
				return used, err
			}
		}
		n := min(f.body, len(p)-used)
		f.kept += copy(f.start[f.kept:], p[used:used+n])
		used += n
		if f.body -= n; f.body == 0 {
			if err := f.end(charge); err != nil {
				return used, err
			}
		}
	}
	return used, nil
}

// begin takes in a header.
func (f *packets) begin(charge func(int) error) error {
	f.body = int(f.header[0]) | int(f.header[1])<<8 | int(f.header[2])<<16
	if f.body == 0 && !f.partial {
		return fmt.Errorf("%w: it sent an empty packet", ErrAlien)
	}
	if !f.partial {
		f.length, f.kept = 0, 0
	}
	f.length += f.body
	f.partial = f.body == whole
	if f.next == login && f.length > longestLogin {
		return fmt.Errorf("%w: a packet of %d bytes in a login", ErrAlien, f.length)
	}
	return charge(f.body)
}

// end takes in a packet that is complete, unless another part follows.
func (f *packets) end(charge func(int) error) error {
	f.read = 0
	if f.partial {
		return nil
	}
	switch f.next {
	case answers:
		return f.answer(charge)
	case columns:
		if f.pending--; f.pending == 0 {
			f.next = rows
		}
	case rows:
		return f.row(charge)
	}
	return nil
}

// What a column and a cell cost besides their text.
const (
	columnSize = 64
	cellSize   = 16
	rowSize    = 48
)

func (f *packets) answer(charge func(int) error) error {
	if f.count++; f.count > maxAnswers {
		return fmt.Errorf("%w: more than %d answers to one question", ErrTooMuch, maxAnswers)
	}
	switch f.start[0] {
	case markOK:
		return f.over(f.start[1:f.kept])
	case markError:
		f.next = nothing
		return nil
	case markFile:
		return fmt.Errorf("%w: it asks for a file of this machine", ErrAlien)
	}
	count, rest, ok := readInteger(f.start[:f.kept])
	if !ok || count == 0 {
		return errSenseless
	}
	if count > maxColumns {
		return fmt.Errorf("%w: %d columns, more than %d", ErrTooMuch, count, maxColumns)
	}
	f.columns, f.pending, f.next = int(count), int(count), columns
	if f.metadata && (len(rest) == 0 || rest[0] != 1) { // we keep none from earlier
		return errSenseless
	}
	if !f.noEOF {
		f.pending++
	}
	return charge(f.columns * columnSize)
}

var (
	errSenseless  = fmt.Errorf("%w: what it sent makes no sense", ErrAlien)
	errIncomplete = fmt.Errorf("%w: a row of its answer is cut short", ErrAlien)
)

func (f *packets) row(charge func(int) error) error {
	switch {
	case f.start[0] == markError:
		f.next = nothing
		return nil
	case f.start[0] != markEnd || f.length > whole:
		f.rows++
		return charge(rowSize + f.columns*cellSize)
	}
	f.all, f.rows = append(f.all, f.rows), 0
	switch {
	case f.noEOF:
		return f.over(f.start[1:f.kept])
	case f.length < 5 || f.length > 8: // a row whose first cell claims more than 16 MB
		return errSenseless
	}
	f.status(binary.LittleEndian.Uint16(f.start[3:]))
	return nil
}

// over reads the rest of an OK packet: whether another answer follows.
func (f *packets) over(ok []byte) error {
	status, err := statusIn(ok)
	if err == nil {
		f.status(status)
	}
	return err
}

// statusIn is the status in an OK packet without its mark.
func statusIn(ok []byte) (uint16, error) {
	_, ok, first := readInteger(ok)
	_, ok, second := readInteger(ok)
	if !first || !second || len(ok) < 2 {
		return 0, errSenseless
	}
	return binary.LittleEndian.Uint16(ok), nil
}

func (f *packets) status(status uint16) {
	f.literal, f.answered = status&noBackslash != 0, true
	if f.next = nothing; status&moreAnswers != 0 {
		f.next = answers
	}
}

// readInteger reads an integer whose first byte tells its length.
func readInteger(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	size := 0
	switch b[0] {
	case 0xfb: // NULL
		return 0, b[1:], true
	case 0xfc:
		size = 2
	case 0xfd:
		size = 3
	case 0xfe:
		size = 8
	default:
		return uint64(b[0]), b[1:], true
	}
	if len(b) < 1+size {
		return 0, nil, false
	}
	var wide [8]byte
	copy(wide[:], b[1:1+size])
	return binary.LittleEndian.Uint64(wide[:]), b[1+size:], true
}
