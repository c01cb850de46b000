package hostile

import (
	"bytes"
	"crypto/rand"
	"strings"
	"time"
)

// Then does one act after the other, as long as the client stays.
func Then(acts ...Act) Act {
	return func(s *Session) {
		for _, act := range acts {
			if act(s); s.over {
				return
			}
		}
	}
}

// LetIn greets, and lets in whoever comes, whatever the password.
func LetIn(s *Session) {
	s.Send(Greeting("mysql_native_password"))
	if s.Receive() != nil {
		s.Send(OK)
	}
}

// Silent says nothing from then on.
func Silent(s *Session) { s.Silence() }

// Hangs up.
func Hangs(s *Session) { s.End() }

// Columns claims so many.
func Columns(n uint64) Act { return func(s *Session) { s.Send(Integer(n)) } }

// Greetings are the ways to begin badly, by name.
var Greetings = map[string]Act{
	"silent":           Silent,
	"closed at once":   Hangs,
	"another protocol": func(s *Session) { s.Raw([]byte("SSH-2.0-OpenSSH_9.2p1\r\n")); s.Silence() },
	"16 MB":            func(s *Session) { s.Claim(0xfffffe, []byte{10}); s.Silence() },
	"noise":            func(s *Session) { s.Raw(noise(64 << 10)); s.Silence() },
	"half":             func(s *Session) { s.Claim(100, []byte("\n8.4.0")); s.Silence() },
	"no end of version": func(s *Session) {
		s.Send(append([]byte{10}, bytes.Repeat([]byte{'9'}, 1000)...))
		s.Silence()
	},
	"silent after it": func(s *Session) { s.Send(Greeting("mysql_native_password")); s.Silence() },
	"endless asking": func(s *Session) {
		for s.Send(Greeting("mysql_native_password")); !s.over; s.Receive() {
			s.Send(append(append([]byte{0xfe}, "mysql_native_password\x00"...), "abcdefghijklmnopqrst\x00"...))
		}
	},
	"a login of 16 MB": func(s *Session) {
		s.Send(Greeting("mysql_native_password"))
		s.Receive()
		s.Claim(0xfffffe, nil)
		s.Silence()
	},
	"an unknown plugin": func(s *Session) { s.Send(Greeting("mysql_dialog")); s.Silence() },
}

// Answers are the ways to answer badly, by name.
var Answers = map[string]Act{
	"silent":                    Silent,
	"closed":                    Hangs,
	"noise":                     func(s *Session) { s.Raw(noise(256 << 10)); s.Silence() },
	"2^40 columns":              Columns(1 << 40),
	"2^24 columns":              Columns(1 << 24),
	"4,097 columns":             Columns(4097),
	"2^40 columns in the third": Then(more, more, Columns(1<<40)),
	"as many columns as are allowed": func(s *Session) {
		s.Send([]byte{0xfc, 0, 16})
		for range 4096 {
			s.Send(Column(strings.Repeat("c", 200)))
		}
		s.Send(EOF)
		for !s.over {
			s.Send(make([]byte, 4096))
		}
	},
	"a packet of 16 MB": func(s *Session) { s.Claim(0xffffff, []byte{1}); s.Silence() },
	"endless parts of a packet": func(s *Session) {
		for part := make([]byte, 0xffffff); !s.over; {
			s.Send(part)
		}
	},
	"a row longer than its packet": func(s *Session) {
		s.Head("a")
		s.Send(append([]byte{0xfd, 0xff, 0xff, 0x7f}, "x"...))
		s.Silence()
	},
	"a cell of 2^62 bytes": func(s *Session) {
		s.Head("a", "b")
		s.Send(append(append(Text("x"), Integer(1<<62)...), "x"...))
		s.Silence()
	},
	"endless rows": func(s *Session) {
		for s.Head("a"); !s.over; {
			s.Row(strings.Repeat("x", 8000))
		}
	},
	"endless short rows": func(s *Session) {
		for s.Head("a"); !s.over; {
			s.Raw(bytes.Repeat([]byte{1, 0, 0, s.Sequence, 0}, 1))
			s.Sequence++
		}
	},
	"endless answers": func(s *Session) {
		for !s.over {
			s.Send(MoreOK)
		}
	},
	"a slow trickle": func(s *Session) {
		for s.Head("a"); !s.over; s.Pause(50 * time.Millisecond) {
			s.Row("x")
		}
	},
	"byte by byte": func(s *Session) {
		for b := byte(0); !s.over; s.Pause(50 * time.Millisecond) {
			s.Raw([]byte{b})
		}
	},
	"wrong sequence numbers": func(s *Session) {
		s.Sequence += 3
		s.Head("a")
		s.Sequence = 0
		s.Row("x")
		s.Send(EOF)
	},
	"a file is asked for":   func(s *Session) { s.Send([]byte("\xfb/etc/passwd")); s.Silence() },
	"an error without text": func(s *Session) { s.Send([]byte{0xff, 1}) },
	"half an OK":            func(s *Session) { s.Send([]byte{0, 0}) },
	"an empty packet":       func(s *Session) { s.Send(nil) },
	"an answer in advance": func(s *Session) {
		s.Raw(append(s.packet(len(OK), OK), append([]byte{9, 0, 0, 1}, Integer(1<<40)...)...))
	},
	"a long error": func(s *Session) {
		s.Send(append([]byte{0xff, 0x28, 4}, bytes.Repeat([]byte("\x1b[2J\u202e"), 20_000)...))
	},
	"closed after each number of bytes": func(s *Session) {
		var all bytes.Buffer
		whole := &Session{Conn: recorder{s.Conn, &all}, Sequence: 1}
		whole.Head("version", "account")
		whole.Row("8.4.0", "orchestrator@%")
		whole.Send(MoreEOF)
		s.Raw(all.Bytes()[:s.Number%all.Len()])
		s.End()
	},
}

// more is an answer that is followed by another one.
func more(s *Session) {
	s.Send([]byte{1})
	s.Send(Column("a"))
	s.Send(MoreEOF)
	s.Row("x")
	s.Send(MoreEOF)
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
