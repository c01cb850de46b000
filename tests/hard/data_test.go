package hard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// shop is a cluster whose primary has the table shop.t, watched only later.
func shop(t *testing.T, l *lab.Lab, spec lab.Spec, n int) *watched.Fleet {
	t.Helper()
	f := watched.Servers(t, l, spec, n)
	f.Must(f.Primary.Exec(f.Ctx, "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	for _, r := range f.Replicas {
		caughtUp(f, r)
	}
	return f
}

func watch(f *watched.Fleet) {
	f.Helper()
	f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy})
	_, err := f.API.AwaitServers(f.Ctx, 1+len(f.Replicas))
	f.Must(err)
}

// sell writes n rows.
func sell(f *watched.Fleet, from, n int) {
	f.Helper()
	for i := range n {
		f.Must(f.Primary.Exec(f.Ctx, fmt.Sprintf("INSERT INTO shop.t VALUES (%d)", from+i)))
	}
}

// sold counts the rows; -1 where there is no such table.
func sold(f *watched.Fleet, s *lab.Server) int {
	n := -1
	if err := s.DB().QueryRowContext(f.Ctx, "SELECT COUNT(*) FROM shop.t").Scan(&n); err != nil {
		return -1
	}
	return n
}

// threads is START or STOP of one thread or, with "", of both.
func threads(f *watched.Fleet, s *lab.Server, verb, thread string) {
	f.Helper()
	word := " REPLICA "
	if s.Flavor == lab.MariaDB {
		word = " SLAVE "
	}
	f.Must(s.Exec(f.Ctx, strings.TrimSpace(verb+word+thread)))
}

func caughtUp(f *watched.Fleet, r *lab.Server) {
	f.Helper()
	f.Await("it has executed what the primary has", func() bool {
		want, err := f.Primary.Executed(f.Ctx)
		have, err2 := r.Executed(f.Ctx)
		return err == nil && err2 == nil && have.Contains(want)
	})
}

func received(f *watched.Fleet, r *lab.Server) {
	f.Helper()
	f.Await("it has received what the primary has", func() bool {
		want, err := f.Primary.Executed(f.Ctx)
		have, err2 := r.Received(f.Ctx)
		done, err3 := r.Executed(f.Ctx)
		return err == nil && err2 == nil && err3 == nil && have.Union(done).Contains(want)
	})
}

// purge leaves a server no binary log but the one that it begins now.
func purge(f *watched.Fleet, s *lab.Server) {
	f.Helper()
	statement := "SHOW BINARY LOG STATUS"
	if s.Flavor == lab.MariaDB {
		statement = "SHOW MASTER STATUS"
	}
	for range 2 { // MariaDB keeps the log that a checkpoint is in
		f.Must(s.Exec(f.Ctx, "FLUSH BINARY LOGS"))
	}
	f.Await("the logs are purged", func() bool {
		row, err := s.Row(f.Ctx, statement)
		f.Must(err)
		f.Must(s.Exec(f.Ctx, "PURGE BINARY LOGS TO '"+row["File"]+"'"))
		first, err := s.Row(f.Ctx, "SHOW BINARY LOGS")
		f.Must(err)
		return first["Log_name"] == row["File"]
	})
}

func lostWhy(e plan.Episode, k topology.Key) string {
	for _, l := range e.Lost {
		if l.Key == k {
			return l.Why
		}
	}
	return ""
}

// A replica that filters has the GTIDs of rows that it does not have. It gave them to the candidate, which was promoted
// with all GTIDs and none of the rows.
func TestFilteredDonor(t *testing.T) {
	quick(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
		r1, r2 := f.Replicas[0], f.Replicas[1]
		threads(f, r2, "STOP", "")
		if flavor == lab.MariaDB {
			f.Must(r2.Exec(f.Ctx, "SET GLOBAL replicate_wild_ignore_table = 'shop.%'"))
		} else {
			f.Must(r2.Exec(f.Ctx, "CHANGE REPLICATION FILTER REPLICATE_WILD_IGNORE_TABLE = ('shop.%')"))
		}
		threads(f, r2, "START", "")
		threads(f, r1, "STOP", "IO_THREAD")
		sell(f, 0, 20)
		caughtUp(f, r2)
		watch(f)
		f.Must(f.Primary.Kill())
		e, promoted := f.Promoted()
		if promoted != r1 || !e.Donor.IsZero() || !strings.Contains(lostWhy(e, r2.Key), "it has 20 transactions") {
			t.Errorf("%v was promoted: %+v", promoted.Key, e)
		}
		if have, err := r1.Executed(f.Ctx); err != nil || have.Contains(must(r2.Executed(f.Ctx))) {
			t.Errorf("%v has the GTIDs of rows that it does not have: %v %v", r1.Key, have, err)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A server with binary log filters sends a part of the data to those below it: it is no candidate.
func TestBinlogFilters(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
		r1, r2 := f.Replicas[0], f.Replicas[1]
		f.Must(r1.Kill())
		f.Must(r1.Restart(f.Ctx, "--binlog-ignore-db=shop"))
		f.Must(lab.AwaitReplication(f.Ctx, f.Primary, r1))
		watch(f)
		f.Must(f.API.SetRule(f.Ctx, r1.Key.String(), topology.Prefer))
		f.Must(f.Primary.Kill())
		e, promoted := f.Promoted()
		if promoted != r2 {
			t.Errorf("%v was promoted: %+v", promoted.Key, e)
		}
		f.Settled(r2)
	})
}

// The donor has purged what the preferred candidate lacks: that was made to follow it each second, for ever.
func TestPurgedDonor(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for _, known := range []bool{true, false} { // else only error 1236 of the candidate tells
			t.Run(fmt.Sprintf("known=%v", known), func(t *testing.T) { purgedDonor(t, l, flavor, known) })
		}
	})
}

func purgedDonor(t *testing.T, l *lab.Lab, flavor topology.Flavor, known bool) {
	f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
	r1, r2 := f.Replicas[0], f.Replicas[1]
	threads(f, r1, "STOP", "IO_THREAD")
	sell(f, 0, 30)
	caughtUp(f, r2)
	if known {
		purge(f, r2)
	}
	watch(f)
	f.Must(f.API.SetRule(f.Ctx, r1.Key.String(), topology.Prefer))
	if !known {
		purge(f, r2)
	}
	f.Must(f.Primary.Kill())
	e, promoted := f.Promoted()
	if promoted != r2 || sold(f, r2) != 30 || known && !strings.Contains(lostWhy(e, r1.Key), "has purged") {
		t.Errorf("%v was promoted with %d rows: %+v", promoted.Key, sold(f, promoted), e)
	}
}

// A change of the source throws relay logs away. What they held was nowhere else.
func TestRelayLogsOfMovedReplicas(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
		middle, r := f.Replicas[0], f.Replicas[1]
		f.Must(l.ReplicateFrom(f.Ctx, r, middle))
		threads(f, r, "STOP", "SQL_THREAD")
		sell(f, 0, 20)
		received(f, r)
		purge(f, f.Primary)
		watch(f)
		f.Must(middle.Kill())
		f.Await("the replica is moved", func() bool {
			s, err := r.Replication(f.Ctx)
			return err == nil && s.Source == f.Primary.Key && s.Running()
		})
		f.Within(10*time.Second, "it has all rows", func() bool { return sold(f, r) == 20 })
		sell(f, 100, 1)
		f.Within(10*time.Second, "it goes on", func() bool { return sold(f, r) == 21 })
	})
}

// A replica that logs by statement stops with error 1666 below a server that logs rows.
func TestRowBelowStatement(t *testing.T) {
	only(t, lab.MySQL, func(t *testing.T, l *lab.Lab) {
		f := shop(t, l, lab.Spec{Flavor: lab.MySQL, ExtraArgs: []string{"--binlog-format=STATEMENT"}}, 2)
		r1, r2 := f.Replicas[0], f.Replicas[1]
		threads(f, r1, "STOP", "")
		f.Must(r1.Exec(f.Ctx, "SET GLOBAL binlog_format = 'ROW'"))
		threads(f, r1, "START", "")
		f.Must(lab.AwaitReplication(f.Ctx, f.Primary, r1))
		watch(f)
		f.Must(f.API.SetRule(f.Ctx, r1.Key.String(), topology.Prefer))
		f.Must(f.Primary.Kill())
		if e, promoted := f.Promoted(); promoted != r2 {
			t.Errorf("%v was promoted: %+v", promoted.Key, e)
		}
		f.Primary = r2
		sell(f, 0, 1)
		f.Within(10*time.Second, "it replicates", func() bool { return sold(f, r1) == 1 })
	})
}

// One replica by file and position kept everybody from failing over.
func TestOneReplicaWithoutGTID(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 3)
		odd := f.Replicas[2]
		threads(f, odd, "STOP", "")
		if flavor == lab.MariaDB {
			f.Must(odd.Exec(f.Ctx, "CHANGE MASTER TO MASTER_USE_GTID = no"))
		} else {
			at := must(odd.Row(f.Ctx, "SHOW REPLICA STATUS"))
			f.Must(odd.Exec(f.Ctx, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 0, "+
				"SOURCE_LOG_FILE = '%s', SOURCE_LOG_POS = %s", at["Relay_Source_Log_File"], at["Exec_Source_Log_Pos"])))
		}
		threads(f, odd, "START", "")
		f.Must(lab.AwaitReplication(f.Ctx, f.Primary, odd))
		sell(f, 0, 5)
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		watch(f)
		f.Must(f.Primary.Kill())
		e, promoted := f.Promoted()
		if promoted == odd || sold(f, promoted) != 5 || !strings.Contains(lostWhy(e, odd.Key), "by GTID") {
			t.Errorf("%v was promoted: %+v", promoted.Key, e)
		}
	})
}

// Readiness that said yes and no by turns, for positions that were read at different moments.
func TestReadinessIsSteady(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
		r2 := f.Replicas[1]
		f.Must(r2.SetReadOnly(f.Ctx, false))
		f.Must(r2.Exec(f.Ctx, "SET SESSION sql_log_bin = 0", "INSERT INTO shop.t VALUES (7)"))
		f.Must(r2.SetReadOnly(f.Ctx, true))
		sell(f, 7, 1)
		watch(f)
		f.Await("its applier is broken", func() bool { return f.Found("ReplicaBroken", r2.Key.String()) })
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 1000; f.Ctx.Err() == nil && i < 6000; i++ {
				_ = f.Primary.Exec(f.Ctx, fmt.Sprintf("INSERT INTO shop.t VALUES (%d)", i))
				time.Sleep(3 * time.Millisecond)
			}
		}()
		said := map[bool]int{}
		for range 60 {
			p, err := f.API.Plan(f.Ctx, f.Primary.Key.String(), f.Primary.Key.String())
			f.Must(err)
			said[p.Ready]++
			time.Sleep(200 * time.Millisecond)
		}
		if said[true] != 60 {
			t.Errorf("ready: %v", said)
		}
		<-done
	})
}

// What only a delayed replica has received is a person's choice, and nobody waits for its delay.
func TestDelayedDonor(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
		r1, r2 := f.Replicas[0], f.Replicas[1]
		threads(f, r2, "STOP", "")
		if flavor == lab.MariaDB {
			f.Must(r2.Exec(f.Ctx, "CHANGE MASTER TO MASTER_DELAY = 3600"))
		} else {
			f.Must(r2.Exec(f.Ctx, "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 3600"))
		}
		threads(f, r2, "START", "")
		f.Must(lab.AwaitReplication(f.Ctx, f.Primary, r2))
		threads(f, r1, "STOP", "IO_THREAD")
		sell(f, 0, 10)
		received(f, r2)
		watch(f)
		f.Must(f.Primary.Kill())
		f.Within(20*time.Second, "the choice is spelt out", func() bool {
			return strings.Contains(fmt.Sprint(f.Refused()), "it is delayed by 1h0m0s")
		})
		f.NoFailover()

		// A person does what the refusal says: no relay log is lost, and the failover goes on.
		if flavor == lab.MariaDB {
			threads(f, r2, "STOP", "")
			row, err := r2.Row(f.Ctx, "SHOW SLAVE STATUS")
			f.Must(err)
			f.Must(r2.Exec(f.Ctx, fmt.Sprintf("CHANGE MASTER TO MASTER_DELAY = 0, RELAY_LOG_FILE = '%s', "+
				"RELAY_LOG_POS = %s", row["Relay_Log_File"], row["Relay_Log_Pos"])))
			threads(f, r2, "START", "SQL_THREAD")
			f.Await("it has applied them", func() bool { return sold(f, r2) == 10 })
			threads(f, r2, "STOP", "")
			f.Must(r2.Exec(f.Ctx, "CHANGE MASTER TO MASTER_USE_GTID = slave_pos"))
			threads(f, r2, "START", "")
		} else {
			threads(f, r2, "STOP", "SQL_THREAD")
			f.Must(r2.Exec(f.Ctx, "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0"))
			threads(f, r2, "START", "SQL_THREAD")
		}
		if _, promoted := f.Promoted(); sold(f, promoted) != 10 {
			t.Errorf("%v was promoted with %d of 10 rows", promoted.Key, sold(f, promoted))
		}
	})
}

// MariaDB's default: replicas do not log what they replicate. One that has as much can follow; one that lacks something
// can't, and is named.
func TestNobodyLogsUpdates(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		off := "--log-replica-updates=OFF"
		if flavor == lab.MariaDB {
			off = "--log-slave-updates=OFF"
		}
		f := shop(t, l, lab.Spec{Flavor: flavor, ExtraArgs: []string{off}}, 3)
		behind := f.Replicas[0] // the seed: nothing else tells of it
		sell(f, 0, 5)
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		threads(f, behind, "STOP", "IO_THREAD")
		sell(f, 5, 5)
		caughtUp(f, f.Replicas[2])
		caughtUp(f, f.Replicas[1])
		watch(f)
		f.Must(f.Primary.Kill())
		e, promoted := f.Promoted()
		if promoted == behind || sold(f, promoted) != 10 {
			t.Errorf("%v was promoted with %d rows: %+v", promoted.Key, sold(f, promoted), e)
		}
		f.Primary = promoted
		sell(f, 10, 1)
		for _, r := range f.Replicas[1:] {
			f.Within(10*time.Second, "it replicates", func() bool { return sold(f, r) == 11 })
		}
		f.Await("the one that can't follow is named", func() bool {
			es := must(f.API.Episodes(f.Ctx, "", ""))
			return len(es) > 0 && lostWhy(es[0], behind.Key) != ""
		})
	})
}

// The replicas of a replica that died with the primary are all that is left.
func TestReplicaOfADeadReplica(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 3)
		middle, below, never := f.Replicas[0], f.Replicas[1], f.Replicas[2]
		f.Must(l.ReplicateFrom(f.Ctx, below, middle))
		sell(f, 0, 5)
		caughtUp(f, below)
		watch(f)
		f.Must(f.API.SetRule(f.Ctx, never.Key.String(), topology.MustNot))
		f.Must(middle.Kill())
		f.Must(f.Primary.Kill())
		e, promoted := f.Promoted()
		if promoted != below || sold(f, below) != 5 {
			t.Errorf("%v was promoted: %+v", promoted.Key, e)
		}
		f.Settled(below, middle)
	})
}
