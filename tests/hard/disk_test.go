package hard

import (
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// onSmallDisk is a cluster whose best candidate has its binary log on a small disk.
func onSmallDisk(t *testing.T, l *lab.Lab, flavor topology.Flavor, others int) (*watched.Fleet, *lab.SmallDisk) {
	disk := l.NewSmallDisk(t, flavor)
	f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 0)
	more := []string{"--log-bin=" + disk.Inside + "/binlog"}
	if flavor == lab.MySQL {
		more = append(more, "--performance-schema=1")
	}
	best, err := l.Replicas(f.Ctx, f.Primary, 1, lab.Spec{ExtraArgs: more})
	f.Must(err)
	rest, err := l.Replicas(f.Ctx, f.Primary, others, lab.Spec{})
	f.Must(err)
	f.Replicas = append(best, rest...)
	watch(f)
	return f, disk
}

// The disk of the best candidate is full while writes come in: its applier hangs, and another server is promoted.
func TestTheDiskOfACandidateIsFull(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f, disk := onSmallDisk(t, l, flavor, 1)
		w := lab.Write(f.Ctx, 1, f.Primary)
		f.Must(w.AwaitRows(f.Ctx, 20))
		f.Must(disk.Fill())
		time.Sleep(2 * time.Second)
		f.Must(f.Primary.Kill())
		w.Stop()
		took := f.Within(20*time.Second, "the other takes writes", func() bool { return !f.ReadOnly(f.Replicas[1]) })
		t.Logf("after %v", took)
		writes(f, f.Replicas[1], 3*time.Second)
		f.NothingLost(w, f.Replicas[1])
		if !f.ReadOnly(f.Replicas[0]) {
			t.Errorf("%v was opened", f.Replicas[0].Key)
		}
		f.Must(disk.Free())
		e, primary := f.Promoted()
		t.Log(e.Outcome, e.Lost)
		f.Settled(primary)
	})
}

// The disk of the best candidate is full, and nothing is written: nothing tells before it is opened. Then its
// commits hang, and another episode says why, and what helps.
func TestTheDiskOfAnIdleCandidateIsFull(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f, disk := onSmallDisk(t, l, flavor, 1)
		commits(f, f.Primary, 1)
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		f.Must(disk.Fill())
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		w := lab.Write(f.Ctx, 5, primary)
		took := f.Within(time.Minute, "it is blocked, because the disk is full", func() bool {
			es, err := f.API.Episodes(f.Ctx, "", "")
			return err == nil && slices.ContainsFunc(es, func(e plan.Episode) bool {
				return e.Failed == primary.Key && strings.Contains(e.Blocked, "Its disk is full: free space on it")
			})
		})
		t.Logf("after %v", took)
		before := w.Acknowledged() // some fitted into the last page of the disk
		f.Must(disk.Free())
		f.Must(w.AwaitRows(f.Ctx, before+20))
		w.Stop()
		f.Within(time.Minute, "the episode ends", func() bool {
			es, err := f.API.Episodes(f.Ctx, "", "true")
			return err == nil && len(es) == 0
		})
		f.Settled(primary)
	})
}
