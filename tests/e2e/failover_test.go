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
		w := lab.Write(f.ctx, 1, append(f.replicas, f.primary)...)
		f.must(w.AwaitRows(f.ctx, 100))
		at := time.Now()
		f.must(f.primary.Kill())
		e, primary := f.promoted()
		f.must(w.AwaitAnother(f.ctx, f.primary))
		f.must(w.AwaitRows(f.ctx, 50))
		w.Stop()
		f.settled(primary)
		f.nothingLost(w, primary)
		t.Logf("outage %v; %s because %s", w.Outage(at).Length(), e.Outcome, e.Why)

		// It comes back as its configuration says it should: writable. It must not stay so.
		f.must(f.primary.Restart(f.ctx, "--read-only=0"))
		back := time.Now()
		f.await("the failed primary is fenced", func() bool { return f.readOnly(f.primary) })
		t.Logf("writable for %v", time.Since(back))
		f.during(2*time.Second, "the failed primary is read-only", func() bool { return f.readOnly(f.primary) })
	})
}

// What is found right after a failover is what is left to say of it, also where servers are asked seldom: that the
// failed primary is dead.
func TestFindingsAreRightAfterAFailover(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := startWith(t, l, lab.Spec{Flavor: flavor}, 3, lab.DaemonSpec{Binary: binary, Poll: 8 * time.Second})
		f.must(f.primary.Kill())
		_, primary := f.promoted()
		closed := time.Now()
		var others []string
		f.await("nothing is found but the failed primary", func() bool {
			found, err := f.api.Findings(f.ctx, "")
			f.must(err)
			others = nil
			for _, x := range found {
				if x.At != f.primary.Key {
					others = append(others, x.Says)
				}
			}
			if len(others) > 0 && time.Since(closed) > 3*time.Second {
				f.Fatalf("%v after the failover there is found %q", time.Since(closed), others)
			}
			return len(others) == 0
		})
		t.Logf("right after %v", time.Since(closed))
		f.settled(primary)
	})
}

func TestTerminatedPrimary(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		w := lab.Write(f.ctx, 1, append(f.replicas, f.primary)...)
		f.must(w.AwaitRows(f.ctx, 100))
		at := time.Now()
		f.must(f.primary.Terminate())
		_, primary := f.promoted()
		f.must(w.AwaitAnother(f.ctx, f.primary))
		w.Stop()
		f.settled(primary)
		f.nothingLost(w, primary)
		t.Logf("outage %v", w.Outage(at).Length())
	})
}

func TestHungPrimary(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 3)
		w := lab.Write(f.ctx, 1, append(f.replicas, f.primary)...)
		f.must(w.AwaitRows(f.ctx, 100))
		at := time.Now()
		f.must(f.primary.Hang())
		_, primary := f.promoted()
		f.must(w.AwaitAnother(f.ctx, f.primary))
		f.must(w.AwaitRows(f.ctx, 20))
		t.Logf("outage %v", w.Outage(at).Length())
		f.settled(primary)
		f.must(f.primary.Continue())
		back := time.Now()
		f.await("the primary that hung is made read-only", func() bool { return f.readOnly(f.primary) })
		t.Logf("writable for %v after it went on", time.Since(back))
		w.Stop()
		f.nothingLost(w, primary)
	})
}

func TestCutOffPrimary(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 3)
		w := lab.Write(f.ctx, 1, append(f.replicas, f.primary)...)
		f.must(w.AwaitRows(f.ctx, 100))
		at := time.Now()
		f.must(l.Cut(f.primary))
		_, primary := f.promoted()
		f.must(w.AwaitAnother(f.ctx, f.primary))
		f.must(w.AwaitRows(f.ctx, 20))
		t.Logf("outage %v", w.Outage(at).Length())
		f.settled(primary)
		f.must(l.Heal())
		back := time.Now()
		f.await("the primary that was cut off is made read-only", func() bool { return f.readOnly(f.primary) })
		t.Logf("writable for %v after it was back", time.Since(back))
		w.Stop()
		f.nothingLost(w, primary)
	})
}

// Every applier is held up by a table lock for some seconds, and the receivers have everything.
func TestReceivedRowsAreAppliedFirst(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 2)
		w := lab.Write(f.ctx, 1, append(f.replicas, f.primary)...)
		f.must(w.AwaitRows(f.ctx, 20))
		for _, r := range f.replicas {
			c, err := r.DB().Conn(f.ctx)
			f.must(err)
			_, err = c.ExecContext(f.ctx, "LOCK TABLES app.written READ")
			f.must(err)
			time.AfterFunc(10*time.Second, func() { c.Close() })
			t.Cleanup(func() { c.Close() })
			go func() {
				<-time.After(10 * time.Second)
				_, _ = c.ExecContext(f.ctx, "UNLOCK TABLES")
			}()
		}
		f.must(w.AwaitRows(f.ctx, 300))
		f.must(f.primary.Kill())
		f.replayed()
		_, primary := f.promoted()
		w.Stop()
		f.settled(primary)
		f.nothingLost(w, primary)
	})
}

func TestBrokenAppliersAreNotPromoted(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		w := lab.Write(f.ctx, 1, f.primary)
		f.must(w.AwaitRows(f.ctx, 20))
		for _, r := range f.replicas { // a row that is still to come is there already
			c, err := r.DB().Conn(f.ctx)
			f.must(err)
			_, err = c.ExecContext(f.ctx, "SET SESSION sql_log_bin=0")
			f.must(err)
			var last int64 // by itself, for an INSERT … SELECT would lock rows in the way of the appliers
			f.must(c.QueryRowContext(f.ctx, "SELECT MAX(id) FROM app.written").Scan(&last))
			_, err = c.ExecContext(f.ctx, "INSERT INTO app.written (id, writer, note) VALUES (?, 99, 'in the way')",
				last+100)
			f.must(err)
			f.must(c.Close())
		}
		f.must(w.AwaitRows(f.ctx, 400))
		f.await("every applier is broken", func() bool {
			for _, r := range f.replicas {
				state, err := r.Replication(f.ctx)
				if err != nil || state.SQL != "No" {
					return false
				}
			}
			return true
		})
		f.must(f.primary.Kill())
		w.Stop()
		f.await("the daemon says why it promotes nobody", func() bool {
			p, err := f.api.Plan(f.ctx, f.primary.Key.String(), "")
			return err == nil && strings.Contains(strings.Join(p.Now.Refused(), " "),
				"its applier stopped with error 1062")
		})
		f.during(3*time.Second, "nobody is promoted",
			func() bool { return f.readOnly(f.replicas[0]) && f.readOnly(f.replicas[1]) })
		t.Log(f.noFailover())
	})
}

func TestDeadIntermediate(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 3)
		for _, r := range f.replicas[1:] {
			f.must(l.ReplicateFrom(f.ctx, r, f.replicas[0]))
		}
		f.await("the second tier is known", func() bool {
			s, err := f.api.Snapshot(f.ctx, "")
			return err == nil && len(s.Replicas(f.replicas[0].Key)) == 2
		})
		f.must(f.replicas[0].Kill())
		f.must(lab.AwaitReplication(f.ctx, f.primary, f.replicas[1:]...))
		if f.readOnly(f.primary) {
			t.Error("the primary was touched")
		}
	})
}
