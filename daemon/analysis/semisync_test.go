package analysis_test

import "testing"

func TestSemiSync(t *testing.T) {
	check(t, []picture{
		{"enough replicas acknowledge", `
db1 semisync
  db2 semisync`, ``},
		{"two are wanted, one is left", `
db1 semisync=source,active,wait=2,clients=1,timeout=1000000s
  db2 semisync
  db3 down semisync`, `db1 SemiSyncShort, db3 ReplicaDead`},
		{"nobody acknowledges", `
db1 semisync=source,active,wait=1
  db2`, `db1 SemiSyncShort`},
		{"a replica whose applier would wait for replicas of its own", `
db1
  db2 semisync=source,active,wait=1`, `db2 SemiSyncShort`},
		{"fallen back to asynchronous", `
db1 semisync=source,wait=1,clients=1
  db2 semisync`, `db1 SemiSyncOff`},
		{"promoted, and its source side is off", `
db1 semisync=replica
  db2 semisync`, `db1 SemiSyncOff`},
		{"a source side that is on at a replica, for the day of its promotion", `
db1 semisync
  db2 semisync=source,replica,replicating,wait=1`, ``},
		{"a primary without replicas that acknowledged once", `
db1 semisync=replica`, ``},
	})
}
