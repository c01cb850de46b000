package swarm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// session is one connection of a client. Its goroutine alone uses what is not said to be shared.
type session struct {
	server *Server
	conn   net.Conn
	id     uint64
	in     *bufio.Reader
	seq    byte
	// several says that the client sends several statements at once.
	several bool
	over    chan struct{} // shared: closed when the connection was reset
	reset   func()        // shared
}

const (
	comQuit  = 1
	comQuery = 3
	comPing  = 14
	// maxPacket is far beyond what the daemon sends.
	maxPacket = 1 << 20
)

// Both end with the status: autocommit; and with moreResults, that another answer follows.
var (
	okPacket, eofPacket = []byte{0, 0, 0, 2, 0, 0, 0}, []byte{0xfe, 0, 0, 2, 0}
	okMore, eofMore     = []byte{0, 0, 0, 2 | moreResults, 0, 0, 0}, []byte{0xfe, 0, 0, 2 | moreResults, 0}
)

const moreResults = 8

// refusal is an error that is sent to the client.
type refusal struct {
	errno uint16
	says  string
}

// serve answers one client until it goes, or the server dies.
func (v *Server) serve(conn net.Conn) {
	s := &session{server: v, conn: conn, in: bufio.NewReaderSize(conn, 512), over: make(chan struct{})}
	s.reset = sync.OnceFunc(func() {
		close(s.over)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	})
	defer conn.Close()
	if !s.enter() {
		return
	}
	defer s.leave()
	if s.awake() != nil || s.login() != nil {
		return
	}
	for {
		p, err := s.receive()
		if err != nil || s.awake() != nil {
			return
		}
		switch {
		case len(p) == 0 || p[0] == comQuit:
			return
		case p[0] == comPing:
			err = s.send(okPacket)
		case p[0] == comQuery:
			err = s.query(string(p[1:]))
		default:
			v.swarm.refused("command " + string('0'+rune(p[0])))
			err = s.fail(refusal{1047, "Unknown command"})
		}
		if err != nil {
			return
		}
	}
}

// enter registers the session; false when the server has died meanwhile.
func (s *session) enter() bool {
	v := s.server
	v.swarm.mu.Lock()
	defer v.swarm.mu.Unlock()
	if v.listener == nil {
		s.reset()
		return false
	}
	v.lastID++
	s.id = v.lastID
	v.sessions[s.id] = s
	return true
}

func (s *session) leave() {
	s.server.swarm.mu.Lock()
	defer s.server.swarm.mu.Unlock()
	delete(s.server.sessions, s.id)
	for name, holder := range s.server.locks {
		if holder == s {
			s.server.release(name)
		}
	}
}

// awake waits while the server is silent; an error says that the connection has ended meanwhile.
func (s *session) awake() error {
	s.server.swarm.mu.Lock()
	silent := s.server.asleep
	s.server.swarm.mu.Unlock()
	if silent == nil {
		return nil
	}
	select {
	case <-silent:
		return nil
	case <-s.over:
		return net.ErrClosed
	}
}

func (s *session) receive() ([]byte, error) {
	var h [4]byte
	if _, err := io.ReadFull(s.in, h[:]); err != nil {
		return nil, err
	}
	n := int(h[0]) | int(h[1])<<8 | int(h[2])<<16
	if n > maxPacket {
		return nil, errors.New("a packet is too long")
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(s.in, p); err != nil {
		return nil, err
	}
	s.seq = h[3] + 1
	return p, nil
}

// send writes one packet.
func (s *session) send(p []byte) error {
	_, err := s.conn.Write(s.packet(nil, p))
	return err
}

// packet appends a packet to b.
func (s *session) packet(b, p []byte) []byte {
	b = append(b, byte(len(p)), byte(len(p)>>8), byte(len(p)>>16), s.seq)
	s.seq++
	return append(b, p...)
}

func (s *session) fail(r refusal) error {
	p := binary.LittleEndian.AppendUint16([]byte{0xff}, r.errno)
	return s.send(append(p, "#HY000"+r.says...))
}

// null is a NULL in a row.
const null = "\x00NULL"

// column of an answer.
type column struct {
	name   string
	number bool
}

// table is an answer with rows; one without columns is OK.
type table struct {
	head [][]byte // the packets that define the columns
	rows [][]string
}

// define makes the packets that define columns.
func define(columns []column) [][]byte {
	var out [][]byte
	for _, c := range columns {
		d := text(nil, "def")
		for _, s := range []string{"", "", "", c.name, c.name} {
			d = text(d, s)
		}
		if c.number {
			d = append(d, 12, 63, 0, 21, 0, 0, 0, 8, 0, 0, 0, 0, 0) // LONGLONG, binary
		} else {
			d = append(d, 12, 45, 0, 255, 0, 0, 0, 253, 0, 0, 0, 0, 0) // VAR_STRING, utf8mb4
		}
		out = append(out, d)
	}
	return out
}

// text appends a string with its length.
func text(b []byte, s string) []byte {
	switch {
	case s == null:
		return append(b, 0xfb)
	case len(s) < 251:
		return append(append(b, byte(len(s))), s...)
	case len(s) < 1<<16:
		return append(append(b, 0xfc, byte(len(s)), byte(len(s)>>8)), s...)
	}
	return append(append(b, 0xfd, byte(len(s)), byte(len(s)>>8), byte(len(s)>>16)), s...)
}

// buffers are for answers, which come thousands a second.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// answer sends a table; more says that another one follows.
func (s *session) answer(t table, more bool) error {
	ok, eof := okPacket, eofPacket
	if more {
		ok, eof = okMore, eofMore
	}
	if len(t.head) == 0 {
		return s.send(ok)
	}
	kept := buffers.Get().(*[]byte)
	defer buffers.Put(kept)
	b := s.packet((*kept)[:0], []byte{byte(len(t.head))})
	for _, d := range t.head {
		b = s.packet(b, d)
	}
	b = s.packet(b, eof)
	for _, row := range t.rows {
		at := len(b)
		b = append(b, 0, 0, 0, s.seq)
		s.seq++
		for _, cell := range row {
			b = text(b, cell)
		}
		n := len(b) - at - 4
		b[at], b[at+1], b[at+2] = byte(n), byte(n>>8), byte(n>>16)
	}
	b = s.packet(b, eof)
	*kept = b
	_, err := s.conn.Write(b)
	return err
}
