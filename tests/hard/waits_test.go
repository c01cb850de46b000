package hard

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// The words of both flavours for what these tests do to replicas.
func say(flavor topology.Flavor, mariadb, mysql string) string {
	if flavor == lab.MariaDB {
		return mariadb
	}
	return mysql
}

// writes fails unless a server takes a write within that time.
func writes(f *watched.Fleet, s *lab.Server, within time.Duration) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Ctx, within)
	defer cancel()
	if err := s.Exec(ctx, "CREATE TABLE IF NOT EXISTS app.tried (at DATETIME(6))",
		"INSERT INTO app.tried VALUES (NOW(6))"); err != nil {
		f.Errorf("%v takes no writes: %v", s.Key, err)
	}
}

// accident is a dead primary that nobody has watched, and a replica that has all that was written to it; the other one,
// which is the first, lags.
func accident(t *testing.T, l *lab.Lab, flavor topology.Flavor) (*watched.Fleet, *lab.Writer) {
	t.Helper()
	f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
	f.Must(f.Replicas[0].Exec(f.Ctx, say(flavor, "STOP SLAVE IO_THREAD", "STOP REPLICA IO_THREAD")))
	w := lab.Write(f.Ctx, 1, f.Primary)
	f.Must(w.AwaitRows(f.Ctx, 30))
	w.Stop()
	caughtUp(f, f.Replicas[1])
	f.Must(f.Primary.Kill())
	f.Must(f.Replicas[0].Exec(f.Ctx, say(flavor, "START SLAVE IO_THREAD", "START REPLICA IO_THREAD")))
	return f, w
}

// The daemon is started with an empty store while the primary is dead, and finds only the replica that lags: the other,
// which has more, is unknown to it. It must not choose.
func TestBornIntoTheAccident(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f, _ := accident(t, l, flavor)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy})
		f.Await("it says why it does nothing",
			func() bool { return strings.Contains(strings.Join(f.Refused(), " "), "never answered") })
		f.During(5*time.Second, "nobody is promoted",
			func() bool { return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1]) })
		t.Log(f.NoFailover())
	})
}

// As before, but the policy names all members of the cluster, and the daemon finds both replicas: now it is known who
// may have more, and that one is promoted.
func TestBornIntoTheAccidentOfAClusterWithMembers(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f, w := accident(t, l, flavor)
		f.Watch(lab.DaemonSpec{Binary: binary, Seeds: []topology.Key{f.Replicas[0].Key, f.Replicas[1].Key},
			Config: watched.Policy + fmt.Sprintf("members = [\"%v\", \"%v\", \"%v\"]\n", f.Primary.Key,
				f.Replicas[0].Key, f.Replicas[1].Key)})
		_, primary := f.Promoted()
		if primary != f.Replicas[1] {
			t.Errorf("%v was promoted, and %v has more", primary.Key, f.Replicas[1].Key)
		}
		f.Settled(primary)
		f.NothingLost(w, primary)
	})
}

// The primary still has the stopped channel of a migration; the source of that is gone.
func TestALeftoverChannelOnThePrimary(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		gone, err := l.Address()
		f.Must(err)
		f.Must(f.Primary.Exec(f.Ctx, say(flavor,
			"CHANGE MASTER TO MASTER_HOST='"+gone+"', MASTER_USER='x', MASTER_PASSWORD='x', MASTER_USE_GTID=slave_pos",
			"CHANGE REPLICATION SOURCE TO SOURCE_HOST='"+gone+"', SOURCE_USER='x', SOURCE_PASSWORD='x'")))
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy})
		f.Await("all are known", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			return err == nil && len(s.Replicas(f.Primary.Key)) == 2 && s.Server(f.Primary.Key).Up()
		})
		f.FailsOver()
	})
}

// The best candidate is locked by a backup: a server that is as good is promoted.
func TestTheBestCandidateIsLockedForBackup(t *testing.T) {
	only(t, lab.MySQL, func(t *testing.T, l *lab.Lab) {
		f := start(t, l, lab.Spec{Flavor: lab.MySQL}, 2)
		best := f.Replicas[0]
		c, err := best.DB().Conn(f.Ctx)
		f.Must(err)
		t.Cleanup(func() { c.Close() })
		_, err = c.ExecContext(f.Ctx, "LOCK INSTANCE FOR BACKUP")
		f.Must(err)
		at := time.Now()
		f.Must(f.Primary.Kill())
		f.Within(20*time.Second, "the other takes writes", func() bool { return !f.ReadOnly(f.Replicas[1]) })
		t.Logf("after %v", time.Since(at))
		writes(f, f.Replicas[1], 3*time.Second)
		_, err = c.ExecContext(f.Ctx, "UNLOCK INSTANCE")
		f.Must(err)
		_, primary := f.Promoted()
		f.Settled(primary)
	})
}

// The receiver of a replica that lags waits for relay log space and does not notice that its source is gone; the other
// is up to date.
func TestAReceiverWaitsForRelayLogSpace(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, ExtraArgs: []string{"--relay-log-space-limit=65536",
			"--max-relay-log-size=16384"}}, 2)
		lags := f.Replicas[0]
		c, err := lags.DB().Conn(f.Ctx)
		f.Must(err)
		t.Cleanup(func() { c.Close() })
		_, err = c.ExecContext(f.Ctx, "LOCK TABLES app.written READ")
		f.Must(err)
		w := lab.Write(f.Ctx, 1, f.Primary)
		column := say(flavor, "Slave_IO_State", "Replica_IO_State")
		f.Await("its receiver waits for space", func() bool {
			row, err := lags.Row(f.Ctx, say(flavor, "SHOW SLAVE STATUS", "SHOW REPLICA STATUS"))
			return err == nil && strings.Contains(row[column], "relay log space")
		})
		w.Stop()
		f.Must(lab.AwaitReplication(f.Ctx, f.Primary, f.Replicas[1]))
		at := time.Now()
		f.Must(f.Primary.Kill())
		f.Within(10*time.Second, "the other takes writes", func() bool { return !f.ReadOnly(f.Replicas[1]) })
		t.Logf("after %v", time.Since(at))
		f.NothingLost(w, f.Replicas[1])
		f.Must(c.Close())
		_, primary := f.Promoted()
		f.Settled(primary)
	})
}

// All connections of the only candidate are used up: the daemon's own, which is open, has to do.
func TestTheCandidateTakesNoMoreConnections(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 1)
		f.Must(f.Replicas[0].Exec(f.Ctx, "SET GLOBAL max_connections=10"))
		f.TakeAllConnections(f.Replicas[0])
		at := time.Now()
		f.Must(f.Primary.Kill())
		e, _ := f.Promoted()
		t.Logf("%s after %v", e.Outcome, time.Since(at))
	})
}

// Somebody stops the receivers one after the other; then the primary dies. The daemon can't know more, and says what
// helps: as soon as one receiver is started, it goes on.
func TestReceiversWereStoppedByHand(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		for _, r := range f.Replicas {
			f.Must(r.Exec(f.Ctx, say(flavor, "STOP SLAVE IO_THREAD", "STOP REPLICA IO_THREAD")))
		}
		f.Await("it is seen", func() bool { return f.Found(analysis.AllPrimaryReplicasNotReplicating, "") })
		f.Must(f.Primary.Kill())
		f.Await("it says what helps", func() bool {
			p, err := f.API.Plan(f.Ctx, f.Primary.Key.String(), "")
			return err == nil && strings.Contains(fmt.Sprint(p.Now.Refused(), p.Now.Wait()),
				"start one of them (")
		})
		f.During(2*time.Second, "nobody is promoted",
			func() bool { return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1]) })
		f.Must(f.Replicas[0].Exec(f.Ctx, say(flavor, "START SLAVE IO_THREAD", "START REPLICA IO_THREAD")))
		_, primary := f.Promoted()
		f.Settled(primary)
	})
}

// A receiver that the primary refused tries again after a minute: it is asked to try at once.
func TestReceiversThatWereRefusedTryAtOnce(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		f.Must(f.Primary.Exec(f.Ctx, "SET SESSION sql_log_bin=0",
			"ALTER USER '"+lab.ReplicationUser+"'@'%' IDENTIFIED BY 'another'"))
		retry := say(flavor, "CHANGE MASTER TO MASTER_CONNECT_RETRY=60",
			"CHANGE REPLICATION SOURCE TO SOURCE_CONNECT_RETRY=60")
		for _, r := range f.Replicas {
			f.Must(r.Exec(f.Ctx, say(flavor, "STOP SLAVE", "STOP REPLICA"), retry,
				say(flavor, "START SLAVE", "START REPLICA")))
		}
		f.Await("they are refused", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			if err != nil || len(s.Replicas(f.Primary.Key)) < 2 {
				return false
			}
			for _, r := range s.Replicas(f.Primary.Key) {
				if !r.Channel().Rejected() {
					return false
				}
			}
			return true
		})
		f.Must(f.Primary.Kill())
		took := f.Within(20*time.Second, "one takes writes",
			func() bool { return !f.ReadOnly(f.Replicas[0]) || !f.ReadOnly(f.Replicas[1]) })
		t.Logf("after %v", took)
	})
}
