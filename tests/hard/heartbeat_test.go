package hard

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// Nobody writes. Where the operator has a table for it, the daemon commits a row of its own at the promoted server, so
// that the episode can tell of a commit; its replicas get the row, and lack nothing.
func TestACommitOfOurOwn(t *testing.T) {
	quick(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		f.Must(f.Primary.Exec(f.Ctx, "CREATE DATABASE meta",
			"CREATE TABLE meta.heartbeat (id INT PRIMARY KEY, at DATETIME(6) NOT NULL)",
			"GRANT INSERT, DELETE ON meta.heartbeat TO '"+lab.User+"'@'%'"))
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy + "heartbeat = \"meta.heartbeat\"\n"})
		_, err := f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
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
