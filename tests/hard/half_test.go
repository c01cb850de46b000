package hard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// The daemon is killed just before, and just after, each statement by which it moves the replicas of a dead
// intermediate. That is back when the next daemon starts, so that the move is not needed any more. On MariaDB a move
// stops both threads, and only the receiver was started again: the replica received, and applied nothing, for good.
func TestAMoveIsLeftHalfDone(t *testing.T) {
	all(t)
	crasher, err := lab.BuildToCrash(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const most = 40 // more statements than it takes to move two replicas
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for point := 1; point <= most; point++ {
			reached := false
			t.Run(fmt.Sprint(point), func(t *testing.T) { reached = movedByHalf(t, l, flavor, crasher, point) })
			if err := l.Reset(); err != nil {
				t.Fatal(err)
			}
			switch {
			case t.Failed(), !reached && point > 4:
				return
			case !reached:
				t.Fatalf("point %d was never reached: so few statements are no move", point)
			}
		}
		t.Errorf("point %d was reached: a move never ends", most)
	})
}

func mentions(text string, all ...string) bool {
	return !slices.ContainsFunc(all, func(one string) bool { return !strings.Contains(text, one) })
}

func movedByHalf(t *testing.T, l *lab.Lab, flavor topology.Flavor, crasher string, point int) (reached bool) {
	f := shop(t, l, lab.Spec{Flavor: flavor}, 3)
	middle := f.Replicas[0]
	for _, r := range f.Replicas[1:] {
		f.Must(l.ReplicateFrom(f.Ctx, r, middle))
	}
	sell(f, 0, 5)
	for _, r := range f.Replicas {
		caughtUp(f, r)
	}
	f.Watch(lab.DaemonSpec{Binary: crasher, CrashAt: point, Config: watched.Policy})
	_, err := f.API.AwaitServers(f.Ctx, 4)
	f.Must(err)
	time.Sleep(500 * time.Millisecond) // what it found is on record then
	f.Must(middle.Kill())
	f.Await("the daemon dies, or ends the failover", func() bool {
		if f.API.Pid() == 0 {
			reached = true
			return true
		}
		es, err := f.API.Episodes(f.Ctx, "", "false")
		return err == nil && len(es) > 0
	})
	f.Must(middle.Restart(f.Ctx))
	if reached {
		f.Must(f.API.Restart(f.Ctx))
	}
	sell(f, 5, 5)
	f.Within(time.Minute, "all replicas receive and apply", func() bool {
		for _, r := range f.Replicas {
			if now, err := r.Replication(f.Ctx); err != nil || !now.Running() || sold(f, r) != 10 {
				return false
			}
		}
		return true
	})
	f.NoFailover()
	return reached
}

// A promoted server dies, and another server, or one without its data, starts read-only at its address. Whether that
// has what was committed there is not known, so it is not opened. Nobody can write then: a blocked episode says so.
func TestAnotherServerAtTheAddressOfAPromotedOneIsNotOpened(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
		sell(f, 0, 5)
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		watch(f)
		f.Must(f.Primary.Kill())
		_, promoted := f.Promoted()
		f.Settled(promoted)
		for _, r := range f.Replicas { // nobody is left to be promoted, so it stays the primary
			if r != promoted {
				f.Must(r.Kill())
			}
		}
		time.Sleep(4 * time.Second) // the start of a server is known to the second
		f.Must(promoted.Kill())
		f.Must(promoted.Renew(f.Ctx))
		f.Within(40*time.Second, "a blocked episode says why, and what to do", func() bool {
			es, err := f.API.Episodes(f.Ctx, "", "")
			for _, e := range es {
				if err == nil && e.Failed == promoted.Key && mentions(e.Blocked,
					"not opened again: another server stands at its address now", "set its read_only to 0",
					"acknowledge episode") {
					return true
				}
			}
			return false
		})
		f.During(3*time.Second, "it stays read-only", func() bool { return f.SaysReadOnly(promoted) })
		f.Must(promoted.SetReadOnly(f.Ctx, false))
		f.Within(20*time.Second, "a person opens it, and the episode is over", func() bool {
			es, err := f.API.Episodes(f.Ctx, "", "true")
			return err == nil && len(es) == 0
		})
		f.During(2*time.Second, "it stays open", func() bool { return !f.ReadOnly(promoted) })
	})
}
