package analysis_test

import "testing"

func TestNames(t *testing.T) {
	check(t, []picture{
		{"what can't be a name", `
db1
  db2 unusable="report_host \"db2:3306\""`, `db2 UnusableName`},
		{"a source that is no name: it follows nobody that is known, and leads nothing", `
db1
  db2
db3 of=db1 source=unknown unusable="source \"db1:3306\", port 3306" io=connecting ioerr=2005`,
			`db3 ReplicaFailingToConnect, db3 UnusableName`},
		{"a name that has led to two servers", `
db1 names=vip doubtful=vip
  db2 spelt=vip
  db3`, `db1 DoubtfulName`},
		{"silent, and known by that name: what can't be reached by it need not be that server", `
db1 names=vip doubtful=vip down=timeout since=20s
  db2 spelt=vip ioerr=2003
  db3 spelt=vip ioerr=2003`, `db1 DoubtfulName, db1 UnreachablePrimary, db2 ReplicaFailingToConnect, ` +
			`db3 ReplicaFailingToConnect`},
		{"a majority knows it by another name", `
db1 names=vip doubtful=vip down=timeout since=20s
  db2 spelt=vip ioerr=2003
  db3 ioerr=2003
  db4 ioerr=2003`, `db1 DeadPrimary, db1 DoubtfulName, db2 ReplicaFailingToConnect`},
		{"its port is closed: that is no matter of names", `
db1 names=vip doubtful=vip down since=20s
  db2 spelt=vip ioerr=2003
  db3 spelt=vip ioerr=2003`, `db1 DeadPrimary, db1 DoubtfulName`},
		{"it follows itself: a virtual address has moved to it", `
db1 names=vip source=vip io=no ioerr=1593 doubtful=vip ro
  db2 spelt=vip`, `db1 DoubtfulName, db1 PrimaryNotWritable, db1 ReplicaBroken, db1 SelfReplication`},
		{"two replicas with one server_id", `
db1 down
  db2 id=7 ioerr=2003
  db3 id=7 ioerr=2003`, `db1 DeadPrimary, db2 DuplicateServerID, db3 DuplicateServerID`},
		{"a replica with the server_id of its source", `
db1 id=7
  db2 id=7 io=no ioerr=1593`,
			`db1 DuplicateServerID, db1 PrimarySingleReplicaNotReplicating, db2 DuplicateServerID, db2 ReplicaBroken`},
		{"other clusters have their own ids", `
db1 id=7
  db2
db3 id=7
  db4`, ``},
		{"a copied data directory", `
db1
  db2 uuid=11111111-1111-1111-1111-111111111111
  db3 uuid=11111111-1111-1111-1111-111111111111`, `db2 DuplicateUUID, db3 DuplicateUUID`},
		{"more readers of the binary log than replicas", `
db1 readers=3
  db2
  db3`, `db1 UnknownReader`},
		{"a replica that is down may still be connected", `
db1 readers=2
  db2
  db3 down=timeout`, `db3 ReplicaDead`},
		{"who registered and never answered is no cluster and no death", `
db1 registered=db2+cdc
  db2
cdc never of=db1 down=refused since=600s`, `db1 UnknownReader`},
		{"a primary that died with a reader that is no server", `
db1 down registered=db2+cdc
  db2 ioerr=2003
cdc never of=db1 down=refused since=600s`, `db1 DeadPrimaryAndSomeReplicas, db1 UnknownReader`},
	})
}
