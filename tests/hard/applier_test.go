package hard

import (
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// Somebody stopped the applier of the replica that alone has received the last rows. It is started once its receiver is
// stopped, too: MariaDB throws the relay logs away when a thread starts while both stand still.
func TestAStoppedApplierHasTheMost(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
		r1, r2 := f.Replicas[0], f.Replicas[1]
		threads(f, r2, "STOP", "SQL_THREAD")
		sell(f, 0, 5)
		caughtUp(f, r1)
		threads(f, r1, "STOP", "IO_THREAD")
		sell(f, 5, 5)
		received(f, r2)
		watch(f)
		f.Must(f.Primary.Kill())
		_, promoted := f.Promoted()
		if n := sold(f, promoted); n != 10 {
			t.Errorf("%v was promoted with %d of 10 rows", promoted.Key, n)
		}
		f.Primary = promoted
		f.Within(20*time.Second, "both have all rows", func() bool { return sold(f, r1) == 10 && sold(f, r2) == 10 })
	})
}
