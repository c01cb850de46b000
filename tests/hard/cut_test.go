package hard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// relayLogs finds out how much a server keeps in relay logs.
func relayLogs(f *watched.Fleet, s *lab.Server) func() int64 {
	row, err := s.Row(f.Ctx, "SELECT @@datadir AS dir")
	f.Must(err)
	return func() (n int64) {
		files, _ := filepath.Glob(f.Lab.Root(s.Flavor) + row["dir"] + "/relay*")
		for _, file := range files {
			if i, err := os.Stat(file); err == nil {
				n += i.Size()
			}
		}
		return n
	}
}

// cutInTwo makes a cluster whose primary is killed in the middle of sending a transaction of 40 MB. It returns what was
// received of it, in MB.
func cutInTwo(t *testing.T, l *lab.Lab, flavor topology.Flavor, replicas int, may bool) (*watched.Fleet, int64) {
	f := watched.Servers(t, l, lab.Spec{Flavor: flavor, ExtraArgs: []string{"--max-allowed-packet=64M"}}, replicas)
	if flavor == lab.MySQL {
		grant := map[bool]string{true: "GRANT SYSTEM_USER ON *.* TO", false: "REVOKE SYSTEM_USER ON *.* FROM"}[may]
		f.Must(f.Primary.Exec(f.Ctx, grant+" '"+lab.User+"'@'%'"))
	}
	watch(f)
	f.Must(f.Primary.Exec(f.Ctx, "CREATE TABLE app.big (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)"))
	var kept []func() int64
	var before []int64
	for _, r := range f.Replicas {
		caughtUp(f, r)
		kept = append(kept, relayLogs(f, r))
		before = append(before, kept[len(kept)-1]())
	}
	go func() {
		c, err := f.Primary.DB().Conn(f.Ctx)
		if err != nil {
			return
		}
		_, _ = c.ExecContext(f.Ctx, "BEGIN")
		for range 40 {
			_, _ = c.ExecContext(f.Ctx, "INSERT INTO app.big (b) VALUES (REPEAT('x', 1000000))")
		}
		_, _ = c.ExecContext(f.Ctx, "COMMIT")
	}()
	for i := range kept {
		for kept[i]() < before[i]+4<<20 {
			time.Sleep(time.Millisecond)
		}
	}
	f.Must(f.Primary.Kill())
	return f, (kept[0]() - before[0]) >> 20
}

// MySQL's applier waits a minute for the rest of a transaction that was cut in two: writers do not, whether the daemon
// may end the applier or not. The other replica, which waits as well, follows at once.
func TestATransactionCutInTwo(t *testing.T) {
	all(t)
	for _, c := range []struct {
		name     string
		flavor   topology.Flavor
		replicas int
		may      bool
	}{
		{"mariadb", lab.MariaDB, 1, true},
		{"mariadb, two replicas", lab.MariaDB, 2, true},
		{"mysql", lab.MySQL, 1, true},
		{"mysql, two replicas", lab.MySQL, 2, true},
		{"mysql without SYSTEM_USER", lab.MySQL, 1, false},
		{"mysql without SYSTEM_USER, two replicas", lab.MySQL, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, received := cutInTwo(t, lab.Test(t), c.flavor, c.replicas, c.may)
			var primary *lab.Server
			took := f.Within(5*time.Second, "a replica takes writes", func() bool {
				for _, r := range f.Replicas {
					if !f.ReadOnly(r) {
						primary = r
					}
				}
				return primary != nil
			})
			t.Logf("after %v, with %d MB of the transaction received", took, received)
			writes(f, primary, 3*time.Second)
			for _, r := range f.Replicas {
				if r != primary {
					took := f.Within(70*time.Second, "the other applies what is written", func() bool {
						at, err := r.Row(f.Ctx, "SELECT COUNT(*) AS n FROM app.tried")
						return err == nil && at["n"] == "1"
					})
					t.Logf("the other applies after %v", took)
				}
			}
			e, promoted := f.Promoted()
			t.Logf("%s after %v", e.Outcome, e.Closed.Sub(e.Opened))
			if promoted != primary {
				t.Errorf("%v took writes, and %v was promoted", primary.Key, promoted.Key)
			}
			f.Settled(primary)
			row, err := primary.Row(f.Ctx, say(c.flavor, "SHOW SLAVE STATUS", "SHOW REPLICA STATUS"))
			if len(row) > 0 || err != nil {
				t.Errorf("what is left of its replication: %v (%v)", row, err)
			}
			if log := f.API.Log(); strings.Contains(log, "another daemon is at work") {
				t.Errorf("its own session is taken for another daemon's:\n%s", log)
			}
		})
	}
}
