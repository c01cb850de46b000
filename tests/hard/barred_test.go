package hard

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// The only candidate is locked while writes come in, so what it received waits to be applied: people are told of the
// lock, not only of a backlog.
func TestTheOnlyCandidateIsLockedAndBehind(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 1)
		replica := f.Replicas[0]
		w := lab.Write(f.Ctx, 1, f.Primary)
		f.Must(w.AwaitRows(f.Ctx, 20))
		held := lock(f, replica, "FLUSH TABLES WITH READ LOCK")
		f.Must(w.AwaitRows(f.Ctx, 60))
		time.Sleep(300 * time.Millisecond)
		f.Must(f.Primary.Kill())
		w.Stop()
		at := time.Now()
		f.Await("it is refused", func() bool {
			return strings.Contains(strings.Join(f.Refused(), " "), "lock")
		})
		t.Logf("after %v: %v", time.Since(at), f.Refused())
		_, err := held.ExecContext(f.Ctx, "UNLOCK TABLES")
		f.Must(err)
		took := f.Within(15*time.Second, "it takes writes", func() bool { return !f.ReadOnly(replica) })
		t.Logf("%v after the lock was gone", took)
		_, primary := f.Promoted()
		writes(f, primary, 3*time.Second)
	})
}

// The replica that is not promoted is locked: the failover does not wait for it.
func TestTheOtherReplicaIsLocked(t *testing.T) {
	for _, c := range []struct {
		name, lock, unlock string
		flavor             topology.Flavor // "": both
	}{
		{"read lock", "FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES", ""},
		{"backup", "LOCK INSTANCE FOR BACKUP", "UNLOCK INSTANCE", lab.MySQL},
	} {
		t.Run(c.name, func(t *testing.T) {
			flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
				if c.flavor != "" && c.flavor != flavor {
					t.Skip("the other flavour only")
				}
				f := start(t, l, lab.Spec{Flavor: flavor}, 2)
				first, other := firstByKey(f)
				held := lock(f, other, c.lock)
				f.Must(f.Primary.Kill())
				took := f.Within(10*time.Second, "the first takes writes", func() bool { return !f.ReadOnly(first) })
				t.Logf("after %v", took)
				writes(f, first, 3*time.Second)
				time.Sleep(2 * time.Second)
				_, err := held.ExecContext(f.Ctx, c.unlock)
				f.Must(err)
				e, primary := f.Promoted()
				t.Logf("%s after %v", e.Outcome, e.Closed.Sub(e.Opened))
				f.Settled(primary)
			})
		})
	}
}

// Both candidates are locked: the one whose lock ends first is promoted.
func TestAllCandidatesAreLocked(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		first, other := firstByKey(f)
		held, kept := lock(f, other, "FLUSH TABLES WITH READ LOCK"), lock(f, first, "FLUSH TABLES WITH READ LOCK")
		f.Must(f.Primary.Kill())
		f.Await("it is refused", func() bool {
			return strings.Contains(strings.Join(f.Refused(), " "), "no server can be promoted now")
		})
		_, err := held.ExecContext(f.Ctx, "UNLOCK TABLES")
		f.Must(err)
		took := f.Within(15*time.Second, "the other takes writes", func() bool { return !f.ReadOnly(other) })
		t.Logf("after %v", took)
		writes(f, other, 3*time.Second)
		_, err = kept.ExecContext(f.Ctx, "UNLOCK TABLES")
		f.Must(err)
		_, primary := f.Promoted()
		f.Settled(primary)
	})
}

// A backup waits for a long query at the best candidate, and all writes wait for the backup.
func TestABackupWaitsForAQueryAtTheCandidate(t *testing.T) {
	only(t, lab.MySQL, func(t *testing.T, l *lab.Lab) {
		f := start(t, l, lab.Spec{Flavor: lab.MySQL}, 2)
		first, other := firstByKey(f)
		for _, q := range []string{"SELECT SLEEP(60) FROM app.written UNION SELECT SLEEP(60)",
			"FLUSH TABLES WITH READ LOCK"} {
			c, err := first.DB().Conn(f.Ctx)
			f.Must(err)
			go func() {
				defer c.Close()
				_, _ = c.ExecContext(f.Ctx, q)
			}()
			time.Sleep(500 * time.Millisecond)
		}
		f.Must(f.Primary.Kill())
		took := f.Within(10*time.Second, "the other takes writes", func() bool { return !f.ReadOnly(other) })
		t.Logf("after %v", took)
		if !f.ReadOnly(first) {
			t.Errorf("%v was opened", first.Key)
		}
		writes(f, other, 3*time.Second)
	})
}

// Replicas that do not log what they replicate, MariaDB's default: those that have as much follow the new primary.
func TestReplicasThatDoNotLogWhatTheyReplicate(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, ExtraArgs: []string{say(flavor, "--log-slave-updates=0",
			"--log-replica-updates=0")}}, 2)
		for row := range 5 {
			commits(f, f.Primary, 10+row)
		}
		f.Must(lab.AwaitReplication(f.Ctx, f.Primary, f.Replicas...))
		f.Must(f.Primary.Kill())
		e, primary := f.Promoted()
		t.Log(e.Outcome, e.Lost)
		writes(f, primary, 3*time.Second)
		f.Settled(primary)
	})
}
