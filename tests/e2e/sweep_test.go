package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// The daemon is killed just before, and just after, each statement by which a failover changes a server: at the
// boundaries of all steps, and in the middle of each. Started again, it must complete the failover: never two servers
// that take writes, nothing lost. Without ORCHESTRATOR_SWEEP=all only some of these points are tried.
func TestDaemonKilledAtEveryStatement(t *testing.T) {
	crasher, err := lab.BuildToCrash(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	strides := map[topology.Flavor]int{lab.MariaDB: 7, lab.MySQL: 13}
	if os.Getenv("ORCHESTRATOR_SWEEP") == "all" {
		strides = map[topology.Flavor]int{lab.MariaDB: 1, lab.MySQL: 1}
	}
	// More points than a failover of three servers has; the sweep ends with the first that is not reached.
	const most = 60
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for point := 1; point <= most; point += strides[flavor] {
			reached := false
			t.Run(fmt.Sprint(point), func(t *testing.T) { reached = killedAt(t, l, flavor, crasher, point) })
			if err := l.Reset(); err != nil {
				t.Fatal(err)
			}
			if t.Failed() {
				return
			}
			if !reached {
				if point < 10 {
					t.Errorf("point %d was never reached: so few statements are no failover", point)
				}
				return
			}
		}
		t.Errorf("point %d was reached: a failover never ends", most)
	})
}

func killedAt(t *testing.T, l *lab.Lab, flavor topology.Flavor, crasher string, point int) (reached bool) {
	f := startWith(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 2, lab.DaemonSpec{Binary: crasher, CrashAt: point})
	// what it found is on record after a fifth of a second: a daemon that never knew a replica can't ask it
	time.Sleep(500 * time.Millisecond)
	w := lab.Write(f.Ctx, 1, append(f.Replicas, f.Primary)...)
	f.Must(w.AwaitRows(f.Ctx, 50))
	writable, stop := f.countWritable()
	f.Must(f.Primary.Kill())
	f.Await("the daemon dies, or ends the failover", func() bool {
		if f.API.Pid() == 0 {
			reached = true
			return true
		}
		es, err := f.API.Episodes(f.Ctx, "", "false")
		return err == nil && len(es) > 0
	})
	if reached {
		f.Must(f.API.Restart(f.Ctx))
	}
	f.Must(w.AwaitAnother(f.Ctx, f.Primary))
	f.Must(w.AwaitRows(f.Ctx, 20))
	primary := w.Last()
	w.Stop()
	f.Settled(primary)
	f.NothingLost(w, primary)
	stop()
	if n := *writable; n > 1 {
		t.Errorf("%d servers took writes at the same time", n)
	}
	return reached
}

// countWritable watches how many replicas take writes at the same time, until it is stopped; then the most that was
// seen can be read.
func (f fleet) countWritable() (most *int, stop func()) {
	ctx, cancel := context.WithCancel(f.Ctx)
	most, done := new(int), make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			n := 0
			for _, r := range f.Replicas {
				if ro, err := r.ReadOnly(ctx); err == nil && !ro {
					n++
				}
			}
			*most = max(*most, n)
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return most, func() { cancel(); <-done }
}
