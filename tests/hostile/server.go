// Package hostile provides tests with whatever may attack a daemon on the wire: servers that lie, never end or fall
// silent, and clients that claim to be replicas. Each attack is a test against the built program, with a failover of
// real servers beside it. It checks nothing itself. The one idea: a server is two acts, of a greeting and of an answer,
// and an act is a function of a session, so that any two can be combined.
package hostile

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"orchestrator/daemon/topology"
)

// Act is what a server does in a session. It ends when the client is gone.
type Act func(s *Session)

// Server greets each client, and answers each question until its act closes the session.
type Server struct {
	Key      topology.Key
	Greet    Act // nil: it lets anybody in
	Answer   Act
	listener net.Listener
	mu       sync.Mutex
	met      int
	open     map[net.Conn]bool
}

// Listen starts a server at a free port of an address.
func Listen(address string, greet, answer Act) (*Server, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, fmt.Errorf("start a hostile server: %w", err)
	}
	if greet == nil {
		greet = LetIn
	}
	v := &Server{Greet: greet, Answer: answer, listener: l, open: map[net.Conn]bool{},
		Key: topology.Key{Host: address, Port: l.Addr().(*net.TCPAddr).Port}}
	go v.accept()
	return v, nil
}

// Close ends all sessions.
func (v *Server) Close() {
	_ = v.listener.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range v.open {
		_ = c.Close()
	}
}

// Met is how many clients have come.
func (v *Server) Met() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.met
}

func (v *Server) accept() {
	for {
		c, err := v.listener.Accept()
		if err != nil {
			return
		}
		v.mu.Lock()
		v.met++
		v.open[c] = true
		s := &Session{Conn: c, Number: v.met}
		v.mu.Unlock()
		go func() {
			defer func() {
				_ = c.Close()
				v.mu.Lock()
				defer v.mu.Unlock()
				delete(v.open, c)
			}()
			v.serve(s)
		}()
	}
}

func (v *Server) serve(s *Session) {
	for v.Greet(s); !s.over; v.Answer(s) {
		if s.Question = s.Receive(); len(s.Question) == 0 || s.Question[0] != comQuery {
			return
		}
	}
}

const comQuery = 3

// Session is one client's connection.
type Session struct {
	net.Conn
	Number   int    // of the session at its server, from 1
	Question []byte // the command that is to be answered
	Sequence byte   // number of the next packet
	over     bool
}

// Over says that the client is gone, or the session was ended.
func (s *Session) Over() bool { return s.over }

// End closes the session.
func (s *Session) End() {
	s.over = true
	_ = s.Close()
}

// Raw sends bytes as they are; a client that is gone ends the session.
func (s *Session) Raw(b []byte) {
	if _, err := s.Write(b); err != nil {
		s.End()
	}
}

// Send sends a packet.
func (s *Session) Send(body []byte) { s.Raw(s.packet(len(body), body)) }

// Claim sends a packet whose header claims another length.
func (s *Session) Claim(length int, body []byte) { s.Raw(s.packet(length, body)) }

func (s *Session) packet(length int, body []byte) []byte {
	b := append([]byte{byte(length), byte(length >> 8), byte(length >> 16), s.Sequence}, body...)
	s.Sequence++
	return b
}

// Receive reads a packet; nil when the client is gone.
func (s *Session) Receive() []byte {
	var h [4]byte
	if _, err := io.ReadFull(s.Conn, h[:]); err != nil {
		s.End()
		return nil
	}
	body := make([]byte, int(h[0])|int(h[1])<<8|int(h[2])<<16)
	if _, err := io.ReadFull(s.Conn, body); err != nil {
		s.End()
		return nil
	}
	s.Sequence = h[3] + 1
	return body
}

// Silence says nothing until the client is gone.
func (s *Session) Silence() {
	_, _ = io.Copy(io.Discard, s.Conn)
	s.End()
}

// Pause waits.
func (s *Session) Pause(d time.Duration) { time.Sleep(d) }

// What all servers say.
var (
	OK  = []byte{0, 0, 0, 2, 0, 0, 0}
	EOF = []byte{0xfe, 0, 0, 2, 0}
	// More of each says that another answer follows.
	MoreOK  = []byte{0, 0, 0, 2 | 8, 0, 0, 0}
	MoreEOF = []byte{0xfe, 0, 0, 2 | 8, 0}
)

// Greeting is that of a MySQL server, before the password is asked for.
func Greeting(plugin string) []byte {
	// protocol 4.1, long authentication data, plugins, several statements at once, long passwords
	const capabilities = 0x200 | 0x8000 | 0x80000 | 0x30000 | 1
	g := append([]byte{10}, "8.4.0\x00\x01\x00\x00\x00abcdefgh\x00"...)
	g = binary.LittleEndian.AppendUint16(g, capabilities&0xffff)
	g = append(g, 45, 2, 0)
	g = binary.LittleEndian.AppendUint16(g, capabilities>>16)
	g = append(g, "\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00"...)
	return append(append(g, plugin...), 0)
}

// Text is a string as the protocol has it.
func Text(s string) []byte {
	switch n := len(s); {
	case n < 251:
		return append([]byte{byte(n)}, s...)
	case n < 1<<16:
		return append([]byte{0xfc, byte(n), byte(n >> 8)}, s...)
	default:
		return append([]byte{0xfd, byte(n), byte(n >> 8), byte(n >> 16)}, s...)
	}
}

// Integer is one of eight bytes as the protocol has it.
func Integer(n uint64) []byte { return binary.LittleEndian.AppendUint64([]byte{0xfe}, n) }

// Column describes one.
func Column(name string) []byte {
	d := Text("def")
	for _, s := range []string{"", "", "", name, name} {
		d = append(d, Text(s)...)
	}
	return append(d, 12, 45, 0, 255, 0, 0, 0, 253, 0, 0, 0, 0, 0)
}

// Head sends the columns of an answer.
func (s *Session) Head(names ...string) {
	s.Send([]byte{byte(len(names))})
	for _, name := range names {
		s.Send(Column(name))
	}
	s.Send(EOF)
}

// Row sends one.
func (s *Session) Row(cells ...string) {
	var b []byte
	for _, cell := range cells {
		b = append(b, Text(cell)...)
	}
	s.Send(b)
}
