package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

func reported(n uint16) error { return fmt.Errorf("ask: %w", &mysqldriver.MySQLError{Number: n}) }

func TestFailureByNumber(t *testing.T) {
	for _, c := range []struct {
		err  error
		want topology.Failure
	}{
		{nil, topology.OK},
		{reported(1040), topology.TooMany}, {reported(1203), topology.TooMany}, {reported(1226), topology.TooMany},
		{reported(1044), topology.Denied}, {reported(1045), topology.Denied}, {reported(1142), topology.Denied},
		{reported(1227), topology.Denied}, {reported(1698), topology.Denied}, {reported(1129), topology.Denied},
		{reported(1130), topology.Denied}, {reported(1251), topology.Denied}, {reported(3118), topology.Denied},
		{reported(1053), topology.Shutdown}, {reported(3159), topology.TLSError}, {reported(1064), topology.Other},
		{reported(4031), topology.Reset}, {reported(1927), topology.Reset},
		{syscall.ECONNREFUSED, topology.Refused}, {syscall.ECONNRESET, topology.Reset}, {io.EOF, topology.Reset},
		{syscall.EPIPE, topology.Reset}, {syscall.EHOSTUNREACH, topology.Timeout}, {syscall.ENETUNREACH,
			topology.Timeout},
		{context.DeadlineExceeded, topology.Timeout}, {mysqldriver.ErrMalformPkt, topology.Alien},
		{mysqldriver.ErrNoTLS, topology.TLSError}, {errors.New("?"), topology.Other}, {ErrTooMuch, topology.Other},
	} {
		if got := Failure(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestAnErrorMeansWhatItsNumberMeans(t *testing.T) {
	if !Means(reported(1213), ReadOnly, Collision) || Means(reported(1213), ReadOnly) {
		t.Error("a deadlock is a collision, and nothing else")
	}
	if !Means(reported(1290), ReadOnly) || !Means(reported(1836), ReadOnly) {
		t.Error("a server that has become read-only says so in two ways")
	}
	if Means(reported(65000), Unknown) || Means(io.EOF, Unknown) || Means(nil, Unknown) {
		t.Error("what nobody knows means something")
	}
	if !MeansNumber(1236, PositionPurged) || MeansNumber(1236+1<<16, PositionPurged) || MeansNumber(0, Unknown) {
		t.Error("a receiver's 1236 is a position that was purged, and no other number is")
	}
}

func TestMissingGrantIsWritten(t *testing.T) {
	refused := func(n uint16, needs, account string) error {
		return fmt.Errorf("probe: %w", &Refusal{Statement: Statement{Text: "SHOW REPLICA STATUS", Needs: needs},
			Account: account, Cause: reported(n)})
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{refused(1227, "REPLICATION CLIENT", "orc@%"), "GRANT REPLICATION CLIENT ON *.* TO 'orc'@'%'"},
		{refused(1142, "SELECT ON mysql.user", "o'rc@h"), `GRANT SELECT ON mysql.user TO 'o\'rc'@'h'`},
		{refused(1227, "PROCESS", ""), "GRANT PROCESS ON *.* TO <the account that we log in with>"},
		{refused(1227, "", "orc@%"), ""},
		{refused(1045, "PROCESS", "orc@%"), ""},
		{reported(1227), ""},
	} {
		if got := MissingGrant(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

func TestMissingPrivileges(t *testing.T) {
	for _, c := range []struct{ name, required, lines, database, want string }{
		{"all there", "PROCESS, RELOAD", "GRANT PROCESS, RELOAD ON *.* TO `a`@`%`", "", ""},
		{"one is not", "PROCESS, RELOAD", "GRANT PROCESS ON *.* TO `a`@`%`", "", "RELOAD"},
		{"in a database is not everywhere", "RELOAD", "GRANT RELOAD ON db.* TO `a`@`%`", "", "RELOAD"},
		{"everywhere is in a database", "SELECT", "GRANT SELECT ON *.* TO `a`@`%`", "db", ""},
		{"in that database", "SELECT", "GRANT SELECT ON `d\\_b`.* TO `a`@`%`", "d_b", ""},
		{"in another database", "SELECT", "GRANT SELECT ON `other`.* TO `a`@`%`", "db", "SELECT"},
		{"all", "SELECT, RELOAD", "GRANT ALL PRIVILEGES ON *.* TO `a`@`%`", "", ""},
		{"another name", "SLAVE MONITOR", "GRANT REPLICA MONITOR ON *.* TO `a`@`%`", "", ""},
		{"SUPER", "REPLICATION_SLAVE_ADMIN, REPLICATION CLIENT, RELOAD", "GRANT SUPER ON *.* TO `a`@`%`", "", "RELOAD"},
		{"SUPER of MariaDB", "READ_ONLY ADMIN", "GRANT SUPER ON *.* TO `a`@`%`", "", "READ_ONLY ADMIN"},
		{"on a table", "SELECT ON mysql.event", "GRANT SELECT ON `mysql`.`event` TO `a`@`%`", "", ""},
		{"on another table", "SELECT ON mysql.event", "GRANT SELECT ON `mysql`.`user` TO `a`@`%`", "",
			"SELECT ON mysql.event"},
		{"on its database", "SELECT ON mysql.event", "GRANT SELECT ON `mysql`.* TO `a`@`%`", "", ""},
		{"everywhere is on a table", "SELECT ON mysql.event", "GRANT SELECT ON *.* TO `a`@`%`", "", ""},
		{"another on that table", "SELECT ON mysql.event", "GRANT INSERT ON `mysql`.`event` TO `a`@`%`", "",
			"SELECT ON mysql.event"},
		{"a role is no privilege", "PROCESS", "GRANT `r` TO `a`@`%`", "", "PROCESS"},
	} {
		got := MissingPrivileges(strings.Split(c.required, ", "), strings.Split(c.lines, "\n"), c.database)
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: missing %v, want %s", c.name, got, c.want)
		}
	}
}

func TestQuotes(t *testing.T) {
	if got := Quote(`a\b'c`); got != `'a\\b\'c'` {
		t.Errorf("Quote: %s", got)
	}
	if got := QuoteName("a`b"); got != "`a``b`" {
		t.Errorf("QuoteName: %s", got)
	}
	for account, want := range map[string]string{"a@b@h": "'a@b'@'h'", "a": "'a'@'%'", "@": "''@''"} {
		if got := QuoteAccount(account); got != want {
			t.Errorf("QuoteAccount(%s): %s", account, got)
		}
	}
}
