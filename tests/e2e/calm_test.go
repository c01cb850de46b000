package e2e

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

var stopApplier = map[topology.Flavor]string{lab.MariaDB: "STOP SLAVE SQL_THREAD", lab.MySQL: "STOP REPLICA SQL_THREAD"}

// Nothing may be promoted in any of these.

func TestPrimaryStoppedForTwoSeconds(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		for range 3 {
			f.must(f.primary.Hang())
			f.during(2*time.Second, "nobody is promoted",
				func() bool { return f.readOnly(f.replicas[0]) && f.readOnly(f.replicas[1]) })
			f.must(f.primary.Continue())
			f.must(lab.AwaitReplication(f.ctx, f.primary, f.replicas...))
			f.during(time.Second, "nobody is promoted",
				func() bool { return f.readOnly(f.replicas[0]) && f.readOnly(f.replicas[1]) })
		}
		t.Log(f.noFailover())
		if f.readOnly(f.primary) {
			t.Error("the primary was made read-only")
		}
	})
}

func TestPrimaryAtMaxConnections(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		f.must(f.primary.Exec(f.ctx, "SET GLOBAL max_connections=10"))
		f.must(f.api.Kill()) // a daemon that comes new finds every place taken
		f.takeAllConnections()
		f.must(f.api.Restart(f.ctx))
		f.await("the finding names it", func() bool {
			fs, err := f.api.Findings(f.ctx, "")
			if err != nil {
				return false
			}
			for _, x := range fs {
				if x.Code == "PrimaryRefusesConnections" {
					return true
				}
			}
			return false
		})
		f.during(4*time.Second, "nobody is promoted",
			func() bool { return f.readOnly(f.replicas[0]) && f.readOnly(f.replicas[1]) })
	})
}

// takeAllConnections takes every place that the primary has for clients, and those that it keeps for administrators, as
// the daemon is one. Places of connections that ended a moment ago become free one after the other, so it goes on until
// nobody has been let in for a second.
func (f *fleet) takeAllConnections() {
	f.Helper()
	app, err := sql.Open("mysql", f.primary.DSN(lab.AppUser, lab.AppPassword))
	f.must(err)
	f.Cleanup(func() { app.Close() })
	for full := time.Now(); time.Since(full) < time.Second; time.Sleep(20 * time.Millisecond) {
		for _, db := range []*sql.DB{app, f.primary.DB()} {
			c, err := db.Conn(f.ctx)
			if err != nil {
				continue
			}
			f.Cleanup(func() { c.Close() })
			full = time.Now()
		}
	}
}

func TestAppliersStoppedAndAReplicaDead(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 3)
		for _, r := range f.replicas[1:] {
			f.must(r.Exec(f.ctx, stopApplier[flavor]))
		}
		f.must(f.replicas[0].Kill())
		f.during(5*time.Second, "nobody is promoted",
			func() bool { return f.readOnly(f.replicas[1]) && f.readOnly(f.replicas[2]) })
		f.noFailover()
		fs, err := f.api.Findings(f.ctx, "")
		f.must(err)
		var codes []string
		for _, x := range fs {
			codes = append(codes, string(x.Code))
		}
		if got := strings.Join(codes, " "); !strings.Contains(got, "ReplicaDead") ||
			!strings.Contains(got, "ReplicaStopped") {
			t.Errorf("found %s", got)
		}
	})
}

// Only the daemon's packets to the primary are lost; the replicas go on.
func TestDaemonCutOffFromThePrimary(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		f.must(l.CutDaemon(f.api, f.primary))
		f.await("the primary is missed", func() bool {
			s, err := f.api.Snapshot(f.ctx, "")
			return err == nil && s.Server(f.primary.Key) != nil && !s.Server(f.primary.Key).Up()
		})
		f.during(8*time.Second, "nobody is promoted",
			func() bool { return f.readOnly(f.replicas[0]) && f.readOnly(f.replicas[1]) })
		t.Log(f.noFailover())
		f.must(l.Heal())
		f.must(lab.AwaitReplication(f.ctx, f.primary, f.replicas...))
	})
}

func TestDaemonWithoutNetwork(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		f.must(l.CutDaemon(f.api))
		f.during(6*time.Second, "nobody is promoted",
			func() bool { return f.readOnly(f.replicas[0]) && f.readOnly(f.replicas[1]) })
		if why := f.noFailover(); !strings.Contains(why, "no witness") {
			t.Errorf("the reason given is %q", why)
		}
	})
}
