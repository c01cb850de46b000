package analysis_test

import (
	"fmt"
	"strings"
	"testing"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
)

// brief prints findings as the cases expect them: "db1 DeadPrimary, db3 ReplicaStopped", with "(downtime)" after those
// that are muted.
func brief(found []analysis.Finding) string {
	var out []string
	for _, f := range found {
		text := strings.TrimSuffix(f.At.String(), ":3306") + " " + string(f.Code)
		if f.Downtimed {
			text += " (downtime)"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

type picture struct{ name, drawing, want string }

func check(t *testing.T, cases []picture) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			found := analysis.Analyze(drawing.MustParse(c.drawing), analysis.Defaults)
			if got := brief(found); got != c.want {
				var facts []string
				for _, f := range found {
					facts = append(facts, fmt.Sprintf("%s: %s", f.Code, f.Says), "  "+strings.Join(f.Evidence, "\n  "))
				}
				t.Errorf("%s\n got %s\nwant %s\n\n%s", c.drawing, got, c.want, strings.Join(facts, "\n"))
			}
		})
	}
}

func TestDeadPrimary(t *testing.T) {
	check(t, []picture{
		{"nothing is wrong", `
db1
  db2
    db4
  db3`, ``},
		{"nobody has looked yet", `
db1 unasked
  db2 unasked`, ``},
		{"all replicas witness it", `
db1 down
  db2 io=connecting
  db3 ioerr=2003`, `db1 DeadPrimary`},
		{"one witness is enough where nobody contradicts", `
db1 down
  db2 ioerr=2003
  db3 io=no`, `db1 DeadPrimary, db3 ReplicaStopped`},
		{"the silent replica is no witness", `
db1 down
  db2 io=no
  db3 io=no`, `db1 UnreachablePrimary, db2 ReplicaStopped, db3 ReplicaStopped`},
		{"the silent replica is no witness, and one that is down neither", `
db1 down
  db2 down
  db3 io=no`, `db1 UnreachablePrimary, db2 ReplicaDead, db3 ReplicaStopped`},
		{"some replicas died with it", `
db1 down
  db2 down
  db3 ioerr=2013`, `db1 DeadPrimaryAndSomeReplicas, db2 ReplicaDead`},
		{"a replica that refuses us may be receiving, but can't tell", `
db1 down
  db2 down=access_denied
  db3 ioerr=2013`, `db1 DeadPrimaryAndSomeReplicas, db2 ReplicaRefusesConnections`},
		{"nobody answers: perhaps it is us", `
db1 down=timeout
  db2 down=timeout
  db3 down=timeout`, `db1 DeadPrimaryAndReplicas, db2 ReplicaDead, db3 ReplicaDead`},
		{"nobody answers, and there was only one", `
db1 down
  db2 down`, `db1 DeadPrimaryAndReplicas, db2 ReplicaDead`},
		{"nobody to testify", `
db1 down`, `db1 DeadPrimaryWithoutReplicas`},
		{"never seen answering is down", `
db1 never
  db2 ioerr=2003`, `db1 DeadPrimary`},
		{"never seen answering, and alone", `
db1 never`, `db1 DeadPrimaryWithoutReplicas`},
		{"a silent primary: one witness among five may be on our side of a cut", `
db1 down=timeout
  db2 ioerr=2003
  db3 down=timeout
  db4 down=timeout`, `db1 UnreachablePrimary, db3 ReplicaDead, db4 ReplicaDead`},
		{"half of them is no majority", `
db1 down=timeout
  db2 ioerr=2003
  db3 down=timeout`, `db1 UnreachablePrimary, db3 ReplicaDead`},
		{"a majority is", `
db1 down=timeout
  db2 ioerr=2003
  db3 ioerr=2003
  db4 down=timeout`, `db1 DeadPrimaryAndSomeReplicas, db4 ReplicaDead`},
		{"where the host refuses, one witness is enough", `
db1 down
  db2 ioerr=2003
  db3 down=timeout
  db4 down=timeout`, `db1 DeadPrimaryAndSomeReplicas, db3 ReplicaDead, db4 ReplicaDead`},
		{"a replica that was proved dead long before has no vote", `
db1 down=timeout
  db2 ioerr=2003
  db3 down since=1h`, `db1 DeadPrimaryAndSomeReplicas, db3 ReplicaDead`},
		{"nor has one in downtime", `
db1 down=timeout
  db2 ioerr=2003
  db3 down=timeout downtime`, `db1 DeadPrimaryAndSomeReplicas, db3 ReplicaDead (downtime)`},
		{"an intermediate needs no majority: nothing is promoted for it", `
db1
  db2 down=timeout
    db3 ioerr=2003
    db4 down=timeout
    db5 down=timeout`, `db1 PrimarySingleReplicaDead, db2 DeadIntermediateAndSomeReplicas, db4 ReplicaDead, db5 ReplicaDead`},
		{"a receiver that waits for relay log space can't contradict", `
db1 down
  db2 ioerr=2003
  db3 full lag=60s`, `db1 DeadPrimary, db3 ReplicaLagging`},
		{"and is no witness", `
db1 down
  db2 full lag=60s`, `db1 UnreachablePrimary, db2 ReplicaLagging`},
		{"a channel that nobody uses is no tie to its source", `
old never
db1 source=old rw io=no sql=no down
  db2 ioerr=2003
  db3 ioerr=2003`, `db1 DeadPrimary, old DeadPrimaryWithoutReplicas`},
		{"a receiver that was started a moment ago is no finding", `
db1
  db2 io=connecting io_since=200ms
  db3`, ``},
		{"a receiver that gave up trying is a witness", `
db1 down
  db2 ioerr=2003 io=no`, `db1 DeadPrimary`},
		{"a receiver that gave up while the primary still answered tells an old story", `
db1 down
  db2 ioerr=2003 io=no io_since=6s`, `db1 UnreachablePrimary, db2 ReplicaFailingToConnect`},
		{"a receiver that gave up after the primary fell silent is a witness", `
db1 down
  db2 ioerr=2003 io=no io_since=1s`, `db1 DeadPrimary`},
		{"since when it stands still means nothing where the primary was never seen alive", `
db1 never
  db2 ioerr=2003 io=no io_since=1h`, `db1 DeadPrimary`},
		{"a receiver that was started a moment ago has not tried yet", `
db1 down
  db2 io=connecting io_since=20ms`, `db1 UnreachablePrimary`},
		{"a receiver that has been connecting for a while is a witness", `
db1 down
  db2 io=connecting io_since=600ms`, `db1 DeadPrimary`},
		{"an error at once needs no while", `
db1 down
  db2 ioerr=2003 io_since=20ms`, `db1 DeadPrimary`},
		{"it says itself that it goes", `
db1 down=shutdown since=50ms
  db2 ioerr=1053 io=connecting`, `db1 DeadPrimary`},
		{"errors that are not of connecting prove nothing", `
db1 down
  db2 ioerr=1236
  db3 ioerr=1045 io=connecting
  db4 ioerr=2026`, `db1 UnreachablePrimary, db2 ReplicaBroken, db3 ReplicaFailingToConnect, db4 ReplicaFailingToConnect`},
		{"the reader of several sources testifies, too", `
db1 down
  db2 ioerr=2003 also=db9
db9`, `db1 DeadPrimary, db2 MultiSource`},
		{"the reader of several sources testifies by the channel that counts", `
db1 down
  db2 io=yes also=db9
  db3 ioerr=2003
db9`, `db1 UnreachablePrimary, db2 MultiSource`},
		{"a replica of another cluster testifies for its second source", `
db1
  db2 also=db9
db9 down
  db8 ioerr=2003`, `db2 MultiSource, db9 UnreachablePrimary`},
	})
}

func TestUnreachablePrimary(t *testing.T) {
	check(t, []picture{
		{"one replica still receives", `
db1 down
  db2 ioerr=2003
  db3`, `db1 UnreachablePrimary`},
		{"the receiving replica is late", `
db1 down
  db2 ioerr=2003
  db3 lag=30s`, `db1 UnreachablePrimaryWithLaggingReplicas, db3 ReplicaLagging`},
		{"the receiving replica is delayed by configuration", `
db1 down
  db2 delay=1h lag=1h`, `db1 UnreachablePrimaryWithLaggingReplicas`},
		{"only some are late", `
db1 down
  db2 lag=30s
  db3`, `db1 UnreachablePrimary, db2 ReplicaLagging`},
		{"what was said before is no evidence", `
db1 down
  db2 ioerr=2003
  db3 ioerr=2003 stale`, `db1 UnreachablePrimary`},
		{"asked at the very moment it fell silent is evidence", `
db1 down since=5s
  db2 ioerr=2003 asked=5s`, `db1 DeadPrimary`},
		{"asked just before is not", `
db1 down since=5s
  db2 ioerr=2003 asked=5001ms`, `db1 UnreachablePrimary`},
		{"silence must last", `
db1 down=timeout since=1400ms
  db2 ioerr=2003`, `db1 UnreachablePrimary`},
		{"silence has lasted", `
db1 down=timeout since=1500ms
  db2 ioerr=2003`, `db1 DeadPrimary`},
		{"a broken connection alone proves no death", `
db1 down=reset since=100ms
  db2 ioerr=2003`, `db1 UnreachablePrimary`},
		{"a name that does not resolve proves nothing at once", `
db1 down=no_such_host since=100ms
  db2 ioerr=2005`, `db1 UnreachablePrimary, db2 ReplicaFailingToConnect`},
		{"a name that we can't resolve is no death, however long", `
db1 down=no_such_host since=600s
  db2 ioerr=2003
  db3 ioerr=2005`, `db1 UnreachablePrimary, db3 ReplicaFailingToConnect`},
		{"nor where nobody else is to be asked", `
db1 down=no_such_host since=600s
  db2 down=no_such_host since=600s`, `db1 UnreachablePrimary, db2 ReplicaDead`},
		{"nor of a server that nobody follows", `
db1 down=no_such_host since=600s`, `db1 UnreachablePrimary`},
		{"nor of a name that only replicas know, and that never answered", `
db1 down=no_such_host since=60s never
  db2 ioerr=2003
  db3 ioerr=2003`, `db1 UnreachablePrimary`},
		{"a replica that can't resolve the name has not tried", `
db1 down=timeout since=60s
  db2 ioerr=2005
  db3 io=no ioerr=2005`, `db1 UnreachablePrimary, db2 ReplicaFailingToConnect, db3 ReplicaFailingToConnect`},
		{"one that can, has", `
db1 down=timeout since=60s
  db2 ioerr=2005
  db3 ioerr=2003
  db4 ioerr=2003`, `db1 DeadPrimary, db2 ReplicaFailingToConnect`},
		{"an intermediate whose name we can't resolve", `
db1
  db2 down=no_such_host since=60s
    db3 ioerr=2003
    db4 ioerr=2003`, `db1 PrimarySingleReplicaDead, db2 UnreachableIntermediate`},
		{"nor does an alien at its place", `
db1 down=not_mysql since=100ms
  db2 ioerr=2013`, `db1 UnreachablePrimary`},
		{"refused is proof at once", `
db1 down=refused since=10ms
  db2 ioerr=2003`, `db1 DeadPrimary`},
		{"silent for a moment, with nobody to ask", `
db1 down=timeout since=1s
  db2 down=timeout since=1s`, `db1 UnreachablePrimary, db2 ReplicaDead`},
		{"a replica that was not asked yet may contradict", `
db1 down
  db2 ioerr=2003
  db3 unasked`, `db1 UnreachablePrimary`},
		{"a registered replica that was not asked yet may contradict", `
db1 down registered=db2+db3
  db2 ioerr=2003
db3 of=db1 never unasked`, `db1 UnreachablePrimary`},
		{"a registered replica that never answered counts among the dead", `
db1 down registered=db2+db3
  db2 ioerr=2003
db3 of=db1 never`, `db1 DeadPrimaryAndSomeReplicas, db1 UnknownReader`},
		{"the primary is in downtime", `
db1 down downtime
  db2`, `db1 UnreachablePrimary (downtime)`},
		{"the downtime is over", `
db1 down downtime=-1s
  db2`, `db1 UnreachablePrimary`},
	})
}

func TestLivingPrimary(t *testing.T) {
	check(t, []picture{
		{"max_connections is a sign of life", `
db1 down=too_many_connections
  db2 io=connecting ioerr=2013`, `db1 PrimaryRefusesConnections, db2 ReplicaFailingToConnect`},
		{"so is access denied", `
db1 down=access_denied
  db2`, `db1 PrimaryRefusesConnections`},
		{"so is TLS that fails", `
db1 down=tls
  db2`, `db1 PrimaryRefusesConnections`},
		{"its disk is full", `
db1 stalled=disk_full
  db2`, `db1 PrimaryStalled`},
		{"nobody acknowledges", `
db1 stalled=semi_sync
  db2`, `db1 PrimaryStalled`},
		{"commits hang", `
db1 stalled=commit
  db2`, `db1 PrimaryStalled`},
		{"all SQL threads are stopped", `
db1
  db2 sql=no
  db3 sql=no`, `db1 AllPrimaryReplicasNotReplicating, db2 ReplicaStopped, db3 ReplicaStopped`},
		{"one replicates", `
db1
  db2 sql=no
  db3`, `db2 ReplicaStopped`},
		{"stopped or dead", `
db1
  db2 down
  db3 io=no`, `db1 AllPrimaryReplicasNotReplicatingOrDead, db2 ReplicaDead, db3 ReplicaStopped`},
		{"all dead", `
db1
  db2 down
  db3 down`, `db1 AllPrimaryReplicasNotReplicatingOrDead, db2 ReplicaDead, db3 ReplicaDead`},
		{"not all were asked", `
db1
  db2 io=no
  db3 unasked`, `db2 ReplicaStopped`},
		{"the only replica is stopped", `
db1
  db2 io=no`, `db1 PrimarySingleReplicaNotReplicating, db2 ReplicaStopped`},
		{"the only replica is dead", `
db1
  db2 down`, `db1 PrimarySingleReplicaDead, db2 ReplicaDead`},
		{"all replicas are in downtime, and their trouble is theirs", `
db1
  db2 io=no downtime
  db3 down downtime`, `db1 AllPrimaryReplicasNotReplicatingOrDead (downtime), db2 ReplicaStopped (downtime), db3 ReplicaDead (downtime)`},
		{"a dead primary is not muted by its replicas", `
db1 down
  db2 ioerr=2003 downtime`, `db1 DeadPrimary`},
		{"nobody can write", `
db1 ro
  db2`, `db1 PrimaryNotWritable`},
		{"a read-only primary that follows the outside is meant to be", `
db1 source=far ro
  db2`, ``},
		{"a read-only server without replicas is nobody's primary", `
db1 ro`, ``},
		{"the old primary is back and takes writes", `
db1
  db2
db9 of=db1`, `db9 TwoWritable`},
		{"the old primary is back, read-only", `
db1
  db2
db9 ro of=db1`, `db9 FollowsNobody`},
		{"writable beside a read-only primary: being promoted, perhaps", `
db1 ro
  db2
db9 of=db1`, `db1 PrimaryNotWritable`},
		{"a circle in which both take writes", `
db1 source=db2 rw
  db2 rw`, `db2 TwoWritable`},
		{"a circle in which one takes writes", `
db1 source=db2 rw
  db2`, ``},
		{"a detached replica that takes writes", `
db1
  db2
db3 of=db1 detached=db1 io=no rw`, `db3 ReplicaStopped, db3 TwoWritable`},
	})
}

func TestIntermediate(t *testing.T) {
	check(t, []picture{
		{"all its replicas witness it", `
db1
  db2 down
    db3 ioerr=2003
    db4 ioerr=2003`, `db1 PrimarySingleReplicaDead, db2 DeadIntermediate`},
		{"some died with it", `
db1
  db5
  db2 down
    db3 ioerr=2003
    db4 down`, `db2 DeadIntermediateAndSomeReplicas, db4 ReplicaDead`},
		{"all died", `
db1
  db5
  db2 down
    db3 down
    db4 down`, `db2 DeadIntermediateAndReplicas, db3 ReplicaDead, db4 ReplicaDead`},
		{"its only replica can't connect", `
db1
  db5
  db2 down
    db3 ioerr=2003`, `db2 DeadIntermediateWithSingleReplicaFailingToConnect`},
		{"its only replica is stopped", `
db1
  db5
  db2 down
    db3 io=no`, `db2 DeadIntermediateWithSingleReplica, db3 ReplicaStopped`},
		{"several can't tell", `
db1
  db5
  db2 down
    db3 io=no
    db4 io=no`, `db2 UnreachableIntermediate, db3 ReplicaStopped, db4 ReplicaStopped`},
		{"one still receives", `
db1
  db5
  db2 down
    db3
    db4 ioerr=2003`, `db2 UnreachableIntermediate`},
		{"the one that receives is late", `
db1
  db5
  db2 down
    db3 lag=30s
    db4 ioerr=2003`, `db2 UnreachableIntermediateWithLaggingReplicas, db3 ReplicaLagging`},
		{"it lives and refuses us", `
db1
  db5
  db2 down=access_denied
    db3`, `db2 ReplicaRefusesConnections`},
		{"none of its replicas replicates", `
db1
  db2
    db3 sql=no
    db4 io=no`, `db2 AllIntermediateReplicasNotReplicating, db3 ReplicaStopped, db4 ReplicaStopped`},
		{"its replicas can't connect although we can", `
db1
  db2
    db3 ioerr=2003
    db4 down`, `db2 AllIntermediateReplicasFailingToConnectOrDead, db3 ReplicaFailingToConnect, db4 ReplicaDead`},
		{"the primary died, and the intermediate is a witness", `
db1 down
  db2 ioerr=2003
    db3`, `db1 DeadPrimary`},
		{"a failover that was not finished", `
db1
  db2
  db5
db9 of=db1 down
  db3 ioerr=2003
  db4 io=no`, `db4 ReplicaStopped, db9 DeadFormerPrimary`},
		{"the former primary is still received from", `
db1
  db2
  db5
db9 of=db1 down
  db3`, `db9 UnreachableFormerPrimary`},
		{"nobody answers for the former primary", `
db1
  db2
  db5
db9 of=db1 down
  db3 down
  db4 down`, `db3 ReplicaDead, db4 ReplicaDead, db9 UnreachableFormerPrimary`},
		{"the former primary died, and so did the primary", `
db1 down
  db2 ioerr=2003
  db5 ioerr=2003
db9 of=db1 down
  db3 ioerr=2003`, `db1 DeadPrimary, db9 UnreachableFormerPrimary`},
		{"the primary only refuses us", `
db1 down=access_denied
  db2
  db5
db9 of=db1 down
  db3 ioerr=2003`, `db1 PrimaryRefusesConnections, db9 DeadFormerPrimary`},
		{"a former primary that nobody follows is only a server that is gone", `
db1
  db2
db9 of=db1 down`, `db9 ReplicaDead`},
	})
}

func TestReplica(t *testing.T) {
	check(t, []picture{
		{"it is stopped", `
db1
  db5
  db2 io=no sql=no`, `db2 ReplicaStopped`},
		{"it is broken", `
db1
  db5
  db2 sqlerr=1062`, `db2 ReplicaBroken`},
		{"one thread is broken and the other is stopped", `
db1
  db5
  db2 ioerr=1236 sql=no`, `db2 ReplicaBroken, db2 ReplicaStopped`},
		{"it can't connect to a source that lives", `
db1
  db5
  db2 ioerr=2003`, `db2 ReplicaFailingToConnect`},
		{"it can't log in", `
db1
  db5
  db2 ioerr=1045 io=connecting`, `db2 ReplicaFailingToConnect`},
		{"the primary itself can't connect to the outside", `
db1 source=far ro ioerr=2003
  db2`, `db1 ReplicaFailingToConnect`},
		{"it lags", `
db1
  db5
  db2 lag=11s`, `db2 ReplicaLagging`},
		{"it does not lag enough", `
db1
  db5
  db2 lag=10s`, ``},
		{"it is as late as it is meant to be", `
db1
  db5
  db2 delay=1h lag=3605s`, ``},
		{"it is later than it is meant to be", `
db1
  db5
  db2 delay=1h lag=3611s`, `db2 ReplicaLagging`},
		{"how late it is, it can't say", `
db1
  db5
  db2 lag=null`, ``},
		{"the worst channel speaks", `
db1
  db5
  db2 lag=30s also=db9
db9`, `db2 MultiSource, db2 ReplicaLagging`},
		{"it takes writes", `
db1
  db5
  db2 rw`, `db2 ReplicaWritable`},
		{"what it said before it died is history", `
db1
  db5
  db2 down io=no lag=30s rw`, `db2 ReplicaDead`},
		{"who follows itself is no replica of its own", `
db3 source=db3 down`, `db3 DeadPrimaryWithoutReplicas`},
	})
}

func TestErrantGTID(t *testing.T) {
	check(t, []picture{
		{"it wrote something itself", `
db1
  db2 exec=db1:1-100+db2:1-3`, `db2 ErrantGTID`},
		{"it was asked after its source, which went on", `
db1
  db5
  db2 exec=db1:1-120`, ``},
		{"what a source that was asked before may have got since is not errant", `
db1
  db2 answered=2s
    db3 answered=1s exec=db1:1-100+99999999-9999-9999-9999-999999999999:1-7`, ``},
		{"it is when the source was asked later, or did not receive", `
db1
  db2 answered=1s
    db3 answered=2s exec=db1:1-100+99999999-9999-9999-9999-999999999999:1-7
  db4 io=no answered=2s
    db5 answered=1s exec=db1:1-100+99999999-9999-9999-9999-999999999999:1-7`, `db3 ErrantGTID, db4 ReplicaStopped, db5 ErrantGTID`},
		{"what a replica wrote itself is errant whenever it was asked", `
db1
  db2 answered=2s
    db3 answered=1s exec=db1:1-100+db3:1-7`, `db3 ErrantGTID`},
		{"what an ancestor wrote is not errant below its replicas", `
db1
  db5
  db2
    db3 exec=db1:1-120+db2:1-3`, ``},
		{"somebody who is no ancestor wrote it", `
db1
  db5
  db2 exec=db1:1-100+99999999-9999-9999-9999-999999999999:1-7
db9`, `db2 ErrantGTID`},
		{"its source has only received it so far", `
db1 exec=db1:1-100+99999999-9999-9999-9999-999999999999:1-7
  db5
  db2 exec=db1:1-100 recv=db1:1-100+99999999-9999-9999-9999-999999999999:1-7
    db3 exec=db1:1-100+99999999-9999-9999-9999-999999999999:1-7
db9`, ``},
		{"its source was never seen", `
db1 never
  db5
  db2 exec=db2:1-3`, `db1 UnreachablePrimary`},
		{"the other members of a circle write, too", `
db1 source=db2 rw
  db2 exec=db1:1-100+db2:1-5`, ``},
		{"from outside of the fleet anything may come", `
db1 source=far ro
  db5
  db2 exec=db1:1-100+99999999-9999-9999-9999-999999999999:1-7
db9`, ``},
		{"but not what it wrote itself", `
db1 source=far ro
  db5
  db2 exec=db1:1-100+db2:1-7`, `db2 ErrantGTID`},
		{"one of its sources is outside", `
db1
  db5
  db2 exec=db1:1-100+db2:1-7 also=far`, `db2 MultiSource`},
		{"MariaDB: it wrote further than its source", `
db1 mariadb=10.11.6
  db5
  db2 written=0-2-101`, `db2 ErrantGTID`},
		{"MariaDB: it wrote the number that its source wrote, too", `
db1 mariadb=10.11.6
  db5
  db2 written=0-2-100`, `db2 ErrantGTID`},
		{"MariaDB: it was asked after its source, which went on", `
db1 mariadb=10.11.6
  db5
  db2 written=0-1-120 exec=0-1-120`, ``},
		{"MariaDB: another domain, in which only it wrote", `
db1 mariadb=10.11.6
  db5
  db2 written=0-1-100+7-2-3`, `db2 ErrantGTID`},
		{"MariaDB: the members of a circle write", `
db1 mariadb=10.11.6 source=db2 rw
  db2 written=0-2-101`, ``},
		{"MariaDB: it was the primary once", `
db1 mariadb=10.11.6 exec=0-1-200
  db5
  db2 written=0-2-100`, ``},
	})
}

func TestEvidence(t *testing.T) {
	found := analysis.Analyze(drawing.MustParse(`
db1 down=timeout since=1s
  db2 ioerr=2003 asked=990ms
  db3
  db4 stale
  db5 down since=3s
  db6 io=no
  db7 unasked
  db8 io=connecting io_since=20ms`), analysis.Defaults)
	if len(found) == 0 {
		t.Fatal("nothing was found")
	}
	got := found[0].Says + "\n" + strings.Join(found[0].Evidence, "\n")
	want := `db1:3306, the primary of cluster db1:3306, does not answer us, and is not proved dead: 1 of its 7 replicas still receives from it; 3 replicas must be asked again; it has been silent for 1 s of 1.5 s only.
db1:3306: no answer in time, for 1 s; no answer in time
db2:3306: IO thread is connecting (error 2003), asked 0.01 s after db1:3306 fell silent
db3:3306: IO thread is running, so it still receives from db1:3306, asked 1 s after db1:3306 fell silent
db4:3306: not asked since db1:3306 fell silent (last answered 5 s before)
db5:3306: does not answer either (connection refused, for 3 s, 3 times in a row)
db6:3306: IO thread is stopped without an error, so it has not tried to reach db1:3306, asked 1 s after db1:3306 fell silent
db7:3306: not asked yet
db8:3306: IO thread is connecting for 0.02 s only, of the 0.5 s after which that counts, asked 1 s after db1:3306 fell silent
db1:3306: silent for 1 s so far, of the 1.5 s after which silence counts`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEvidenceIsSorted(t *testing.T) {
	found := analysis.Analyze(drawing.MustParse(`
db1 down registered=db2+db3
  db3 ioerr=2003
db2 of=db1 never`), analysis.Defaults)
	if len(found) == 0 || len(found[0].Evidence) != 3 || !strings.HasPrefix(found[0].Evidence[1],
		"db2:3306: does not answer either") {
		t.Errorf("%+v", found)
	}
}

// A snapshot written by hand names no clusters, or not all: its servers are not thrown together for that.
func TestClustersWithoutNames(t *testing.T) {
	s := drawing.MustParse("db1\n  db2\ndb8\n  db9 io=no\n  db7")
	for i := range s.Servers {
		s.Servers[i].Cluster = ""
	}
	found := analysis.Analyze(s, analysis.Defaults)
	if got := brief(found); got != "db9 ReplicaStopped" || found[0].Cluster != "db8:3306" {
		t.Errorf("got %+v", found)
	}
}

// Every sentence names its server and ends like one.
func TestSays(t *testing.T) {
	for _, c := range []struct{ drawing, want string }{
		{"db1 down\n  db2 ioerr=2003\n  db3 down\n  db4 io=no",
			"db1:3306, the primary of cluster db1:3306, is dead: it does not answer us, and 1 of its 3 replicas " +
				"can't reach it either; 1 more can't be asked; 1 can't tell."},
		{"db1 down=too_many_connections",
			"db1:3306, the primary of cluster db1:3306, is alive, and does not accept our connection: too many " +
				"connections, for 5 " +
				"s, 5 times in a row."},
		{"db1 stalled=disk_full,12s\n  db2",
			"db1:3306, the primary of cluster db1:3306, answers, but its commits have hung for 12 s, because its " +
				"disk is full."},
		{"db1\n  db5\n  db2 sqlerr=1062",
			"db2:3306, a replica in cluster db1:3306, has its replication broken: db2:3306 from db1:3306: SQL thread " +
				"stopped (error 1062: could not apply: duplicate entry (1062)). It does not continue by itself: " +
				"remove the cause, and start its replication; if its data differ, clone it again."},
		{"db1 ro\n  db2",
			"db1:3306, the primary of cluster db1:3306, is read-only: nobody can write to the cluster. If it should " +
				"be the primary, set its read_only to 0."},
		{"db1\n  db2 id=7\n  db3 id=7",
			"db2:3306, a replica in cluster db1:3306, has server_id 7, and so has db3:3306: neither can follow the " +
				"other. Set another server_id at one of them, also in its configuration, and restart its replication."},
		{"db1\n  db5\n  db2 lag=1h delay=10m",
			"db2:3306, a replica in cluster db1:3306, lags: it is 3000 s behind db1:3306, and the threshold is 10 s."},
	} {
		found := analysis.Analyze(drawing.MustParse(c.drawing), analysis.Defaults)
		if len(found) == 0 || found[0].Says != c.want {
			t.Errorf("%s\n got %+v\nwant %s", c.drawing, found, c.want)
		}
	}
}
