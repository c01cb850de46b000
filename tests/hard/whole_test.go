package hard

import (
	"fmt"
	"strings"
	"testing"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// A failover ends as whole only when the replicas receive. Who does not is named, with the reason.
func TestWhoIsLostIsNamed(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(f *watched.Fleet, r1, r2 *lab.Server)
		want  string
	}{
		{"the replication account exists on the primary only", func(f *watched.Fleet, r1, _ *lab.Server) {
			f.Must(r1.Exec(f.Ctx, "SET SESSION sql_log_bin=0", "DROP USER "+lab.ReplicationUser,
				"SET SESSION sql_log_bin=1"))
		}, "1045"},
		{"the new primary has purged what the replica lacks", func(f *watched.Fleet, r1, r2 *lab.Server) {
			stop := map[topology.Flavor]string{lab.MariaDB: "STOP SLAVE IO_THREAD", lab.MySQL: "STOP REPLICA IO_THREAD"}
			f.Must(r2.Exec(f.Ctx, stop[r2.Flavor]))
			for row := range 5 {
				commits(f, f.Primary, 10+row)
			}
			f.Must(lab.AwaitReplication(f.Ctx, f.Primary, r1))
			for range 3 {
				f.Must(r1.Exec(f.Ctx, "FLUSH BINARY LOGS"))
			}
			f.Must(r1.Exec(f.Ctx, "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"))
		}, "purged"},
		{"equal server ids", func(f *watched.Fleet, r1, r2 *lab.Server) {
			f.Must(r2.Exec(f.Ctx, fmt.Sprintf("SET GLOBAL server_id = %d", r1.ServerID)))
		}, "server id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
				f := start(t, l, lab.Spec{Flavor: flavor}, 2)
				r1, r2 := f.Replicas[0], f.Replicas[1]
				if r2.Key.Compare(r1.Key) < 0 { // of equals the first by key is promoted
					r1, r2 = r2, r1
				}
				c.spoil(f, r1, r2)
				f.Must(f.Primary.Kill())
				e, primary := f.Promoted()
				commits(f, primary, 100)
				for _, lost := range e.Lost {
					// An id that was changed a while ago is known beforehand, and named as the variable.
					why := strings.ReplaceAll(lost.Why, "server_id", "server id")
					if lost.Key != f.Primary.Key && strings.Contains(why, c.want) {
						t.Logf("%v: %s; %s", lost.Key, lost.Why, e.Outcome)
						return
					}
				}
				t.Errorf("%s: lost %v", e.Outcome, e.Lost)
			})
		})
	}
}
