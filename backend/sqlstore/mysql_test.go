package sqlstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

func options(address string) MySQLOptions {
	return MySQLOptions{Address: address, Database: lab.BackendDatabase, User: lab.BackendUser, Password: lab.BackendPassword, Timeout: 5 * time.Second}
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

// databasesOf gives each directory a database of its own in the server, which stands for a store of its own; what identifies it is written
// into the directory, so that another process finds it.
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

// onMembers runs a test once for each flavour, with one server that could be a member of a pair; none in the process that is to be killed.
func onMembers(t *testing.T, test func(t *testing.T, s *lab.Server)) {
	for _, f := range []topology.Flavor{lab.MariaDB, lab.MySQL} {
		t.Run(string(f), func(t *testing.T) {
			if storetest.Crashing() {
				test(t, nil)
				return
			}
			s, err := lab.Test(t).Member(t.Context(), f, lab.Quick()...)
			if err != nil {
				t.Fatal(err)
			}
			test(t, s)
		})
	}
}
