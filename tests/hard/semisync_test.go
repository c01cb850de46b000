package hard

import (
	"context"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// setting names a setting of semi-synchronous replication as a flavour does.
func setting(flavor topology.Flavor, ofMariaDB, ofMySQL string) string {
	if flavor == lab.MariaDB {
		return "rpl_semi_sync_" + ofMariaDB
	}
	return "rpl_semi_sync_" + ofMySQL
}

// on says that a switch of a server is on.
func on(f *watched.Fleet, s *lab.Server, name string) bool {
	f.Helper()
	var value bool
	f.Must(s.DB().QueryRowContext(f.Ctx, "SELECT @@GLOBAL."+name).Scan(&value))
	return value
}

// commits checks that a commit at a server does not hang.
func commits(f *watched.Fleet, s *lab.Server, row int) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Ctx, 5*time.Second)
	defer cancel()
	if _, err := s.DB().ExecContext(ctx, "INSERT INTO app.written VALUES (?, 9, 'calm')", row); err != nil {
		f.Fatalf("a commit at %v: %v", s.Key, err)
	}
}

// Semi-sync without fallback and one replica: nobody is left to acknowledge, so nobody is waited for.
func TestSemiSyncWithOneReplica(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 1)
		commits(f, f.Primary, 1)
		f.Must(f.Primary.Kill())
		e, primary := f.Promoted()
		commits(f, primary, 2)
		if !e.Unacknowledged {
			t.Error("the episode does not say that commits do not wait")
		}

		// The former primary comes back as a replica, and acknowledges.
		source := setting(flavor, "master_enabled", "source_enabled")
		f.Must(f.Primary.Restart(f.Ctx))
		f.Must(l.ReplicateFrom(f.Ctx, f.Primary, primary))
		f.Await("commits wait again", func() bool { return on(f, primary, source) })
		commits(f, primary, 3)
		f.Await("nothing is found any more", func() bool {
			return !f.Found("SemiSyncOff", "") && !f.Found("SemiSyncShort", "")
		})
	})
}

// The only acknowledger goes down with the primary: what it alone has was acknowledged to clients.
func TestTheOnlyAcknowledgerIsSilent(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 2)
		acknowledger, other := f.Replicas[1], f.Replicas[0]
		f.Must(other.Exec(f.Ctx, "SET GLOBAL "+setting(flavor, "slave_enabled", "replica_enabled")+" = 0"))
		f.Must(l.ReplicateFrom(f.Ctx, other, f.Primary)) // its receiver starts again, and acknowledges no more
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy})
		_, err := f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		w := lab.Write(f.Ctx, 1, append(f.Replicas, f.Primary)...)
		f.Must(w.AwaitRows(f.Ctx, 100))
		time.Sleep(6 * time.Second) // the daemon reads who acknowledges each 5 s
		f.Must(acknowledger.Kill())
		f.Must(f.Primary.Kill())
		f.Await("the failover is refused", func() bool {
			return strings.Contains(strings.Join(f.Refused(), " "), "semi-sync: what")
		})
		f.During(3*time.Second, "nobody is promoted", func() bool { return f.ReadOnly(other) })
		f.Must(acknowledger.Restart(f.Ctx))
		_, primary := f.Promoted()
		f.Must(w.AwaitAnother(f.Ctx, f.Primary))
		w.Stop()
		f.Settled(primary)
		f.NothingLost(w, primary)
	})
}

// Two acknowledgements are wanted and one replica is left: that is said before the next commit hangs.
func TestTooFewAcknowledgers(t *testing.T) {
	only(t, lab.MySQL, func(t *testing.T, l *lab.Lab) {
		f := start(t, l, lab.Spec{Flavor: lab.MySQL, Semisync: true}, 2)
		f.Must(f.Primary.Exec(f.Ctx, "SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = 2"))
		f.Must(f.Replicas[1].Kill())
		f.Await("it is found", func() bool { return f.Found("SemiSyncShort", "waits for 2 acknowledgements") })
		f.Must(f.Replicas[1].Restart(f.Ctx))
		f.Await("it is over", func() bool { return !f.Found("SemiSyncShort", "") })
	})
}

// A commit waits for two acknowledgements; after the failover one replica is left. Commits do not hang, and wait again
// when the second is back.
func TestTwoAcknowledgementsAndOneReplicaLeft(t *testing.T) {
	only(t, lab.MySQL, func(t *testing.T, l *lab.Lab) {
		f := start(t, l, lab.Spec{Flavor: lab.MySQL, Semisync: true,
			ExtraArgs: []string{"--loose-rpl-semi-sync-source-wait-for-replica-count=2"}}, 2)
		commits(f, f.Primary, 1)
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		commits(f, primary, 2)
		f.Must(f.Primary.Restart(f.Ctx))
		f.Must(l.ReplicateFrom(f.Ctx, f.Primary, primary))
		f.Await("commits wait again", func() bool { return on(f, primary, "rpl_semi_sync_source_enabled") })
		commits(f, primary, 3)
	})
}

// Both sides are switched on everywhere, as many configure it: the promoted server must not wait for nobody.
func TestBothSidesOfSemiSyncAreOnEverywhere(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 1)
		f.Must(f.Replicas[0].Exec(f.Ctx, "SET GLOBAL "+setting(flavor, "master_enabled", "source_enabled")+" = 1"))
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy})
		_, err := f.API.AwaitServers(f.Ctx, 2)
		f.Must(err)
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		commits(f, primary, 2)
	})
}
