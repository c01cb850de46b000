package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to do to the daemon's file what others do

	"orchestrator/daemon/analysis"
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

// ready waits until the daemon says that it is ready, or why it is not.
func (f fleet) ready(says string) {
	f.Helper()
	last := ""
	took := f.Within(8*time.Second, "readiness says "+strconv.Quote(says), func() bool {
		s, err := f.API.Status(f.Ctx)
		if err == nil {
			last = s.NotReady
		}
		return err == nil && (s.NotReady == says || says != "" && strings.Contains(s.NotReady, says))
	})
	f.Logf("after %v: %s", took.Round(10*time.Millisecond), last)
}

// A daemon is ready when it can store something. Whatever is done to its file, it says within seconds why it is not,
// refuses what people declare, and finds the trouble.
func TestReadyMeansThatItCanStore(t *testing.T) {
	l := lab.Test(t)
	f := startWith(t, l, lab.Spec{Flavor: lab.MariaDB}, 0, lab.DaemonSpec{Binary: binary})
	server := f.Primary.Key.String()
	refuses := func(says string) {
		t.Helper()
		f.ready(says)
		if err := f.API.SetTag(f.Ctx, server, "x", "y"); err == nil {
			t.Errorf("%s: a tag is acknowledged", says)
		}
		f.Await("it is found", func() bool { return f.Found(analysis.StoreFailing, "") })
	}
	again := func() {
		t.Helper()
		f.Must(f.API.Close())
		for _, suffix := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(f.path() + suffix)
		}
		f.Must(f.API.Restart(f.Ctx))
		f.ready("")
	}

	// What was acknowledged survives a log that is removed while the daemon runs, and is said to be lost where it is
	// removed after a kill.
	f.Must(f.API.SetTag(f.Ctx, server, "before", "1"))
	f.Must(os.Remove(f.path() + "-wal"))
	f.Must(f.API.SetTag(f.Ctx, server, "after", "1"))
	f.Must(f.API.Close())
	f.Must(f.API.Restart(f.Ctx))
	f.Await("the tags are there", func() bool {
		v, err := f.API.Instance(f.Ctx, server)
		return err == nil && v.Tags["before"] == "1" && v.Tags["after"] == "1"
	})
	f.Must(f.API.Close())
	f.Must(os.Remove(f.path() + "-wal"))
	f.Must(f.API.Restart(f.Ctx))
	f.Await("what is lost is said", func() bool {
		found, err := f.API.Findings(f.Ctx, "")
		return err == nil && strings.Contains(fmt.Sprint(found), "-wal is missing")
	})

	again()
	f.Must(os.Truncate(f.path(), 4096))
	refuses("overwritten or cut off")
	again()
	file, err := os.OpenFile(f.path(), os.O_WRONLY, 0)
	f.Must(err)
	_, err = file.Write(make([]byte, 8192))
	f.Must(errors.Join(err, file.Close()))
	refuses("overwritten or cut off")
	again()
	f.Must(os.Rename(f.path(), f.path()+".old"))
	refuses("removed or replaced")

	again()
	f.Must(f.API.Close())
	f.Must(f.API.RestartOn(f.Ctx, "16m"))
	f.Must(f.API.SetTag(f.Ctx, server, "before", "1"))
	f.Must(f.API.Fill())
	f.ready("file system is full")
	f.Must(f.API.Free())
	f.ready("")
	f.Must(f.API.SetTag(f.Ctx, server, "after", "1"))
}
