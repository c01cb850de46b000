package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
)

// TestWhoKeepsMostOfTheCluster: where several have the data, the one that the others can follow goes first; and what
// servers have received is not thrown away.
func TestWhoKeepsMostOfTheCluster(t *testing.T) {
	for _, c := range []struct{ name, drawing, want string }{
		{"two have one server id, a third has its own", `
db1 down
  db2 id=7 ioerr=2003
  db3 id=7 ioerr=2003
  db4 ioerr=2003`, `
stop_receiver db2
stop_receiver db3
stop_receiver db4
promote db4
repoint db2 db4
repoint db3 db4`},
		{"a preferred one that was copied with its UUID", `
db1 down
  db2 uuid=11111111-1111-1111-1111-111111111111 prefer ioerr=2003
  db3 uuid=11111111-1111-1111-1111-111111111111 ioerr=2003
  db4 ioerr=2003`, `
stop_receiver db2
stop_receiver db3
stop_receiver db4
promote db4
repoint db2 db4
repoint db3 db4`},
		{"one has the server id of the primary, which could not follow it when it comes back", `
db1 id=7 down
  db2 id=7 ioerr=1593
  db3 ioerr=2003`, `
stop_receiver db3
promote db3
repoint db2 db3`},
		{"one has purged what another lacks, and one has not", `
db1 down
  db2 ioerr=2003 purged=1-90
  db3 ioerr=2003 purged=1-40
  db4 ioerr=2003 recv=1-50`, `
stop_receiver db2
stop_receiver db3
stop_receiver db4
promote db3
repoint db2 db3
repoint db4 db3`},
		{"what a delayed server has not applied reaches nobody further down, however long one waits", `
db1 down exec=1-55
  db2 answered=0s ioerr=2003 io=no delay=1h exec=1-22 recv=1-57
    db3 answered=0.1s recv=1-22
      db5 answered=0.1s recv=1-22 prefer
  db6 answered=0s ioerr=2003 io=no exec=1-56`, `
refused: 1 received transaction would be thrown away: db2:3306 has them, and can't pass them on to db6:3306 (it is ` +
			`delayed by 1h0m0s, and has not applied them; to apply them now: START REPLICA IO_THREAD (else it throws ` +
			`them away), STOP REPLICA SQL_THREAD, CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0, START REPLICA ` +
			`SQL_THREAD); allow_received_loss is false`},
		{"MariaDB: the applier is started while the receiver still tries to connect", `
db1 mariadb=10.11.6 down
  db2 ioerr=2003 recv=0-1-90 exec=0-1-90
  db3 ioerr=2003 sql=no recv=0-1-100 exec=0-1-60`, `
stop_receiver db2
start_applier db3
stop_receiver db3
await_applied db3
promote db3
repoint db2 db3`},
		{"MariaDB: both threads are stopped, and a start of either would throw away what it has", `
db1 mariadb=10.11.6 down
  db2 ioerr=2003 recv=0-1-90 exec=0-1-90
  db3 io=no sql=no recv=0-1-100 exec=0-1-60`, `
refused: 10 received transactions would be thrown away: db3:3306 has them, and can't pass them on to db2:3306 (both its threads are stopped, and MariaDB throws away what it has received when it starts one: to have it apply them: CHANGE MASTER TO RELAY_LOG_FILE = …, RELAY_LOG_POS = … as SHOW SLAVE STATUS has them, START SLAVE SQL_THREAD; at the end STOP SLAVE, CHANGE MASTER TO MASTER_USE_GTID = slave_pos, START SLAVE); allow_received_loss is false`},
		{"all are delayed: it is said how to end that without losing their relay logs", `
db1 down
  db2 delay=1h ioerr=2003 recv=1-120 exec=1-50
  db3 delay=4h io=no recv=1-120 exec=1-20`, `
refused: no replica of db1:3306 can be promoted
refused: db2:3306: it is delayed on purpose by 1h0m0s, and has not applied 70 received transactions; to apply them now: STOP REPLICA SQL_THREAD, CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0, START REPLICA SQL_THREAD
refused: db3:3306: it is delayed on purpose by 4h0m0s, and has not applied 100 received transactions; to apply them now: START REPLICA IO_THREAD (else it throws them away), STOP REPLICA SQL_THREAD, CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0, START REPLICA SQL_THREAD`},
		{"MariaDB: a position that is further by local writes hides what it lacks", `
db1 mariadb=10.11.6 exec=0-1-120 down
  db2 ioerr=2003 recv=0-1-110 exec=0-1-110
  db3 ioerr=2003 recv=0-1-105 exec=0-3-115 written=0-3-115`, `
stop_receiver db2
stop_receiver db3
promote db2
detach db3
lost: db3 it has 5 transactions that db2:3306 lacks (0-3-111..115)`},
		{"MariaDB: what a replica with local writes has received is needed all the same", `
db1 mariadb=10.11.6 exec=0-1-120 down
  db2 ioerr=2003 recv=0-1-110 exec=0-1-110
  db3 ioerr=2003 recv=0-1-118 exec=0-3-119 written=0-3-119`, `
refused: 8 received transactions would be thrown away: db3:3306 has them, and can't pass them on to db2:3306 (it has errant transactions, which would come along; allow_errant is false); allow_received_loss is false`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(plan.Preview(situation(c.drawing))); got != strings.TrimSpace(c.want) {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// What a replica of a dead replica alone has received is named with the promotion that loses it, also where nobody
// moves that replica.
func TestWhatALostReplicaHadIsNamed(t *testing.T) {
	s := situation(`
db1 down
  db2 down
    db3 ioerr=2003 exec=1-120 recv=1-120 nobinlog
  db4 ioerr=2003`)
	s.Policy.AllowReceivedLoss, s.Policy.RecoverIntermediate = true, false
	got := told(plan.Preview(plan.Situate(s.Facts)))
	want := "lost: db3 it follows db2:3306, which is out of reach, and has 20 transactions that db4:3306 lacks (" +
		drawing.UUID(key("db1")) + ":101-120)"
	if !strings.Contains(got, "promote db4") || !strings.Contains(got, want) {
		t.Errorf("got\n%s", got)
	}
}
