package mysql

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
)

// listen answers each connection as serve does.
func listen(t testing.TB, serve func(net.Conn)) topology.Key {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.42.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	return topology.Key{Host: "127.0.42.1", Port: l.Addr().(*net.TCPAddr).Port}
}

func TestWhatIsNoServer(t *testing.T) {
	patient := func(text string) func(net.Conn) {
		return func(c net.Conn) { fmt.Fprint(c, text); _, _ = io.Copy(io.Discard, c) }
	}
	closed := listen(t, func(net.Conn) {})
	cases := []struct {
		name string
		key  topology.Key
		want topology.Failure
		says string
	}{
		{"ssh", listen(t, patient("SSH-2.0-OpenSSH_9.2\r\n")), topology.Alien, "SSH-2.0"},
		{"a few letters, then the end", listen(t, func(c net.Conn) { fmt.Fprint(c, "no") }), topology.Alien,
			"not a MySQL or MariaDB"},
		{"a greeting that breaks the driver", listen(t, patient("\x05\x00\x00\x00\x0a8.0\x00")), topology.Alien,
			"makes no sense"},
		{"silence, as a hung server or a web server", listen(t, patient("")), topology.Timeout, "no greeting"},
		{"the end at once", closed, topology.Reset, ""},
		{"nobody listens", topology.Key{Host: "127.0.42.2", Port: 1}, topology.Refused, "refused"},
		{"no such host", topology.Key{Host: "nobody.invalid", Port: 3306}, topology.NoHost, "nobody.invalid"},
		{"too many connections", listen(t, patient("\x18\x00\x00\x00\xff\x10\x04Too many connections..")),
			topology.TooMany, "1040"},
		{"host blocked", listen(t, patient("\x18\x00\x00\x00\xff\x69\x04Host is blocked........")), topology.Denied,
			"FLUSH HOSTS"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := New(Options{User: "u", Password: "hidden-secret", ProbeTimeout: 300 * time.Millisecond})
			defer func() { _ = s.Close() }()
			start := time.Now()
			_, got, err := s.Probe(t.Context(), c.key)
			if got != c.want || err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %s and %q", got, err, c.want, c.says)
			}
			if time.Since(start) > time.Second {
				t.Errorf("it took %v", time.Since(start))
			}
			if strings.Contains(fmt.Sprint(err), "hidden-secret") {
				t.Error("the password is shown")
			}
		})
	}
}
