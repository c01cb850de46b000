package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// inTurn has each daemon set a tag, one after the other, and waits until all have what was set last.
func (d *deployment) inTurn(name string) {
	d.Helper()
	server, last := d.replicas[0].Key.String(), ""
	for round := range 2 {
		for i, o := range d.daemons {
			last = fmt.Sprintf("%d-%d", round, i)
			d.must(o.SetTag(d.ctx, server, name, last))
		}
	}
	for _, o := range d.daemons {
		d.await(fmt.Sprintf("%s has of %q what was set last", o.URL, name), func() bool {
			v, err := o.Instance(d.ctx, server)
			return err == nil && v.Tags[name] == last
		})
	}
}

// jumps are by how much clocks are set: by as much as those of daemons may differ, and with ORCHESTRATOR_CHAOS by ten
// years, too.
func jumps() []time.Duration {
	if whole() {
		return []time.Duration{time.Hour, 10 * 365 * 24 * time.Hour}
	}
	return []time.Duration{time.Hour}
}

// The clocks of daemons are set by an hour or by years, forward and back. Leading is no matter of clocks, what was
// written last wins, no matter who wrote it, and of two failovers that follow each other, the first one led by a daemon
// whose clock is ahead, the second one by one whose clock is behind, the second one counts.
func TestClocksAreSet(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		shifted, err := lab.BuildToShift(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for n := range max(runs(), len(jumps())) {
			jump := jumps()[n%len(jumps())]
			d := deployWith(t, l, flavor, 3, lab.DaemonSpec{Binary: shifted, Clock: true})
			d.settled()
			leader := d.leaders()[0]
			followers := slices.DeleteFunc(slices.Clone(d.daemons), func(o *lab.Daemon) bool { return o == leader })
			terms := d.watchLeaders()
			d.must(leader.SetClock(d.ctx, jump))
			d.must(followers[0].SetClock(d.ctx, -jump))
			d.inTurn("apart")

			// It is set back while the backend is away: what others declare then is read as soon as the backend is
			// back.
			d.must(followers[0].SetClock(d.ctx, jump))
			for _, m := range d.members {
				d.must(m.Hang())
			}
			if err := followers[0].SetTag(d.ctx, d.primary.Key.String(), "meanwhile", "no"); err == nil {
				t.Error("a write was acknowledged without a backend")
			}
			d.must(followers[0].SetClock(d.ctx, -jump))
			d.must(leader.SetClock(d.ctx, -jump))
			for _, m := range d.members {
				d.must(m.Continue())
			}
			d.settled()
			d.must(followers[1].SetTag(d.ctx, d.primary.Key.String(), "back", "yes"))
			for _, o := range d.daemons {
				d.await(o.URL+" has what was declared when the backend was back", func() bool {
					v, err := o.Instance(d.ctx, d.primary.Key.String())
					return err == nil && v.Tags["back"] == "yes"
				})
			}
			d.must(leader.SetClock(d.ctx, jump))

			opened := d.watchOpened()
			d.must(d.primary.Kill())
			first := d.promoted(opened)
			if seen := terms(); len(seen) > 2 {
				t.Errorf("the leadership moved more than once: terms %v", seen)
			}

			// The next leader knows of the first failover what the backend says. Its clock says that it is yet to
			// come.
			for _, o := range followers {
				d.must(o.SetClock(d.ctx, -jump))
			}
			d.must(leader.Kill())
			d.await("another leads", func() bool { return len(d.leaders()) == 1 })
			d.must(leader.SetClock(d.ctx, 0))
			d.must(leader.Restart(d.ctx))
			d.settled()
			opened = d.watchOpened()
			d.must(first.Kill())
			second := d.promoted(opened)
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if ro, err := second.ReadOnly(d.ctx); err != nil || ro {
					t.Fatalf("%v was promoted, and does not take writes: read-only %v, %v", second.Key, ro, err)
				}
			}
			d.reset()
		}
	})
}
