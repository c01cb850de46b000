package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// The daemon is killed at every moment of a failover, started again, and the failover must complete: never two servers that take writes,
// nothing lost. The moments lie a few milliseconds apart, from the death of the primary until after the last replica has moved; a failover
// without a kill takes some 100 ms of them. ORCHESTRATOR_SWEEP sets how many.
func TestDaemonKilledInTheMiddle(t *testing.T) {
	moments := 4
	if n, err := strconv.Atoi(os.Getenv("ORCHESTRATOR_SWEEP")); err == nil && n > 0 {
		moments = n
	}
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		span := 150 * time.Millisecond
		if flavor == lab.MySQL {
			span = 300 * time.Millisecond
		}
		for n := range moments {
			after := span * time.Duration(n) / time.Duration(moments)
			t.Run(after.String(), func(t *testing.T) {
				f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 2)
				time.Sleep(500 * time.Millisecond) // what it found is on record after a fifth of a second: a daemon that never knew a replica can't ask it
				w := lab.Write(f.ctx, 1, append(f.replicas, f.primary)...)
				f.must(w.AwaitRows(f.ctx, 50))
				f.must(f.primary.Kill())
				time.Sleep(after)
				f.must(f.api.Kill())
				stages := 0
				for _, r := range f.replicas {
					if !f.readOnly(r) {
						stages++
					}
				}
				f.must(f.api.Restart(f.ctx))
				f.must(w.AwaitAnother(f.ctx, f.primary))
				f.must(w.AwaitRows(f.ctx, 20))
				primary := w.Last()
				w.Stop()
				f.settled(primary)
				f.nothingLost(w, primary)
				t.Logf("killed %v after the primary, %d opened by then", after, stages)
				f.must(l.Reset())
			})
		}
	})
}
