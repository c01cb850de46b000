package pair

import (
	"strings"
	"testing"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

var replicator = Account{User: lab.ReplicationUser, Password: lab.ReplicationPassword}

// lose makes the first member die with records that the second has not received.
func (r *rig) lose(keys ...string) {
	r.Helper()
	r.pair.Look(r.Context())
	r.exec(1, r.say(1, server.StopReceiver))
	r.put(0, "tag", keys...)
	if err := r.servers[0].Kill(); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) restart(at int) {
	r.Helper()
	if err := r.servers[at].Restart(r.Context()); err != nil {
		r.Fatal(err)
	}
}

// equal says that both hold exactly these tags.
func (r *rig) equal(tags string) {
	r.Helper()
	for i := range r.servers {
		if got := strings.Join(r.keys(i, "tag"), " "); got != tags {
			r.Errorf("member %d has %s, want %s", i, got, tags)
		}
	}
}

func TestRejoinAMemberOfAPair(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		r := rigged(t, l, f, true, nil)
		r.put(0, "tag", "a1")
		r.await("a1", func() bool { return len(r.keys(1, "tag")) == 1 })
		r.lose("lost1", "lost2")
		r.put(1, "tag", "b1")
		if _, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{}); err == nil {
			t.Error("a dead member was joined")
		}
		r.restart(0)
		for try := range 2 {
			report, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{Mutual: true})
			if err != nil {
				t.Fatalf("time %d: %v\n%s", try+1, err, steps(report))
			}
			m := r.pair.Look(t.Context())
			if m[0].ReadOnly || m[1].ReadOnly || !m[0].Channels[0].Running() || !m[1].Channels[0].Running() {
				t.Errorf("%+v", m)
			}
			r.equal("a1 b1 lost1 lost2")
		}
	})
}

func TestRejoinAFormerPrimary(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		r := rigged(t, l, f, false, nil)
		r.put(0, "tag", "a1")
		r.await("a1", func() bool { return len(r.keys(1, "tag")) == 1 })
		r.lose("lost")
		if _, err := r.pair.Promote(t.Context(), r.b(), PromoteOptions{}); err != nil {
			t.Fatal(err)
		}
		r.put(1, "tag", "b1")
		r.restart(0)
		if _, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{}); err == nil ||
			!strings.Contains(err.Error(), "--replication-user") {
			t.Errorf("without an account to replicate with: %v", err)
		}
		dry, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{Replication: replicator, DryRun: true})
		if m := r.pair.Look(t.Context()); err != nil || m[0].ReadOnly || len(m[0].Channels) > 0 ||
			strings.Contains(steps(dry), replicator.Password) {
			t.Errorf("a dry run changed something, or told a secret: %v %+v", err, m[0])
		}
		if f == topology.MySQL { // without TLS, it asks its source for a key only if somebody says so
			if _, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{Replication: replicator}); err != nil {
				t.Fatal(err) // a new channel of MySQL 9 has TLS
			}
			r.exec(0, "STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_SSL = 0")
			r.put(1, "tag", "b1")
			r.exec(1, "FLUSH LOCAL PRIVILEGES") // its source has forgotten who has logged in
			_, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{Replication: replicator})
			if err == nil || !strings.Contains(err.Error(), "--get-source-public-key") {
				t.Errorf("without the key of its source: %v", err)
			}
		}
		for range 2 {
			report, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{Replication: replicator, GetPublicKey: true})
			if err != nil {
				t.Fatalf("%v\n%s", err, steps(report))
			}
			if m := r.pair.Look(t.Context()); !m[0].ReadOnly || !m[0].Channels[0].Running() || len(m[1].Channels) != 0 {
				t.Errorf("%+v", m)
			}
			r.equal("a1 b1 lost")
		}
		// From a replica to a pair.
		report, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{Mutual: true, Replication: replicator,
			GetPublicKey: true})
		if err != nil {
			t.Fatalf("%v\n%s", err, steps(report))
		}
		r.put(0, "tag", "a2")
		r.put(1, "tag", "b2")
		r.await("both ways", func() bool { return len(r.keys(0, "tag")) == 5 && len(r.keys(1, "tag")) == 5 })
		for _, c := range Doctor(r.pair.Examine(t.Context())) {
			if c.Code == "replication" || c.Code == "read_only" || c.Code == "auto_position" ||
				c.Code == "connect_retry" {
				t.Errorf("doctor: %+v", c)
			}
		}
	})
}

// oldestLog is the name of a member's first binary log.
func (r *rig) oldestLog(at int) (name string) {
	rows, err := r.servers[at].DB().QueryContext(r.Context(), "SHOW BINARY LOGS")
	if err != nil {
		r.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil || !rows.Next() {
		r.Fatal("no binary log", err)
	}
	into := []any{&name}
	for range names[1:] {
		into = append(into, new(any))
	}
	if err := rows.Scan(into...); err != nil {
		r.Fatal(err)
	}
	return name
}

func TestRejoinANewServer(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		r := rigged(t, l, f, true, nil)
		r.put(0, "tag", "a1", "a2")
		r.await("a1", func() bool { return len(r.keys(1, "tag")) == 2 })
		r.lose("lost")
		r.put(1, "tag", "b1")
		r.exec(1, "FLUSH BINARY LOGS")
		// which MariaDB keeps until its dump thread has noticed that nobody listens
		r.await("the old binary log is purged", func() bool {
			r.exec(1, "FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
			return r.oldestLog(1) != "binlog.000001"
		})
		fresh, err := l.Member(t.Context(), f, lab.Quick()...)
		if err != nil {
			t.Fatal(err)
		}
		r.servers[0] = fresh
		r.open(nil)
		if _, err := r.pair.Rejoin(t.Context(), r.a(),
			RejoinOptions{Mutual: true, Replication: replicator}); err == nil ||
			!strings.Contains(err.Error(), "--seed") {
			t.Errorf("from binary logs that are gone: %v", err)
		}
		report, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{Mutual: true, Seed: true,
			Replication: replicator, GetPublicKey: true})
		if err != nil {
			t.Fatalf("%v\n%s", err, steps(report))
		}
		r.put(0, "tag", "c1")
		r.put(1, "tag", "b2")
		r.await("both ways", func() bool { return len(r.keys(0, "tag")) == 5 && len(r.keys(1, "tag")) == 5 })
		r.equal("a1 a2 b1 b2 c1")
		m := r.pair.Look(t.Context())
		if m[0].Hold.Term != 7 {
			t.Errorf("the lease was not copied: %+v", m[0])
		}
	})
}

// A server that was installed anew in the place of a member: the receiver of the other one will ask it for what only
// its predecessor had, as soon as it connects.
func TestRejoinANewServerInTheOldPlace(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		r := rigged(t, l, f, true, nil)
		r.put(0, "tag", "a1", "a2")
		r.await("a1", func() bool { return len(r.keys(1, "tag")) == 2 })
		stop, reset, anew, patient := "STOP REPLICA", "RESET REPLICA ALL", "RESET BINARY LOGS AND GTIDS",
			"CHANGE REPLICATION SOURCE TO SOURCE_CONNECT_RETRY = 60"
		if f == topology.MariaDB {
			stop, reset, anew, patient = "STOP SLAVE", "RESET SLAVE ALL", "RESET MASTER",
				"CHANGE MASTER TO MASTER_CONNECT_RETRY = 60"
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(r.servers[0].Kill())
		r.exec(1, stop, patient, r.say(1, server.Start))
		r.await("the other one looks for it",
			func() bool { return r.pair.Look(t.Context())[1].Channels[0].IO == topology.Connecting })
		r.restart(0)
		r.exec(0, stop, reset)
		c, err := r.servers[0].DB().Conn(t.Context())
		must(err)
		for _, q := range []string{"SET SESSION sql_log_bin = 0", "DROP DATABASE orchestrator",
			"CREATE DATABASE orchestrator", anew} {
			_, err := c.ExecContext(t.Context(), q)
			must(err)
		}
		if f == topology.MariaDB {
			_, err := c.ExecContext(t.Context(), "SET GLOBAL gtid_slave_pos = ''")
			must(err)
		}
		c.Close()
		if _, err := r.pair.Rejoin(t.Context(), r.a(),
			RejoinOptions{Mutual: true, Replication: replicator}); err == nil ||
			!strings.Contains(err.Error(), "--seed") {
			t.Errorf("by replication alone: %v", err)
		}
		report, err := r.pair.Rejoin(t.Context(), r.a(), RejoinOptions{Mutual: true, Seed: true,
			Replication: replicator, GetPublicKey: true})
		if err != nil {
			t.Fatalf("%v\n%s", err, steps(report))
		}
		r.put(0, "tag", "c1")
		r.put(1, "tag", "b1")
		r.await("both ways", func() bool { return len(r.keys(0, "tag")) == 4 && len(r.keys(1, "tag")) == 4 })
		r.equal("a1 a2 b1 c1")
	})
}
