package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

func options(address string) MySQLOptions {
	return MySQLOptions{Address: address, Database: lab.BackendDatabase, User: lab.BackendUser,
		Password: lab.BackendPassword, Security: lab.Security(), Timeout: 5 * time.Second}
}

func dial(t testing.TB, o MySQLOptions) *Store {
	t.Helper()
	s, err := OpenMySQL(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var databases atomic.Int64

// databasesOf gives each directory a database of its own in the server, which stands for a store of its own; what
// identifies it is written into the directory, so that another process finds it.
func databasesOf(s *lab.Server) func(t testing.TB, dir string) *Store {
	return func(t testing.TB, dir string) *Store {
		t.Helper()
		file := filepath.Join(dir, "database")
		text, err := os.ReadFile(file)
		if err != nil {
			name := fmt.Sprintf("store%d", databases.Add(1))
			text = []byte(s.Key.String() + " " + name)
			err = s.Exec(context.Background(), "CREATE DATABASE "+name,
				fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON %s.* TO '%s'@'%%'", name, lab.BackendUser))
			if err == nil {
				err = os.WriteFile(file, text, 0o600)
			}
		}
		var o MySQLOptions
		if err == nil {
			o = options("")
			_, err = fmt.Sscanf(string(text), "%s %s", &o.Address, &o.Database)
		}
		if err != nil {
			t.Fatal(err)
		}
		return dial(t, o)
	}
}

func TestMySQLStore(t *testing.T) {
	onMembers(t, func(t *testing.T, s *lab.Server) {
		open := databasesOf(s)
		storetest.Run(t, func(t testing.TB, dir string) backend.Store { return open(t, dir) })
	})
}

func TestMySQLLease(t *testing.T) {
	onMembers(t, func(t *testing.T, s *lab.Server) {
		open := databasesOf(s)
		storetest.RunLease(t, func(t testing.TB, dir string) backend.Lease { return open(t, dir).Lease("leader") })
	})
}

func TestMySQLCrash(t *testing.T) {
	onMembers(t, func(t *testing.T, s *lab.Server) {
		open := databasesOf(s)
		storetest.RunCrash(t, func(t testing.TB, dir string) backend.Store { return open(t, dir) })
	})
}

// onMembers runs a test once for each flavour, with a server that could be a member of a pair: one for all tests, which
// takes the time of starting it once, and as it was at first for each; none in the process that is to be killed.
func onMembers(t *testing.T, test func(t *testing.T, s *lab.Server)) {
	flavors(t, func(t *testing.T, f topology.Flavor) {
		if storetest.Crashing() {
			test(t, nil)
			return
		}
		s := fleet.member(t, f)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("log of %v: %s", s.Key, s.Log())
			}
		})
		test(t, s)
	})
}

// flavors runs a test for both at the same time: most of what it takes is waiting.
func flavors(t *testing.T, test func(t *testing.T, f topology.Flavor)) {
	for _, f := range []topology.Flavor{lab.MariaDB, lab.MySQL} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			test(t, f)
		})
	}
}

// members are the servers of onMembers.
type members struct {
	mu   sync.Mutex
	labs map[topology.Flavor]*lab.Lab
}

var fleet = &members{labs: map[topology.Flavor]*lab.Lab{}}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, l := range fleet.labs {
		if err := l.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func (m *members) lab(t *testing.T, f topology.Flavor) *lab.Lab {
	if testing.Short() {
		t.Skip("needs real servers")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.labs[f] == nil {
		l, err := lab.New()
		must(t, err)
		m.labs[f] = l
	}
	return m.labs[f]
}

// member starts the server of a flavour, or makes it what it was when it was started.
func (m *members) member(t *testing.T, f topology.Flavor) *lab.Server {
	l, ctx := m.lab(t, f), t.Context()
	if len(l.Servers()) == 0 {
		s, err := l.Member(ctx, f, lab.Quick()...)
		must(t, err)
		return s
	}
	s := l.Servers()[0]
	if s.Pid() == 0 {
		must(t, s.Restart(ctx))
	}
	must(t, s.Continue())
	rows, err := s.DB().Query("SHOW DATABASES")
	must(t, err)
	var all []string
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		all = append(all, name)
	}
	must(t, errors.Join(rows.Err(), rows.Close()))
	for _, name := range all {
		if name == lab.BackendDatabase || strings.HasPrefix(name, "store") {
			must(t, s.Exec(ctx, "DROP DATABASE "+name))
		}
	}
	must(t, s.Exec(ctx, "CREATE DATABASE "+lab.BackendDatabase, "SET GLOBAL read_only = 0",
		"SET GLOBAL binlog_format = 'STATEMENT'", "SET GLOBAL autocommit = 1",
		"SET GLOBAL wait_timeout = DEFAULT", "SET GLOBAL innodb_lock_wait_timeout = DEFAULT"))
	return s
}
