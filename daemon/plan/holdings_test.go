package plan_test

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// TestHavingTheData: who counts as having data, who can give it, and who can get it.
func TestHavingTheData(t *testing.T) {
	for _, c := range []struct{ name, drawing, want string }{
		{"what only a filtered replica has received is not needed, and it gives nothing", `
db1 down
  db2 ioerr=2003 recv=1-100
  db3 ioerr=2003 recv=1-120 filters`, `
stop_receiver db2
stop_receiver db3
promote db2
lost: db3 it has 20 transactions that db2:3306 lacks (` + drawing.UUID(key("db1")) + `:101-120)`},
		{"all replicas filter: nobody is promoted", `
db1 down
  db2 ioerr=2003 filters
  db3 ioerr=2003 filters`, `
refused: no replica of db1:3306 can be promoted
refused: db2:3306: it filters what it replicates, so it has only a part of the data
refused: db3:3306: it filters what it replicates, so it has only a part of the data`},
		{"a replica that logs only some databases is no candidate", `
db1 down
  db2 ioerr=2003 binlog_filters prefer
  db3 ioerr=2003`, `
stop_receiver db2
stop_receiver db3
promote db3
repoint db2 db3`},
		{"what comes through a filter is as incomplete as what is filtered", `
db1 down
  db2 down filters
    db3 io=connecting ioerr=2003 recv=1-120
  db4 ioerr=2003`, `
stop_receiver db4
promote db4
lost: db2 out of reach (refused); it is moved under db4:3306 when it comes back
lost: db3 it follows db2:3306, which is out of reach, and has 20 transactions that db4:3306 lacks (` + drawing.UUID(key("db1")) + `:101-120)
lost: db3 db2:3306, from which it got its data, filters what it replicates; db4:3306 would send it all: what it lacks would break it, and what must not be there would come`},
		{"a donor that has purged what it should give is passed over for one that has not", `
db1 down
  db2 ioerr=2003 prefer recv=1-80
  db3 ioerr=2003 recv=1-120 exec=1-120 purged=1-110 must_not
  db4 ioerr=2003 recv=1-120 exec=1-120 purged=1-50 must_not`, `
stop_receiver db2
stop_receiver db3
stop_receiver db4
repoint db2 db4
promote db2
repoint db3 db2
repoint db4 db2`},
		{"the candidate that nobody can give what it lacks is passed over", `
db1 down
  db2 ioerr=2003 prefer recv=1-80
  db3 ioerr=2003 recv=1-120 exec=1-120 purged=1-110`, `
stop_receiver db2
stop_receiver db3
promote db3
detach db2
lost: db2 db3:3306 has purged 30 transactions, which it lacks (` + drawing.UUID(key("db1")) + `:81-110): it must be rebuilt`},
		{"two domains of MariaDB: one position contains the other where it does so in each", `
db1 mariadb=10.11.6 down
  db2 ioerr=2003 recv=0-1-100,1-1-60 exec=0-1-100,1-1-60
  db3 ioerr=2003 recv=0-1-90,1-1-60 exec=0-1-90,1-1-60`, `
stop_receiver db2
stop_receiver db3
promote db2
repoint db3 db2`},
		{"each has more in one of two domains", `
db1 mariadb=10.11.6 down
  db2 ioerr=2003 recv=0-1-100,1-1-50 exec=0-1-100,1-1-50
  db3 ioerr=2003 recv=0-1-90,1-1-60 exec=0-1-90,1-1-60`, `
refused: 10 received transactions would be thrown away: db3:3306 has 10 transactions of them (1-1-51..60) and lacks 10 transactions that another has (0-1-91..100), so no server has all; allow_received_loss is false`},
		{"two servers wrote under one number", `
db1 mariadb=10.11.6 down
  db2 ioerr=2003 recv=0-1-100,1-5-60 exec=0-1-100,1-5-60
  db3 ioerr=2003 recv=0-1-90,1-1-60 exec=0-1-90,1-1-60`, `
refused: 1 received transaction would be thrown away: db3:3306 has 1-1-60, and another replica has a transaction of another server with that number, so none has all; allow_received_loss is false`},
		{"the same on MariaDB, where the oldest log tells", `
db1 mariadb=10.11.6 down
  db2 mariadb=10.11.6 ioerr=2003 prefer recv=0-1-80 exec=0-1-80
  db3 mariadb=10.11.6 ioerr=2003 recv=0-1-120 exec=0-1-120 purged=0-1-110`, `
stop_receiver db2
stop_receiver db3
promote db3
detach db2
lost: db2 db3:3306 has purged 30 transactions, which it lacks (0-1-81..110): it must be rebuilt`},
		{"a donor with errant transactions would pass them on", `
db1 down
  db2 ioerr=2003 recv=1-100
  db3 ioerr=2003 exec=db1:1-120+db3:1-3 recv=db1:1-120`, `
refused: 20 received transactions would be thrown away: db3:3306 has them, and can't pass them on to db2:3306 (it has errant transactions, which would come along; allow_errant is false); allow_received_loss is false`},
		{"a delayed donor is no reason to wait for its delay", `
db1 down
  db2 ioerr=2003 recv=1-110
  db3 ioerr=2003 recv=1-120 exec=1-50 delay=1h`, `
refused: 10 received transactions would be thrown away: db3:3306 has them, and can't pass them on to db2:3306 (it is delayed by 1h0m0s, and has not applied them; to apply them now: STOP REPLICA SQL_THREAD, CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0, START REPLICA SQL_THREAD); allow_received_loss is false`},
		{"a delayed replica that has applied what is lacking gives it", `
db1 down
  db2 ioerr=2003 recv=1-110
  db3 ioerr=2003 recv=1-120 exec=1-120 delay=1h`, `
stop_receiver db2
stop_receiver db3
repoint db2 db3
promote db2
repoint db3 db2`},
		{"a broken applier does not keep a donor from giving what it has applied", `
db1 down
  db2 ioerr=2003 recv=1-100
  db3 ioerr=2003 recv=1-120 exec=1-120 sqlerr=1062`, `
stop_receiver db2
stop_receiver db3
repoint db2 db3
promote db2
repoint db3 db2
lost: db3 its applier stopped with error 1062 (could not apply: duplicate entry (1062))`},
		{"a newer donor is none", `
db1 down mysql=8.0.36
  db2 ioerr=2003 mysql=8.0.36
  db3 ioerr=2003 mysql=8.4.0 recv=1-120 must_not`, `
refused: 20 received transactions would be thrown away: db3:3306 has them, and can't pass them on to db2:3306 (it runs 8.0.36 and can't follow a server that runs 8.4.0); allow_received_loss is false`},
		{"a STATEMENT replica is not put below a ROW primary", `
db1 binlog=STATEMENT down
  db2 binlog=ROW prefer ioerr=2003
  db3 binlog=STATEMENT ioerr=2003`, `
stop_receiver db2
stop_receiver db3
promote db3
repoint db2 db3`},
		{"nobody logs what it replicates, and all have the same: one is promoted", `
db1 down
  db2 nologupdates ioerr=2003
  db3 nologupdates ioerr=2003`, `
stop_receiver db2
stop_receiver db3
promote db2
repoint db3 db2`},
		{"nobody logs what it replicates, and one has more: it is promoted, and the other named", `
db1 down
  db2 nologupdates ioerr=2003 recv=1-110 exec=1-110
  db3 nologupdates ioerr=2003 recv=1-100`, `
stop_receiver db2
stop_receiver db3
promote db2
detach db3
lost: db3 db2:3306 has not logged 10 transactions, which it lacks (` + drawing.UUID(key("db1")) + `:101-110): ` +
			`it must be rebuilt`},
		{"the same on MariaDB, where that is the default", `
db1 mariadb=10.11.6 down
  db2 mariadb=10.11.6 nologupdates ioerr=2003 exec=0-1-110 recv=0-1-110
  db3 mariadb=10.11.6 nologupdates ioerr=2003 exec=0-1-100 recv=0-1-100`, `
stop_receiver db2
stop_receiver db3
promote db2
detach db3
lost: db3 db2:3306 has not logged 10 transactions, which it lacks (0-1-101..110): it must be rebuilt`},
		{"one that logs, and has as much, goes before one that does not", `
db1 down
  db2 nologupdates prefer ioerr=2003 recv=1-110 exec=1-110
  db3 ioerr=2003 recv=1-110 exec=1-110
  db4 ioerr=2003 recv=1-100`, `
stop_receiver db2
stop_receiver db3
stop_receiver db4
promote db3
repoint db2 db3
repoint db4 db3`},
		{"the replica of a dead replica has more, and gives it", `
db1 down
  db2 down
    db3 ioerr=2003 exec=1-120 recv=1-120
  db5 ioerr=2003`, `
stop_receiver db5
repoint db5 db3
promote db5
repoint db3 db5
lost: db2 out of reach (refused); it is moved under db5:3306 when it comes back`},
		{"a replica of a dead replica is promoted where no direct one can be", `
db1 down
  db2 down
    db3 ioerr=2003
    db4 ioerr=2003
  db5 ioerr=2003 must_not`, `
stop_receiver db5
stop_receiver db3
promote db3
repoint db5 db3
repoint db4 db3
lost: db2 out of reach (refused); it is moved under db3:3306 when it comes back`},
		{"a replica below one that must not be promoted is promoted", `
db1 down
  db2 ioerr=2003 must_not
    db3
    db4`, `
stop_receiver db2
stop_receiver db3
promote db3
repoint db2 db3`},
		{"a replica of a silent replica is not: somebody else may have promoted that", `
db1 down
  db2 down=timeout
    db3 ioerr=2003
  db5 ioerr=2003 must_not`, `
refused: no replica of db1:3306 can be promoted
refused: db5:3306: its promotion rule is must_not; to lift that: orchestrator-client rule set db5:3306 neutral
refused: db2:3306: out of reach (timeout)
refused: db3:3306: it follows db2:3306, which is silent, and which others may have promoted
refused: no living server above db2:3306 can take its replicas: bring it back, or a server above it`},
		{"MariaDB: a higher number does not contain what another server wrote, where the log shows it", `
db1 mariadb=10.11.6 down
  db2 mariadb=10.11.6 ioerr=2003 exec=0-2-150 recv=0-1-100 state=0-1-100+0-2-150
  db3 mariadb=10.11.6 ioerr=2003 exec=0-1-120 recv=0-1-120`, `
stop_receiver db2
stop_receiver db3
promote db3
detach db2
lost: db2 it has 30 transactions that db3:3306 lacks (0-2-121..150)`},
		{"MariaDB: a replica whose writes the new primary has passed by number is not moved under it", `
db2 mariadb=10.11.6 promoted exec=0-2-150 state=0-1-100+0-2-150
  db3 mariadb=10.11.6
db1 mariadb=10.11.6 of=db2 down
  db4 mariadb=10.11.6 ioerr=2003 exec=0-1-120 recv=0-1-120`, `
refused: db4:3306 can't be moved: it has 20 transactions that db2:3306 lacks (0-1-101..120)`},
		{"a replica without GTID that has no more than others is left behind", `
db1 down
  db2 ioerr=2003
  db3 ioerr=2003 nogtid`, `
stop_receiver db2
stop_receiver db3
promote db2
lost: db3 it does not replicate by GTID, so its place in another source's binary log is not known for certain`},
		{"a replica without GTID that has received more stops the failover", `
db1 down
  db2 ioerr=2003 read=binlog.000009:400
  db3 ioerr=2003 nogtid read=binlog.000010:4`, `
refused: db3:3306 does not replicate by GTID, and has received up to binlog.000010:4 of db1:3306: no replica with GTID is shown to have as much; allow_received_loss is false, else it would be left behind`},
		{"its source was emptied since: places in two binary logs can't be compared", `
db1 mariadb=10.11.6 down exec=none
  db2 mariadb=10.11.6 ioerr=2003 exec=0-1-100 read=binlog.000010:4
  db3 mariadb=10.11.6 ioerr=2003 nogtid exec=0-1-100 read=binlog.000009:400`, `
refused: db3:3306 does not replicate by GTID, and db1:3306 was emptied since: its binary log is another one now, so what db3:3306 has received can't be compared; allow_received_loss is false, else it would be left behind`},
		{"one that logs goes before one that must fetch first, and does not log what it fetches", `
db1 down
  db2 nologupdates ioerr=2003 recv=1-108 exec=1-108
  db3 ioerr=2003 recv=1-110 exec=1-110 purged=1-105
    db6 ioerr=1236 io=no recv=1-90 exec=1-90
  db4 must_not ioerr=2003 recv=1-109 exec=1-109`, `
stop_receiver db2
stop_receiver db3
stop_receiver db4
promote db3
repoint db2 db3
repoint db4 db3`},
		{"only the newest version has everything: the older one is left behind", `
db1 mysql=9.7.4 down
  db2 mysql=9.7.4 ioerr=2003 recv=1-120 exec=1-120
  db3 mysql=8.4.0 ioerr=2003 recv=1-100`, `
stop_receiver db2
stop_receiver db3
promote db2
detach db3
lost: db3 it runs 8.4.0 and can't follow a server that runs 9.7.4`},
		{"the older one can get it from a third: it goes first", `
db1 mysql=8.4.0 down
  db2 mysql=9.7.4 ioerr=2003 recv=1-120 exec=1-120
  db3 mysql=8.4.0 ioerr=2003 recv=1-100
  db4 mysql=8.4.0 must_not ioerr=2003 recv=1-120 exec=1-120`, `
stop_receiver db2
stop_receiver db3
stop_receiver db4
repoint db3 db4
promote db3
repoint db2 db3
repoint db4 db3`},
		{"a wish does not outweigh hours of applying where another has applied all", `
db1 down
  db2 prefer ioerr=2003 recv=1-500000 exec=1-100
  db3 ioerr=2003 recv=1-500000 exec=1-500000`, `
stop_receiver db2
stop_receiver db3
promote db3
repoint db2 db3`},
		{"relay logs that the new source can't replace are applied before the source is changed", `
db1 exec=1-120 purged=1-110
  db2 down
    db3 ioerr=2003 sql=no recv=1-120 exec=1-60
    db4 ioerr=2003`, `
start_applier db3
repoint db4 db1
repoint db3 db1`},
		{"on MariaDB also where the applier runs", `
db1 mariadb=10.11.6 exec=0-1-120 purged=0-1-110
  db2 mariadb=10.11.6 down
    db3 mariadb=10.11.6 ioerr=2003 recv=0-1-120 exec=0-1-60
    db4 mariadb=10.11.6 ioerr=2003`, `
await_applied db3
repoint db4 db1
repoint db3 db1`},
		{"a delayed one is left where it is, by name", `
db1 mariadb=10.11.6 exec=0-1-120 purged=0-1-110
  db2 mariadb=10.11.6 down
    db3 mariadb=10.11.6 ioerr=2003 recv=0-1-120 exec=0-1-60 delay=1h
    db4 mariadb=10.11.6 ioerr=2003`, `
repoint db4 db1
lost: db3 its relay logs hold 50 transactions that db1:3306 has purged, and a change of its source would throw them away; it is delayed by 1h0m0s, and has not applied them; to apply them now: STOP SLAVE, CHANGE MASTER TO MASTER_DELAY = 0, RELAY_LOG_FILE = …, RELAY_LOG_POS = … as SHOW SLAVE STATUS has them (else it throws them away), START SLAVE SQL_THREAD; at the end STOP SLAVE, CHANGE MASTER TO MASTER_USE_GTID = slave_pos, START SLAVE`},
		{"relay logs that the new source can send again may go", `
db1 exec=1-120 purged=1-50
  db2 down
    db3 ioerr=2003 sql=no recv=1-120 exec=1-60`, `
repoint db3 db1`},
		{"a filter between two tiers: those below stay, for they lack what was filtered", `
db1
  db2 filters down
    db3 ioerr=2003
    db4 ioerr=2003`, `
refused: db3:3306 can't be moved: db2:3306, from which it got its data, filters what it replicates; db1:3306 would send it all: what it lacks would break it, and what must not be there would come
refused: db4:3306 can't be moved: db2:3306, from which it got its data, filters what it replicates; db1:3306 would send it all: what it lacks would break it, and what must not be there would come`},
		{"a filter of the replica itself goes with it", `
db1
  db2 down
    db3 ioerr=2003 filters`, `
repoint db3 db1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(plan.Preview(situation(c.drawing))); got != strings.TrimSpace(c.want) {
				t.Errorf("got\n%s\nwant%s", got, c.want)
			}
		})
	}
}

// TestTheBoundIsTrue: the promise that nothing is lost is made only where that is known.
func TestTheBoundIsTrue(t *testing.T) {
	const moments = "; what db1:3306 committed in its last moments and sent to no server can't be known"
	for _, c := range []struct {
		name, drawing string
		policy        func(*plan.Policy)
		want          string
	}{
		{"all is known", "db1 down\n  db2 ioerr=2003\n  db3 ioerr=2003", nil,
			"no transaction that a reachable replica received is lost" + moments},
		{"a silent replica, of any tier", "db1 down\n  db2 ioerr=2003\n    db3 down=timeout", nil,
			"db2:3306 has, or fetches before it is opened, all that the replicas in reach received" + moments +
				"; 1 replica out of reach may have received more (db3:3306)"},
		{"a replica that never answered", "db1 down registered=db2+db3\n  db2 ioerr=2003\ndb3 of=db1 never", nil,
			"db2:3306 has, or fetches before it is opened, all that the replicas in reach received" + moments +
				"; 1 replica out of reach may have received more (db3:3306)"},
		{"filters", "db1 down\n  db2 ioerr=2003\n  db3 ioerr=2003 filters recv=1-120", nil,
			"20 received transactions are lost: only db3:3306 received them" + moments},
		{"filters that the policy allows", "db1 down\n  db2 ioerr=2003 filters\n  db3 ioerr=2003 filters",
			func(p *plan.Policy) { p.AllowFilters = true },
			"db2:3306 has, or fetches before it is opened, all that the replicas in reach received" + moments},
		{"the primary itself logs a part", "db1 down binlog_filters\n  db2 ioerr=2003", nil,
			"db2:3306 has, or fetches before it is opened, all that the replicas in reach received" +
				"; db1:3306 logs only a part of its databases, and the rest is nowhere else" + moments},
		{"a loss that is allowed", "db1 down\n  db2 ioerr=2003 recv=1-110\n" +
			"  db3 ioerr=2003 sqlerr=1062 recv=1-120 exec=1-105",
			func(p *plan.Policy) { p.AllowReceivedLoss, p.DrainTimeout = true, 10*time.Second },
			"10 received transactions are lost: only db3:3306 received them; " +
				"what it can't apply within 10s is dropped, as allow_received_loss says" + moments},
		{"a replica by coordinates that has more, where the loss is allowed",
			"db1 down\n  db2 ioerr=2003 read=binlog.000001:10\n  db3 ioerr=2003 nogtid read=binlog.000001:20",
			func(p *plan.Policy) { p.AllowReceivedLoss, p.DrainTimeout = true, 10*time.Second },
			"db2:3306 has, or fetches before it is opened, all that the replicas in reach received; " +
				"what it can't apply within 10s is dropped, as allow_received_loss says" + moments +
				"; db3:3306 does not replicate by GTID, and has received up to binlog.000001:20 of db1:3306: " +
				"no replica with GTID is shown to have as much"},
		{"a replica that is registered under two of its names",
			"db1 down registered=db2+10.0.0.2\n  db2 names=10.0.0.2 ioerr=2003", nil,
			"no transaction that a reachable replica received is lost" + moments},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(c.drawing)
			if c.policy != nil {
				c.policy(&s.Policy)
				s = plan.Situate(s.Facts)
			}
			if got := plan.Preview(s).Main().Bound; got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestFiltersThatThePolicyAllows(t *testing.T) {
	s := situation("db1 down\n  db2 ioerr=2003 filters binlog_filters\n" +
		"  db3 ioerr=2003 filters recv=1-120 exec=1-120 binlog_filters")
	s.Policy.AllowFilters = true
	want := "stop_receiver db2\nstop_receiver db3\npromote db3\nrepoint db2 db3"
	if got := told(plan.Preview(plan.Situate(s.Facts))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What is known of a donor's logs may be old. What its follower says is not.
func TestADonorThatSentError1236GivesNothing(t *testing.T) {
	s := under(`
db1 down
  db3 io=no ioerr=2003 recv=1-120 exec=1-120
    db2 prefer ioerr=1236 recv=1-80 exec=1-80`,
		plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen, Candidate: key("db2"),
			Donor: key("db3"), Touched: []topology.Key{key("db2"), key("db3")}})
	if got := told(plan.Preview(s)); !strings.HasPrefix(got, "promote db3") {
		t.Errorf("got\n%s", got)
	}
}

// A candidate that has had its time to apply what it received gives way to one that has applied all.
func TestAfterTheDrainTimeoutAnotherIsTaken(t *testing.T) {
	s := under(`
db1 down
  db2 io=no ioerr=2003 prefer recv=1-120 exec=1-80
  db3 io=no ioerr=2003 recv=1-120 exec=1-120`,
		plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen, Candidate: key("db2"),
			Touched: []topology.Key{key("db2"), key("db3")}})
	for since, want := range map[time.Duration]string{
		time.Second / 2: "await_applied db2", 2 * time.Second: "promote db3"} {
		s.Episodes[0].DrainSince = s.Snapshot.At.Add(-since)
		if got := told(plan.Preview(plan.Situate(s.Facts))); !strings.HasPrefix(got, want) {
			t.Errorf("after %s\n%s", since, got)
		}
	}
}
