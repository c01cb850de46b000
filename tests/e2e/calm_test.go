package e2e

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

var stopApplier = map[topology.Flavor]string{lab.MariaDB: "STOP SLAVE SQL_THREAD", lab.MySQL: "STOP REPLICA SQL_THREAD"}

// Nothing may be promoted in any of these.

func TestPrimaryStoppedForTwoSeconds(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		for range 3 {
			f.Must(f.Primary.Hang())
			f.During(2*time.Second, "nobody is promoted",
				func() bool { return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1]) })
			f.Must(f.Primary.Continue())
			f.Must(lab.AwaitReplication(f.Ctx, f.Primary, f.Replicas...))
			f.During(time.Second, "nobody is promoted",
				func() bool { return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1]) })
		}
		t.Log(f.NoFailover())
		if f.ReadOnly(f.Primary) {
			t.Error("the primary was made read-only")
		}
	})
}

func TestPrimaryAtMaxConnections(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		f.Must(f.Primary.Exec(f.Ctx, "SET GLOBAL max_connections=10"))
		f.Must(f.API.Kill()) // a daemon that comes new finds every place taken
		f.TakeAllConnections(f.Primary)
		f.Must(f.API.Restart(f.Ctx))
		f.Await("the finding names it", func() bool { return f.Found(analysis.PrimaryRefusesConnections, "") })
		f.During(4*time.Second, "nobody is promoted",
			func() bool { return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1]) })
	})
}

func TestAppliersStoppedAndAReplicaDead(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 3)
		for _, r := range f.Replicas[1:] {
			f.Must(r.Exec(f.Ctx, stopApplier[flavor]))
		}
		f.Must(f.Replicas[0].Kill())
		f.During(5*time.Second, "nobody is promoted",
			func() bool { return f.ReadOnly(f.Replicas[1]) && f.ReadOnly(f.Replicas[2]) })
		f.NoFailover()
		fs, err := f.API.Findings(f.Ctx, "")
		f.Must(err)
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
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		f.Must(l.CutDaemon(f.API, f.Primary))
		f.Await("the primary is missed", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			return err == nil && s.Server(f.Primary.Key) != nil && !s.Server(f.Primary.Key).Up()
		})
		f.During(8*time.Second, "nobody is promoted",
			func() bool { return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1]) })
		t.Log(f.NoFailover())
		f.Must(l.Heal())
		f.Must(lab.AwaitReplication(f.Ctx, f.Primary, f.Replicas...))
	})
}

func TestDaemonWithoutNetwork(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		f.Must(l.CutDaemon(f.API))
		f.During(6*time.Second, "nobody is promoted",
			func() bool { return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1]) })
		if why := f.NoFailover(); !strings.Contains(why, "no witness") {
			t.Errorf("the reason given is %q", why)
		}
	})
}
