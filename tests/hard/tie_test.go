package hard

import (
	"fmt"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// Two replicas have the same, and the receiver of the first by name has stopped with an error that says that it can't
// follow. It was promoted for its name.
func TestABrokenReceiverDecidesATie(t *testing.T) {
	quick(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
		broken, healthy := firstByKey(f)
		breakReceiver(f, broken)
		watch(f)
		f.Must(f.Primary.Kill())
		_, promoted := f.Promoted()
		if promoted != healthy {
			t.Errorf("%v was promoted, want %v", promoted.Key, healthy.Key)
		}
	})
}

// breakReceiver has the receiver of a replica stop because its source has the same server id, and gives it another id.
func breakReceiver(f *watched.Fleet, r *lab.Server) {
	f.Helper()
	id := func(s *lab.Server) (n int) {
		f.Must(s.DB().QueryRowContext(f.Ctx, "SELECT @@GLOBAL.server_id").Scan(&n))
		return n
	}
	own := id(r)
	f.Must(r.Exec(f.Ctx, fmt.Sprintf("SET GLOBAL server_id = %d", id(f.Primary))))
	threads(f, r, "STOP", "IO_THREAD")
	threads(f, r, "START", "IO_THREAD")
	f.Within(20*time.Second, "its receiver has stopped", func() bool {
		now, err := r.Replication(f.Ctx)
		return err == nil && now.IO == "No"
	})
	f.Must(r.Exec(f.Ctx, fmt.Sprintf("SET GLOBAL server_id = %d", own)))
}
