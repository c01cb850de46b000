package analysis_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
)

func TestNobodyTakesWrites(t *testing.T) {
	check(t, []picture{
		{"both members of a circle are read-only", `
db1 source=db2 ro
  db2
  db3`, `db1 PrimaryNotWritable`},
		{"a promoted primary and the one that it replaced come back read-only", `
db2 promoted ro
db1 of=db2 ro`, `db1 FormerPrimaryBack, db2 PrimaryNotWritable`},
		{"a source outside of the fleet excuses it", `
db1 ro also=far
  db2`, ``},
		{"a server alone", `
db1 ro`, ``},
		{"a primary that follows itself", `
db1 ro source=db1
  db2`, `db1 PrimaryNotWritable, db1 SelfReplication`},
	})
}

func TestWhoHasNoPartInTheCluster(t *testing.T) {
	check(t, []picture{
		{"the former primary is back and idle", `
db2 promoted
  db3
db1 of=db2 ro`, `db1 FormerPrimaryBack`},
		{"it takes writes", `
db2 promoted
  db3
db1 of=db2 rw`, `db1 TwoWritable`},
		{"it was rejoined", `
db2 promoted
  db3
  db1`, ``},
		{"a member follows nobody", `
db1
  db2
db9 ro of=db1`, `db9 FollowsNobody`},
		{"one with replicas of its own follows nobody", `
db1
  db2
  db3
db8 ro of=db1
  db9`, `db8 FollowsNobody`},
		{"a replica that was opened since the primary fell silent is being promoted", `
db1 down
  db2 ioerr=2003
db4 of=db1 rw left=db1,1s`, `db1 DeadPrimary`},
		{"two replicas were opened since: nothing tells which one should be the primary", `
db1 down
  db4 ioerr=2003
db2 of=db1 rw left=db1,1s
db3 of=db1 rw left=db1,1s`, `db1 DeadPrimary, db2 TwoWritable, db3 TwoWritable`},
		{"one of the two is read-only again", `
db1 down
  db4 ioerr=2003
db2 of=db1 rw left=db1,1s
db3 of=db1 ro left=db1,1s`, `db1 DeadPrimary, db3 FollowsNobody`},
		{"one that left it before is not", `
db1 down
  db2 ioerr=2003
db4 of=db1 rw left=db1,1h`, `db1 DeadPrimary, db4 TwoWritable`},
		{"replicas of a virtual address that has moved to one of them", `
db1
db2 ro of=db1 names=vip source=vip`, `db2 SelfReplication`},
	})
}

func TestASourceThatLacksWhatItsReplicasHave(t *testing.T) {
	check(t, []picture{
		{"an emptied primary with a new identity", `
db1 exec=db1:1-2
  db2 exec=99999999-9999-9999-9999-999999999999:1-100
  db3 exec=99999999-9999-9999-9999-999999999999:1-100`, `db1 SourceLacksTransactions`},
		{"one that has died since: what its replicas had before is not their own", `
db1 down exec=db1:1-2
  db2 ioerr=2003 exec=99999999-9999-9999-9999-999999999999:1-100
  db3 ioerr=2003 exec=99999999-9999-9999-9999-999999999999:1-100`, `db1 DeadPrimary`},
		{"an emptied primary of MariaDB", `
db1 mariadb=10.11.6 exec=none
  db2 exec=0-1-100 recv=0-1-100`, `db1 SourceLacksTransactions`},
		{"a primary restored from an old copy", `
db1 exec=db1:1-50
  db2 exec=db1:1-100 recv=db1:1-100 ioerr=1236
  db3 exec=db1:1-100 recv=db1:1-100 ioerr=1236`,
			`db1 AllPrimaryReplicasNotReplicating, db1 SourceLacksTransactions, db2 ReplicaBroken, db3 ReplicaBroken`},
		{"one of two replicas has transactions of its own", `
db1
  db2 exec=db1:1-100+db2:1-3
  db3`, `db2 ErrantGTID`},
		{"the replicas were asked later", `
db1 asked=1s exec=db1:1-50
  db2 exec=db1:1-60 recv=db1:1-60
  db3 exec=db1:1-60 recv=db1:1-60`, ``},
	})
}

func TestWhatFindingsSay(t *testing.T) {
	for _, c := range []struct{ name, drawing, says string }{
		{"who takes the writes of a read-only primary", `
db1 ro
  db2 rw`, "is read-only, and db2:3306, which is not the primary, takes writes."},
		{"nobody takes writes", `
db1 ro
  db2`, "nobody can write to the cluster"},
		{"what its source has purged", `
db1 purged=1-90
  db2 ioerr=1236 recv=1-50 exec=1-50
  db3`, "db1:3306 has purged 40 transactions that it lacks"},
		{"an emptied source is not to be cloned from", `
db1 exec=none
  db2 exec=99999999-9999-9999-9999-999999999999:1-9
  db3 exec=99999999-9999-9999-9999-999999999999:1-9`, "lacks 9 transactions that all its replicas have: it was emptied, or restored from an old " +
			"copy. Do not clone from it."},
		{"how a former primary is rejoined", `
db2 promoted
  db3
db1 ro of=db2 exec=db2:1-50`, "It has nothing that db2:3306 lacks: to rejoin it, have it replicate from db2:3306"},
		{"a former primary with a transaction that nobody has", `
db2 promoted
  db3
db1 ro of=db2 exec=db2:1-50+db1:7`, "It has 1 transaction that db2:3306 lacks: keep it if it matters, then rebuild the server"},
		{"a replica that a failover detached", `
db2 promoted
db4 of=db2 detached=db1 io=no`, "it was detached, and gets no new data: have it replicate from the primary"},
		{"the primary is down, and the former one is back", `
db2 promoted down
db1 of=db2 ro`, "follows nobody. db2:3306 does not answer now: bring that back first."},
		{"a scratch server, while the primary is down", `
db1 down
  db2 ioerr=2003
db4 of=db1 rw`, "so it is not taken for the new primary. Make it read-only, or take it out of the fleet."},
		{"the only replica is the witness", `
db1 down
  db2 ioerr=2003`, "and its only replica can't reach it either."},
		{"nothing is applied, and the clock stands at 0", `
db1 exec=1-100000
  db2 exec=1-100 recv=1-100000 lag=0s`, "has not applied 99900 transactions that it received"},
		{"a lock of the whole server", `
db1 stalled=lock,30s,8
  db2`, "because a session holds a lock of the whole server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []string
			for _, f := range analysis.Analyze(drawing.MustParse(c.drawing), analysis.Defaults) {
				all = append(all, f.Says)
			}
			if got := strings.Join(all, "\n"); !strings.Contains(got, c.says) {
				t.Errorf("got %s\nwant %s", got, c.says)
			}
		})
	}
}

func TestReplicasThatCouldNotReplaceTogether(t *testing.T) {
	check(t, []picture{
		{"all alike", `
db1
  db2
  db3`, ``},
		{"one has no binary log", `
db1
  db2 log_bin=no
  db3`, `db1 UnfitReplicas`},
		{"nobody counts on it", `
db1
  db2 log_bin=no rule=must_not
  db3`, ``},
		{"a delayed one", `
db1
  db2 delay=3600
  db3`, ``},
		{"MariaDB's default", `
db1 mariadb=10.11.6
  db2 log_updates=no
  db3 log_updates=no`, `db1 UnfitReplicas`},
		{"it filters", `
db1
  db2 filters
  db3`, `db1 UnfitReplicas`},
		{"an older replica", `
db1 mysql=8.0.36
  db2 mysql=8.0.36
  db3 mysql=8.4.0`, `db1 UnfitReplicas`},
		{"patches aside", `
db1 mysql=8.0.36
  db2 mysql=8.0.36
  db3 mysql=8.0.37`, ``},
		{"formats", `
db1 binlog=MIXED
  db2 binlog=STATEMENT
  db3 binlog=ROW`, `db1 UnfitReplicas`},
		{"without GTID among others", `
db1
  db2 auto_position=no
  db3`, `db1 UnfitReplicas`},
	})
}

func TestReadersThatLeftAMomentAgo(t *testing.T) {
	check(t, []picture{
		{"it follows another source now", `
db1 readers=2
  db2
    db3 io_since=20s`, ``},
		{"it has done so for long", `
db1 readers=2
  db2
    db3 io_since=200s`, `db1 UnknownReader`},
		{"it follows nobody since", `
db1 readers=2
  db2
db3 ro of=db1 left=db1`, `db3 FollowsNobody`},
	})
}
