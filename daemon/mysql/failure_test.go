package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// listen answers each connection as serve does.
func listen(t *testing.T, serve func(net.Conn)) topology.Key {
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
		{"a few letters, then the end", listen(t, func(c net.Conn) { fmt.Fprint(c, "no") }), topology.Alien, "no MySQL or MariaDB"},
		{"a greeting that breaks the driver", listen(t, patient("\x05\x00\x00\x00\x0a8.0\x00")), topology.Alien, "makes no sense"},
		{"silence, as a hung server or a web server", listen(t, patient("")), topology.Timeout, "no greeting"},
		{"the end at once", closed, topology.Reset, ""},
		{"nobody listens", topology.Key{Host: "127.0.42.2", Port: 1}, topology.Refused, "refused"},
		{"no such host", topology.Key{Host: "nobody.invalid", Port: 3306}, topology.NoHost, "nobody.invalid"},
		{"too many connections", listen(t, patient("\x18\x00\x00\x00\xff\x10\x04Too many connections..")), topology.TooMany, "1040"},
		{"host blocked", listen(t, patient("\x18\x00\x00\x00\xff\x69\x04Host is blocked........")), topology.Denied, "FLUSH HOSTS"},
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
				t.Error("the password is told")
			}
		})
	}
}

func TestFailureByNumber(t *testing.T) {
	told := func(n uint16) error { return fmt.Errorf("ask: %w", &mysqldriver.MySQLError{Number: n}) }
	for _, c := range []struct {
		err  error
		want topology.Failure
	}{
		{nil, topology.OK},
		{told(1040), topology.TooMany}, {told(1203), topology.TooMany}, {told(1226), topology.TooMany},
		{told(1045), topology.Denied}, {told(1044), topology.Denied}, {told(1142), topology.Denied}, {told(1227), topology.Denied},
		{told(1698), topology.Denied}, {told(1129), topology.Denied}, {told(1130), topology.Denied},
		{told(1053), topology.Shutdown}, {told(3159), topology.TLSError}, {told(1064), topology.Other}, {told(4031), topology.Reset},
		{syscall.ECONNREFUSED, topology.Refused}, {syscall.ECONNRESET, topology.Reset}, {io.EOF, topology.Reset}, {syscall.EPIPE, topology.Reset},
		{syscall.EHOSTUNREACH, topology.Timeout}, {syscall.ENETUNREACH, topology.Timeout}, {context.DeadlineExceeded, topology.Timeout},
		{mysqldriver.ErrMalformPkt, topology.Alien}, {mysqldriver.ErrNoTLS, topology.TLSError}, {errors.New("?"), topology.Other},
	} {
		if got := failure(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestMissingGrantIsPrinted(t *testing.T) {
	err := explain(&refusal{statement: statement{"SHOW REPLICA STATUS", "REPLICATION CLIENT"}, account: "orc@%", cause: &mysqldriver.MySQLError{Number: 1227}})
	if want := "GRANT REPLICATION CLIENT ON *.* TO 'orc'@'%'"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	got := missing([]string{"PROCESS", "SLAVE MONITOR", "RELOAD"}, []string{"GRANT PROCESS, REPLICA MONITOR ON *.* TO `a`@`%`", "GRANT RELOAD ON db.* TO `a`@`%`"})
	if len(got) != 1 || got[0] != "RELOAD" {
		t.Errorf("missing %v", got)
	}
}

func TestDialects(t *testing.T) {
	for _, c := range []struct{ version, channels, replicas, binlog, stop, change string }{
		{"5.7.44-log", "SHOW SLAVE STATUS", "SHOW SLAVE HOSTS", "SHOW MASTER STATUS", "STOP SLAVE FOR CHANNEL ?", "CHANGE MASTER TO"},
		{"8.0.20", "SHOW SLAVE STATUS", "SHOW SLAVE HOSTS", "SHOW MASTER STATUS", "STOP SLAVE FOR CHANNEL ?", "CHANGE MASTER TO"},
		{"8.0.22", "SHOW REPLICA STATUS", "SHOW REPLICAS", "SHOW MASTER STATUS", "STOP REPLICA FOR CHANNEL ?", "CHANGE MASTER TO"},
		{"8.0.36-28", "SHOW REPLICA STATUS", "SHOW REPLICAS", "SHOW MASTER STATUS", "STOP REPLICA FOR CHANNEL ?", "CHANGE REPLICATION SOURCE TO"},
		{"8.4.3", "SHOW REPLICA STATUS", "SHOW REPLICAS", "SHOW BINARY LOG STATUS", "STOP REPLICA FOR CHANNEL ?", "CHANGE REPLICATION SOURCE TO"},
		{"9.7.4", "SHOW REPLICA STATUS", "SHOW REPLICAS", "SHOW BINARY LOG STATUS", "STOP REPLICA FOR CHANNEL ?", "CHANGE REPLICATION SOURCE TO"},
		{"10.5.2-MariaDB", "SHOW ALL SLAVES STATUS", "SHOW SLAVE HOSTS", "SHOW MASTER STATUS", "STOP SLAVE ?", "CHANGE MASTER ? TO"},
		{"5.5.5-11.4.2-MariaDB-log", "SHOW ALL SLAVES STATUS", "SHOW SLAVE HOSTS", "SHOW MASTER STATUS", "STOP SLAVE ?", "CHANGE MASTER ? TO"},
		{"12.0.1-MariaDB", "SHOW ALL SLAVES STATUS", "SHOW SLAVE HOSTS", "SHOW MASTER STATUS", "STOP SLAVE ?", "CHANGE MASTER ? TO"},
	} {
		f, v, err := topology.ParseVersion(c.version)
		if err != nil {
			t.Fatal(err)
		}
		d := speak(f, v, true)
		if d.channels.text != c.channels || d.replicas.text != c.replicas || d.binlog.text != c.binlog || d.stop.text != c.stop ||
			!strings.HasPrefix(d.changeHost.text, c.change) || !strings.HasPrefix(d.changeAuto.text, c.change) || !strings.HasPrefix(d.changeHostWithKey.text, c.change) {
			t.Errorf("%s speaks %+v", c.version, d)
		}
	}
}
