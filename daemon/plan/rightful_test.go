package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/plan"
)

// A server that passed on what another one wrote is no primary that may be replaced, although it is at the top of a
// tree: it has lost its data or its source.
func TestWhoIsThePrimaryByRight(t *testing.T) {
	const (
		lives  = "db1:3306 takes writes, and db3:3306 has from it what it has: it is the primary, and db2:3306 was"
		loss   = "refused: 50 received transactions would be thrown away"
		silent = "db1:3306 took writes when it answered last, and db3:3306 has from it what it has"
	)
	for _, c := range []struct{ name, drawing, want string }{
		{"an emptied intermediate dies, and the primary lives", `
db1 of=c exec=db1:1-100
db2 of=c down exec=none
  db3 ioerr=2003 exec=db1:1-90`, lives},
		{"the same, and the primary is cut off from us", `
db1 of=c down=timeout
db2 of=c down exec=none
  db3 ioerr=2003 exec=db1:1-90`, "nobody can witness that it is dead. Bring it back; if it is gone for good, have " +
			"it forgotten: orchestrator-client forget db1:3306"},
		{"the same on MariaDB", `
db1 mariadb=10.11.6 of=c down=timeout exec=0-1-100
db2 mariadb=10.11.6 of=c down exec=none
  db3 ioerr=2003 exec=0-1-90`, silent},
		{"the primary is dead: it takes writes when it is started", `
db1 of=c down
db2 of=c down exec=none
  db3 ioerr=2003 exec=db1:1-90`, "It takes writes again when it is started. Bring it back"},
		{"an intermediate whose source somebody removed dies, and the primary lives", `
db1 of=c
db2 of=c down ro
  db3 ioerr=2003`, lives},
		{"the same, and the primary is silent", `
db1 of=c down=timeout
db2 of=c down ro
  db3 ioerr=2003`, silent},
		{"it was writable, and nobody wrote there", `
db1 of=c down=timeout
db2 of=c down rw
  db3 ioerr=2003`, silent},
		{"one that people opened, and that has written since, is replaced", `
db1 of=c down=timeout
db2 of=c down rw exec=db1:1-100+db2:1-10
  db3 ioerr=2003 exec=db1:1-100+db2:1-10`, "promote db3"},
		{"one that people opened when the primary was dead is replaced", `
db1 of=c down
db2 of=c down rw
  db3 ioerr=2003`, "promote db3"},
		{"one whose promotion is on record is replaced", `
db1 of=c down=timeout
db2 of=c down rw promoted
  db3 ioerr=2003`, "promote db3"},
		{"a copy of the cluster changes nothing", `
db1 of=c down
  db3 ioerr=2003
db2 of=c rw exec=db1:1-100+db2:1-10`, "promote db3"},
		{"nor does a silent source of a replica that has two", `
db1 of=c down
  db3 ioerr=2003
  db4 ioerr=2003 also=db9 exec=db1:1-100+db9:1-50
db9 of=c down=timeout exec=db9:1-50`, loss},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := told(plan.Preview(situation(c.drawing)))
			refuses := c.want != "promote db3" && c.want != loss
			if !strings.Contains(got, c.want) || refuses != strings.Contains(got, "was between the two") {
				t.Errorf("want %q: got\n%s", c.want, got)
			}
		})
	}
}

// Replicas are moved to a server above their source, or to a primary that would be taken for one: not to another that
// is the primary only because nobody else lives.
func TestWhereReplicasAreMoved(t *testing.T) {
	const dead = `
db1 down of=c
  db2 down
    db3 ioerr=2003
    db5 ioerr=2003
db4 of=c `
	const below = "\n  db6"
	const no = "refused: db4:3306 takes writes, and no promotion of it is on record; it is not taken for the new " +
		"primary: "
	for _, c := range []struct{ name, drawing, want string }{
		{"somebody opened a replica with must_not", dead + `rw left=db1,1s must_not` + below,
			no + "its promotion rule is must_not. Move the replicas of db2:3306 by hand"},
		{"one that filtered", dead + `rw left=db1,1s,filters` + below, no + "it filters what it replicates"},
		{"one that logs a part only", dead + `rw left=db1,1s binlog_filters` + below,
			no + "it logs only a part of its databases"},
		{"one in downtime", dead + `rw left=db1,1s downtime=1h` + below, no + "it is in downtime"},
		{"one that lacks something", dead + `rw left=db1,1s exec=db1:1-90` + below, no + "it lacks 10 transactions"},
		{"a copy", dead + `rw` + below, no + "it was no replica of db1:3306 when that fell silent"},
		{"one that nobody opened", dead + `ro left=db1,1s` + below,
			"refused: db4:3306 follows nobody and is read-only, and no"},
		{"one that would be adopted", dead + `rw left=db1,1s` + below, "repoint db3 db4"},
		{"one on record", dead + `rw promoted must_not` + below, "repoint db3 db4"},
		{"one above, whatever is declared for it", `
db1
  db4 must_not downtime=1h
    db2 down
      db3 ioerr=2003
      db5 ioerr=2003`, "repoint db3 db4"},
		{"the primary is above by another channel", `
db9 down of=c
  db2 down also=db4
    db3 ioerr=2003
    db5 ioerr=2003
db4 of=c exec=db9:1-100`, "repoint db3 db4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := told(plan.Preview(situation(c.drawing)))
			moves := strings.HasPrefix(c.want, "repoint")
			if !strings.Contains(got, c.want) || !moves && strings.Contains(got, "repoint") {
				t.Errorf("want %q: got\n%s", c.want, got)
			}
		})
	}
}
