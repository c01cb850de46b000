package hard

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// lock has a session of a server run a statement, and keep what it has locked until the session is closed.
func lock(f *watched.Fleet, s *lab.Server, statements ...string) *sql.Conn {
	f.Helper()
	c, err := s.DB().Conn(f.Ctx)
	f.Must(err)
	f.Cleanup(func() { c.Close() })
	for _, q := range statements {
		_, err = c.ExecContext(f.Ctx, q)
		f.Must(err)
	}
	return c
}

// firstByKey are the replicas, the one that is promoted of equals first.
func firstByKey(f *watched.Fleet) (first, other *lab.Server) {
	if f.Replicas[1].Key.Compare(f.Replicas[0].Key) < 0 {
		return f.Replicas[1], f.Replicas[0]
	}
	return f.Replicas[0], f.Replicas[1]
}

// The best candidate could be opened, and would take no writes. A server that does is promoted, and no write is ever
// sent to the first one.
func TestTheBestCandidateWouldTakeNoWrites(t *testing.T) {
	for _, c := range []struct {
		name     string
		flavors  []topology.Flavor
		args     []string
		bar, end []string
	}{
		{"FLUSH TABLES WITH READ LOCK", []topology.Flavor{lab.MariaDB, lab.MySQL}, nil,
			[]string{"FLUSH TABLES WITH READ LOCK"}, []string{"UNLOCK TABLES"}},
		{"the same with performance_schema", []topology.Flavor{lab.MySQL}, []string{"--performance-schema=1"},
			[]string{"FLUSH TABLES WITH READ LOCK"}, []string{"UNLOCK TABLES"}},
		{"BACKUP STAGE BLOCK_COMMIT", []topology.Flavor{lab.MariaDB}, nil,
			[]string{"BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT"}, []string{"BACKUP STAGE END"}},
		{"offline_mode", []topology.Flavor{lab.MySQL}, nil,
			[]string{"SET GLOBAL offline_mode = ON"}, []string{"SET GLOBAL offline_mode = OFF"}},
		// Such a replica can't apply anything either, once its applier has started again.
		{"transactions are read-only", []topology.Flavor{lab.MariaDB, lab.MySQL}, nil,
			[]string{"SET GLOBAL TRANSACTION READ ONLY"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
				if !slices.Contains(c.flavors, flavor) {
					t.Skip("the other flavour only")
				}
				f := start(t, l, lab.Spec{Flavor: flavor, ExtraArgs: c.args}, 2)
				first, other := firstByKey(f)
				held := lock(f, first, c.bar...)
				at := time.Now()
				f.Must(f.Primary.Kill())
				f.Within(10*time.Second, "the other takes writes", func() bool { return !f.ReadOnly(other) })
				t.Logf("after %v", time.Since(at))
				if !f.ReadOnly(first) {
					t.Errorf("%v was opened", first.Key)
				}
				writes(f, other, 3*time.Second)
				if c.end == nil {
					return
				}
				for _, q := range c.end {
					_, err := held.ExecContext(f.Ctx, q)
					f.Must(err)
				}
				e, primary := f.Promoted()
				f.Settled(primary)
				commits(f, primary, 100)
				f.Await("the episode tells of a commit", func() bool {
					e, err := f.API.Episode(f.Ctx, e.ID)
					return err == nil && !e.Committed.IsZero()
				})
			})
		})
	}
}

// The only candidate is locked: that is no success. It is told with what helps, and the failover goes on when the lock
// is gone.
func TestTheOnlyCandidateIsLocked(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		chat := watched.NewChat(t)
		f := watched.Start(t, l, lab.Spec{Flavor: flavor, ExtraArgs: []string{"--performance-schema=1"}}, 1,
			lab.DaemonSpec{Binary: binary, Config: chat.Config(t)})
		replica := f.Replicas[0]
		held := lock(f, replica, "FLUSH TABLES WITH READ LOCK")
		f.Must(f.Primary.Kill())
		f.Await("it is refused", func() bool {
			said := strings.Join(f.Refused(), " ")
			return strings.Contains(said, "lock of the whole server") && (flavor == lab.MariaDB ||
				strings.Contains(said, "KILL"))
		})
		t.Log(f.Refused())
		f.Await("a hook hears of it", func() bool { return slices.Contains(chat.Heard(), "blocked") })
		f.During(4*time.Second, "it is not opened", func() bool { return f.ReadOnly(replica) })
		if n := strings.Count(strings.Join(chat.Heard(), " "), "blocked"); n != 1 {
			t.Errorf("a hook heard it %d times: %v", n, chat.Heard())
		}
		_, err := held.ExecContext(f.Ctx, "UNLOCK TABLES")
		f.Must(err)
		took := f.Within(10*time.Second, "it takes writes", func() bool { return !f.ReadOnly(replica) })
		t.Logf("%v after the lock was gone", took)
		_, primary := f.Promoted()
		writes(f, primary, 3*time.Second)
	})
}
