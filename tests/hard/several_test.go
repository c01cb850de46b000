package hard

import (
	"slices"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// A rack loses power: the primaries of two clusters, one of each flavour, die at the same moment, and one daemon
// watches both. Each has its failover, and neither waits for the other.
func TestPrimariesOfTwoClustersDieAtOnce(t *testing.T) {
	all(t)
	l := lab.Test(t)
	a := watched.Servers(t, l, lab.Spec{Flavor: lab.MariaDB}, 2)
	b := watched.Servers(t, l, lab.Spec{Flavor: lab.MySQL}, 2)
	a.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy,
		Seeds: []topology.Key{a.Replicas[0].Key, b.Replicas[0].Key}})
	b.API = a.API
	both := []*watched.Fleet{a, b}
	a.Await("both clusters are known", func() bool {
		all, err := a.API.Clusters(a.Ctx)
		known := 0
		for _, c := range all {
			if c.Servers == 3 && c.Up == 3 && !c.Primary.IsZero() {
				known++
			}
		}
		return err == nil && known == 2
	})
	w := make([]*lab.Writer, len(both))
	for i, f := range both {
		w[i] = lab.Write(f.Ctx, 1, append(slices.Clone(f.Replicas), f.Primary)...)
		f.Must(w[i].AwaitRows(f.Ctx, 50))
	}
	start := time.Now()
	for _, f := range both {
		f.Must(f.Primary.Kill())
	}
	for i, f := range both {
		e, err := f.API.AwaitClosed(f.Ctx, f.Primary.Key)
		f.Must(err)
		at := slices.IndexFunc(f.Replicas, func(s *lab.Server) bool { return s.Key == e.Candidate })
		if at < 0 || e.Promoted.IsZero() {
			t.Fatalf("%v: %+v", f.Primary.Key, e.Episode)
		}
		t.Logf("%v was promoted %.2f s after the deaths", e.Candidate, e.Promoted.Sub(start).Seconds())
		f.Must(w[i].AwaitAnother(f.Ctx, f.Primary))
		f.Must(w[i].AwaitRows(f.Ctx, 20))
		w[i].Stop()
		f.Settled(f.Replicas[at])
	}
}
