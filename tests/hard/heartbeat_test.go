package hard

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

const heartbeatTable = "CREATE TABLE meta.heartbeat (id INT PRIMARY KEY, at DATETIME(6) NOT NULL)"

// mayWrite lets the daemon write there.
func mayWrite(where string) string {
	return "GRANT INSERT, DELETE ON " + where + " TO '" + lab.User + "'@'%'"
}

// withTable is a watched cluster whose policy names meta.heartbeat, and where these statements made what is in meta.
func withTable(t *testing.T, l *lab.Lab, flavor topology.Flavor, replicas int, statements ...string) *watched.Fleet {
	t.Helper()
	f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, replicas)
	f.Must(f.Primary.Exec(f.Ctx, "CREATE DATABASE meta"))
	f.Must(f.Primary.Exec(f.Ctx, statements...))
	for _, r := range f.Replicas {
		caughtUp(f, r)
	}
	f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy + "heartbeat = \"meta.heartbeat\"\n"})
	_, err := f.API.AwaitServers(f.Ctx, replicas+1)
	f.Must(err)
	return f
}

// Nobody writes. Where the operator has a table for it, the daemon commits a row of its own at the promoted server, so
// that the episode can tell of a commit; its replicas get the row, and lack nothing.
func TestACommitOfOurOwn(t *testing.T) {
	quick(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := withTable(t, l, flavor, 2, heartbeatTable, mayWrite("meta.heartbeat"))
		f.Must(f.Primary.Kill())
		e, primary := f.Promoted()
		f.Within(20*time.Second, "the episode tells of a commit", func() bool {
			e, err := f.API.Episode(f.Ctx, e.ID)
			return err == nil && e.Committed.After(e.Promoted) && strings.Contains(e.Writes(), "a commit was seen at")
		})
		f.Settled(primary)
		for _, s := range f.Replicas {
			caughtUpWith(f, s, primary)
			if row, err := s.Row(f.Ctx, "SELECT COUNT(*) AS n FROM meta.heartbeat"); err != nil || row["n"] != "1" {
				t.Errorf("%v has %v rows (%v)", s.Key, row, err)
			}
		}
		if es, err := f.API.Episodes(f.Ctx, "", "true"); err != nil || len(es) > 0 {
			t.Errorf("open: %+v (%v)", es, err)
		}
	})
}

// The account may not write there: the failover is whole, and the episode says which privilege is missing.
func TestACommitOfOurOwnIsRefused(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Start(t, l, lab.Spec{Flavor: flavor}, 2,
			lab.DaemonSpec{Binary: binary, Config: "heartbeat = \"app.written\"\n"})
		commits(f, f.Primary, 1) // in a cluster that nobody has ever written to nothing is tried
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		f.Must(f.Primary.Kill())
		e, primary := f.Promoted()
		f.Settled(primary)
		f.Within(20*time.Second, "the episode says why", func() bool {
			e, err := f.API.Episode(f.Ctx, e.ID)
			return err == nil && e.Committed.IsZero() &&
				strings.Contains(e.Writes(), "GRANT INSERT, DELETE ON `app`.`written` TO")
		})
		time.Sleep(2 * time.Second)
		if n := strings.Count(f.API.Log(), "step=try_write"); n > 6 {
			t.Errorf("it was tried again and again:\n%s", f.API.Log())
		}
		commits(f, primary, 100)
		f.Await("a commit is seen all the same", func() bool {
			e, err := f.API.Episode(f.Ctx, e.ID)
			return err == nil && !e.Committed.IsZero()
		})
	})
}

// The table is not what it should be. The new primary is promoted and followed all the same; the episode says what is
// wrong with the table, and that no commit has been seen.
func TestAnOddTableForOurOwnCommit(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"there is none", "doesn't exist"},
		{"it has other columns", "Unknown column 'at'"},
		{"a trigger refuses", "not on my watch"},
		{"its time is a number", "Data truncat"},
	} {
		t.Run(c.name, func(t *testing.T) {
			flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
				f := withTable(t, l, flavor, 2, append(map[string][]string{
					"there is none":        {"CREATE TABLE meta.other (id INT PRIMARY KEY)"},
					"it has other columns": {"CREATE TABLE meta.heartbeat (id INT PRIMARY KEY, seen INT)"},
					"a trigger refuses": {heartbeatTable, "CREATE TRIGGER meta.no BEFORE INSERT ON meta.heartbeat " +
						"FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not on my watch'"},
					"its time is a number": {"CREATE TABLE meta.heartbeat (id INT PRIMARY KEY, at INT NOT NULL)"},
				}[c.name], mayWrite("meta.*"))...)
				f.Must(f.Primary.Kill())
				e, primary := f.Promoted()
				f.Settled(primary)
				f.Within(20*time.Second, "the episode says what is wrong with the table", func() bool {
					e, err := f.API.Episode(f.Ctx, e.ID)
					return err == nil && e.Committed.IsZero() && strings.Contains(e.Writes(), c.want)
				})
				commits(f, primary, 100)
				f.Within(20*time.Second, "a commit of somebody else counts all the same", func() bool {
					e, err := f.API.Episode(f.Ctx, e.ID)
					return err == nil && !e.Committed.IsZero()
				})
			})
		})
	}
}

// Somebody has locked the table at the server that is promoted: our own commit hangs, ends within its bound, and is
// made once the lock is gone.
func TestALockedTableForOurOwnCommit(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := withTable(t, l, flavor, 1, heartbeatTable, mayWrite("meta.heartbeat"))
		c, err := f.Replicas[0].DB().Conn(f.Ctx)
		f.Must(err)
		defer c.Close()
		_, err = c.ExecContext(f.Ctx, "LOCK TABLES meta.heartbeat READ")
		f.Must(err)
		f.Must(f.Primary.Kill())
		e, primary := f.Promoted()
		f.Within(20*time.Second, "the episode says that no commit was seen", func() bool {
			e, err := f.API.Episode(f.Ctx, e.ID)
			return err == nil && e.Committed.IsZero() && strings.Contains(e.Writes(), "no commit has been seen")
		})
		_, err = c.ExecContext(f.Ctx, "UNLOCK TABLES")
		f.Must(err)
		f.Within(30*time.Second, "the commit is made", func() bool {
			e, err := f.API.Episode(f.Ctx, e.ID)
			return err == nil && !e.Committed.IsZero()
		})
		if n, err := primary.Row(f.Ctx, "SELECT COUNT(*) AS n FROM meta.heartbeat"); err != nil || n["n"] != "1" {
			t.Errorf("%v has %v rows (%v)", primary.Key, n, err)
		}
	})
}
