package e2e

import (
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to do to the daemon's file what others do

	"orchestrator/tests/lab"
)

// file is the store of the daemon, opened beside it.
func (f fleet) file() *sql.DB {
	f.Helper()
	db, err := sql.Open("sqlite", "file:"+f.path()+"?_pragma=busy_timeout(5000)&_txlock=immediate")
	f.Must(err)
	f.Cleanup(func() { db.Close() })
	return db
}

func (f fleet) path() string { return filepath.Join(filepath.Dir(f.API.ConfigFile), "orchestrator.db") }

// stored is how many live records of a kind are in the file.
func (f fleet) stored(db *sql.DB, kind string) (n int) {
	f.Helper()
	f.Must(db.QueryRowContext(f.Ctx, "SELECT COUNT(*) FROM record WHERE kind = ? AND deleted = 0", kind).Scan(&n))
	return n
}

// A store that is locked while a cluster is discovered gets all of it when it is free again. Who asked for a server is
// answered only when that is stored.
func TestALockedStoreLosesNothing(t *testing.T) {
	l := lab.Test(t)
	f := startWith(t, l, lab.Spec{Flavor: lab.MariaDB}, 2, lab.DaemonSpec{Binary: binary})
	f.Must(f.API.Close())
	f.Must(os.Remove(f.path()))
	text, err := os.ReadFile(f.API.ConfigFile)
	f.Must(err)
	f.Must(os.WriteFile(f.API.ConfigFile, regexp.MustCompile(`(?m)^seeds = .*$`).ReplaceAll(text, nil), 0o644))
	f.Must(f.API.Restart(f.Ctx))

	db := f.file()
	tx, err := db.BeginTx(f.Ctx, nil)
	f.Must(err)
	answered := make(chan error, 1)
	go func() {
		_, err := f.API.Discover(f.Ctx, f.Replicas[0].Key.String())
		answered <- err
	}()
	select {
	case err := <-answered:
		if err == nil {
			t.Error("a server counts as discovered, although that could not be stored")
		}
	case <-time.After(8 * time.Second): // longer than any attempt to store what was seen
	}
	f.Must(tx.Rollback())
	f.Await("all three servers are on record", func() bool { return f.stored(db, "instance") == 3 })
}
