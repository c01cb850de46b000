package hard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// primariesOnly leaves the replicas of a dead intermediate where they are.
const primariesOnly = `
[[policy]]
clusters = ["*"]
recover_primary = true
anti_flap = "0s"
`

// An intermediate restarts with an empty data directory, so that it stands at the top of a tree, and dies. Its replica
// was promoted beside the primary, which took writes all the time. The daemon may be cut off from that one, and nobody
// is left to witness that it is dead; or it may have replicas of its own, more or fewer than the emptied one.
func TestAnEmptiedIntermediateIsNoPrimary(t *testing.T) {
	for _, c := range []struct {
		name         string
		below, aside int // replicas of the intermediate, and others of the primary
		cut          bool
	}{
		{"the primary has no other replica", 1, 0, false},
		{"the daemon is cut off from the primary", 1, 0, true},
		{"the primary has as many others", 1, 1, false},
		{"the primary has fewer others", 2, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
				f := shop(t, l, lab.Spec{Flavor: flavor}, 1+c.below+c.aside)
				middle := f.Replicas[0]
				for _, r := range f.Replicas[1 : 1+c.below] {
					f.Must(l.ReplicateFrom(f.Ctx, r, middle))
				}
				sell(f, 1, 20)
				for _, r := range f.Replicas {
					caughtUp(f, r)
				}
				f.Watch(lab.DaemonSpec{Binary: binary, Config: primariesOnly})
				_, err := f.API.AwaitServers(f.Ctx, 1+len(f.Replicas))
				f.Must(err)
				if c.cut {
					f.Must(l.CutDaemon(f.API, f.Primary))
				}
				emptied(f, middle, c.below > c.aside)
				f.Must(middle.Kill())
				f.Replicas = f.Replicas[1:]
				if c.below > c.aside { // else it is an intermediate, and recover_intermediate is not set
					f.Within(40*time.Second, "the daemon says why nobody is promoted", func() bool {
						why, err := f.API.Plan(f.Ctx, middle.Key.String(), "")
						return err == nil && strings.Contains(fmt.Sprint(why.Now.Refused()),
							fmt.Sprintf("it is the primary, and %v was between the two", middle.Key))
					})
				}
				f.During(5*time.Second, "nobody is promoted", func() bool { return f.NoFailover() != "" })
			})
		})
	}
}

// emptied restarts a server with an empty data directory, and waits until the daemon has seen it so, and shows another
// server as the primary. Where most replicas follow the emptied one, a finding says why that is none.
func emptied(f *watched.Fleet, s *lab.Server, most bool) {
	f.Helper()
	f.Must(s.Kill())
	f.Must(s.Renew(f.Ctx, "--read-only=0"))
	f.Within(20*time.Second, "the daemon sees it without data", func() bool {
		all, err := f.API.Snapshot(f.Ctx, "")
		v := all.Snapshot.Server(s.Key)
		return err == nil && v != nil && v.Up() && len(v.Instance.Channels) == 0
	})
	f.Within(10*time.Second, "the one that wrote is shown as the primary", func() bool {
		c, err := f.API.Cluster(f.Ctx, s.Key.String())
		return err == nil && c.Primary == f.Primary.Key
	})
	if !most {
		return
	}
	f.Within(10*time.Second, "a finding says which one is the primary", func() bool {
		return f.Found(analysis.TwoWritable, "so "+f.Primary.Key.String()+" is the primary") ||
			f.Found(analysis.SourceLacksTransactions, "so "+f.Primary.Key.String()+" is the primary")
	})
}
