package plan_test

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// tenYears is what a clock may be set by.
const tenYears = 10 * 365 * 24 * time.Hour

// A failover ends when every replica that it moved receives, or is named with the reason and with what to do.
func TestAFailoverEndsWhenTheClusterIsWhole(t *testing.T) {
	at := situation("db1").Snapshot.At
	for _, c := range []struct {
		name, db2 string
		since     time.Duration // of the promotion
		want      string        // part of the reason, "whole" or "waits"
	}{
		{"it receives", "", time.Second, "whole"},
		{"it has just connected, and its source may refuse it yet", "io_since=10ms", time.Second, "waits"},
		{"it has received for a while", "io_since=1s", time.Second, "whole"},
		{"it connects", "io=connecting", time.Second, "waits"},
		{"it connects for long", "io=connecting", time.Minute, "it has not connected to db1:3306 within 10s"},
		{"its source is busy", "io=connecting ioerr=1040", time.Second, "waits"},
		{"its source stays busy", "io=connecting ioerr=1040", time.Minute, "within 10s: error 1040"},
		{"the account is missing on the new primary", "io=connecting ioerr=1045", time.Second,
			"its replication account is refused there: create the account"},
		{"the new primary has purged what it lacks", `io=no ioerr=1236 iotext="Could not find first log"`, time.Second,
			"error 1236 (Could not find first log): its new source can't send what it lacks: rebuild it"},
		{"equal server ids (MariaDB)", "io=no ioerr=1593", time.Second, "a setting of the two servers forbids it"},
		{"equal server ids (MySQL)", "io=no ioerr=13117", time.Second, "give it another"},
		{"row events below a statement replica", "sqlerr=1666", time.Second, "set its binlog_format to ROW"},
		{"an applier that fails", "sqlerr=1062", time.Second, "its applier stopped with error 1062"},
		{"moved by a clock that was ahead, it has just begun to connect", "io=connecting io_since=1s", -tenYears,
			"waits"},
		{"moved by a clock that was ahead, it connects for long", "io=connecting io_since=1m", -tenYears,
			"it has not connected to db1:3306 within 10s"},
		{"moved by a clock that was ahead, it receives", "io_since=1m", -tenYears, "whole"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := plan.Next(under("db1\n  db2 "+c.db2, plan.Episode{ID: "e", Kind: plan.PrimaryFailover,
				Failed: key("db9"), Candidate: key("db1"), Stage: plan.Promoted, Promoted: at.Add(-c.since),
				Touched: []topology.Key{key("db2")}})).Works[0]
			got := "waits"
			if w.Wait == "" {
				got = "whole"
			}
			if lost := w.Lost(); len(lost) > 0 {
				got = lost[0].Why
			}
			if !strings.Contains(got, c.want) || (w.Outcome() == "") != (c.want == "waits") {
				t.Errorf("%s, outcome %q", got, w.Outcome())
			}
		})
	}
}

func TestWhatIsSaidOfTwoDeadPrimaries(t *testing.T) {
	d := plan.Next(situation("db2 promoted down\ndb1 of=db2 down\n  db3 ioerr=2003\n  db4 ioerr=2003"))
	want := "db2:3306 is the primary and dead, and no server follows it: what it wrote is on no other server; " +
		"bring it back, or promote one of db3:3306, db4:3306 by hand and lose that"
	if got := strings.Join(d.Refused(), "\n"); got != want {
		t.Errorf("refused %q", got)
	}
	if d := plan.Next(situation("db1 down")); len(d.Refused()) > 0 {
		t.Errorf("of a server alone: refused %q", d.Refused())
	}
}

// Receivers that were started a moment ago: on paper nobody waits until they have run for a while.
func TestReadyRightAfterTheReplicasConnected(t *testing.T) {
	s := situation("db1\n  db2\n  db3")
	for _, name := range []string{"db2", "db3"} {
		v := s.Snapshot.Server(key(name))
		v.Channel().IOSince = v.Probe.Answered.Add(-10 * time.Millisecond)
	}
	if p := plan.IfDies(plan.Situate(s.Facts), key("db1")); !p.Ready() {
		t.Errorf("not ready: %+v", p.Main())
	}
}
