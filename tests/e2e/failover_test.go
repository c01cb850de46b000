package e2e

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

func TestKilledPrimary(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 3)
		w := lab.Write(f.Ctx, 1, append(f.Replicas, f.Primary)...)
		f.Must(w.AwaitRows(f.Ctx, 100))
		at := time.Now()
		f.Must(f.Primary.Kill())
		e, primary := f.Promoted()
		f.Must(w.AwaitAnother(f.Ctx, f.Primary))
		f.Must(w.AwaitRows(f.Ctx, 50))
		w.Stop()
		f.Settled(primary)
		f.NothingLost(w, primary)
		t.Logf("outage %v; %s because %s", w.Outage(at).Length(), e.Outcome, e.Why)

		// It comes back as its configuration says it should: writable. It must not stay so.
		f.Must(f.Primary.Restart(f.Ctx, "--read-only=0"))
		back := time.Now()
		f.Fenced(f.Primary, back)
		f.During(2*time.Second, "the failed primary is read-only", func() bool { return f.ReadOnly(f.Primary) })
	})
}

// What is found right after a failover is what is left to say of it, also where servers are asked seldom: that the
// failed primary is dead.
func TestFindingsAreRightAfterAFailover(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := startWith(t, l, lab.Spec{Flavor: flavor}, 3, lab.DaemonSpec{Binary: binary, Poll: 8 * time.Second})
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		closed := time.Now()
		var others []string
		f.Await("nothing is found but the failed primary", func() bool {
			found, err := f.API.Findings(f.Ctx, "")
			f.Must(err)
			others = nil
			for _, x := range found {
				if x.At != f.Primary.Key {
					others = append(others, x.Says)
				}
			}
			if len(others) > 0 && time.Since(closed) > 3*time.Second {
				f.Fatalf("%v after the failover there is found %q", time.Since(closed), others)
			}
			return len(others) == 0
		})
		t.Logf("right after %v", time.Since(closed))
		f.Settled(primary)
	})
}

func TestTerminatedPrimary(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		w := lab.Write(f.Ctx, 1, append(f.Replicas, f.Primary)...)
		f.Must(w.AwaitRows(f.Ctx, 100))
		at := time.Now()
		f.Must(f.Primary.Terminate())
		_, primary := f.Promoted()
		f.Must(w.AwaitAnother(f.Ctx, f.Primary))
		w.Stop()
		f.Settled(primary)
		f.NothingLost(w, primary)
		t.Logf("outage %v", w.Outage(at).Length())
	})
}

func TestHungPrimary(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 3)
		w := lab.Write(f.Ctx, 1, append(f.Replicas, f.Primary)...)
		f.Must(w.AwaitRows(f.Ctx, 100))
		at := time.Now()
		f.Must(f.Primary.Hang())
		_, primary := f.Promoted()
		f.Must(w.AwaitAnother(f.Ctx, f.Primary))
		f.Must(w.AwaitRows(f.Ctx, 20))
		t.Logf("outage %v", w.Outage(at).Length())
		f.Settled(primary)
		f.Must(f.Primary.Continue())
		back := time.Now()
		f.Fenced(f.Primary, back)
		w.Stop()
		f.NothingLost(w, primary)
	})
}

func TestCutOffPrimary(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 3)
		w := lab.Write(f.Ctx, 1, append(f.Replicas, f.Primary)...)
		f.Must(w.AwaitRows(f.Ctx, 100))
		at := time.Now()
		f.Must(l.Cut(f.Primary))
		_, primary := f.Promoted()
		f.Must(w.AwaitAnother(f.Ctx, f.Primary))
		f.Must(w.AwaitRows(f.Ctx, 20))
		t.Logf("outage %v", w.Outage(at).Length())
		f.Settled(primary)
		f.Must(l.Heal())
		back := time.Now()
		f.Fenced(f.Primary, back)
		w.Stop()
		f.NothingLost(w, primary)
	})
}

// Every applier is held up by a table lock for some seconds, and the receivers have everything.
func TestReceivedRowsAreAppliedFirst(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 2)
		w := lab.Write(f.Ctx, 1, append(f.Replicas, f.Primary)...)
		f.Must(w.AwaitRows(f.Ctx, 20))
		for _, r := range f.Replicas {
			c, err := r.DB().Conn(f.Ctx)
			f.Must(err)
			_, err = c.ExecContext(f.Ctx, "LOCK TABLES app.written READ")
			f.Must(err)
			time.AfterFunc(10*time.Second, func() { c.Close() })
			t.Cleanup(func() { c.Close() })
			go func() {
				<-time.After(10 * time.Second)
				_, _ = c.ExecContext(f.Ctx, "UNLOCK TABLES")
			}()
		}
		f.Must(w.AwaitRows(f.Ctx, 300))
		f.Must(f.Primary.Kill())
		f.replayed()
		_, primary := f.Promoted()
		w.Stop()
		f.Settled(primary)
		f.NothingLost(w, primary)
	})
}

func TestBrokenAppliersAreNotPromoted(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		w := lab.Write(f.Ctx, 1, f.Primary)
		f.Must(w.AwaitRows(f.Ctx, 20))
		for _, r := range f.Replicas { // a row that is still to come is there already
			c, err := r.DB().Conn(f.Ctx)
			f.Must(err)
			_, err = c.ExecContext(f.Ctx, "SET SESSION sql_log_bin=0")
			f.Must(err)
			var last int64 // by itself, for an INSERT … SELECT would lock rows in the way of the appliers
			f.Must(f.Primary.DB().QueryRowContext(f.Ctx, "SELECT MAX(id) FROM app.written").Scan(&last))
			_, err = c.ExecContext(f.Ctx, "INSERT INTO app.written (id, writer, note) VALUES (?, 99, 'in the way')",
				last+100)
			f.Must(err)
			f.Must(c.Close())
		}
		f.Must(w.AwaitRows(f.Ctx, 400))
		f.Await("every applier is broken", func() bool {
			for _, r := range f.Replicas {
				state, err := r.Replication(f.Ctx)
				if err != nil || state.SQL != "No" {
					return false
				}
			}
			return true
		})
		f.Must(f.Primary.Kill())
		w.Stop()
		f.Await("the daemon says why it promotes nobody", func() bool {
			p, err := f.API.Plan(f.Ctx, f.Primary.Key.String(), "")
			return err == nil && strings.Contains(strings.Join(p.Now.Refused(), " "),
				"its applier stopped with error 1062")
		})
		f.During(3*time.Second, "nobody is promoted",
			func() bool { return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1]) })
		t.Log(f.NoFailover())
	})
}

func TestDeadIntermediate(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 3)
		for _, r := range f.Replicas[1:] {
			f.Must(l.ReplicateFrom(f.Ctx, r, f.Replicas[0]))
		}
		f.Await("the second tier is known", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			return err == nil && len(s.Replicas(f.Replicas[0].Key)) == 2
		})
		f.Must(f.Replicas[0].Kill())
		f.Must(lab.AwaitReplication(f.Ctx, f.Primary, f.Replicas[1:]...))
		if f.ReadOnly(f.Primary) {
			t.Error("the primary was touched")
		}
	})
}
