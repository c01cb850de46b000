package e2e

import (
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// The binary log of the primary fills a small file system: reads work, commits hang.
func TestFullDiskIsNamed(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		disk := l.NewSmallDisk(t, flavor)
		more := []string{"--log-bin=" + disk.Inside + "/binlog"}
		if flavor == lab.MySQL { // it tells a full disk from other waits by its error log
			more = append(more, "--performance-schema=1")
		}
		f := start(t, l, lab.Spec{Flavor: flavor, ExtraArgs: more}, 0)
		w := lab.Write(f.Ctx, 1, f.Primary)
		f.Must(w.AwaitRows(f.Ctx, 20))
		f.Must(disk.Fill())
		f.Await("the full disk is named", func() bool { return f.Found(analysis.PrimaryStalled, "disk") })
		f.Must(disk.Free())
		f.During(time.Second, "nobody else is touched", func() bool { return !f.ReadOnly(f.Primary) })
		w.Stop()
	})
}
