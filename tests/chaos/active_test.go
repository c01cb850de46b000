package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// The active backend member and the primary of the topology die at the same moment. What was declared survives, and the failover completes.
func TestActiveAndPrimaryDieTogether(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 3)
			active, passive := d.active(d.proxies[0])
			server := d.replicas[0].Key.String()
			d.must(d.daemons[1].SetTag(d.ctx, server, "rack", "b7"))
			// What replication has not brought to the passive member is lost with the active one, and comes back from the journals.
			d.must(passive.Exec(d.ctx, stopReceiver[flavor]))
			d.must(d.daemons[2].SetTag(d.ctx, server, "owner", "ann"))
			w := lab.Write(d.ctx, 1, append(slices.Clone(d.replicas), d.primary)...)
			d.must(w.AwaitRows(d.ctx, 50))
			opened := d.watchOpened()
			at := time.Now()
			d.must(active.Kill())
			d.must(d.primary.Kill())
			d.must(w.AwaitAnother(d.ctx, d.primary))
			d.must(w.AwaitRows(d.ctx, 20))
			outage := w.Outage(at).Length()
			w.Stop()
			if lost, err := w.Lost(d.ctx, w.Last()); err != nil || len(lost) > 0 {
				t.Errorf("%d acknowledged rows are lost (%v)", len(lost), err)
			}
			d.await("a daemon leads, and all have the other backend", func() bool {
				for _, o := range d.daemons {
					if s, err := o.Status(d.ctx); err != nil || s.NotReady != "" {
						return false
					}
				}
				return len(d.leaders()) == 1
			})
			back := time.Since(at)
			for i, o := range d.daemons {
				d.await("what was declared has survived", func() bool {
					v, err := o.Instance(d.ctx, server)
					return err == nil && v.Tags["rack"] == "b7" && v.Tags["owner"] == "ann"
				})
				if got, _ := d.active(d.proxies[i]); got != passive {
					t.Errorf("%v is served, which is dead", got.Key)
				}
			}
			if seen := opened(); len(seen) != 1 {
				t.Errorf("opened for writes: %s", strings.Join(seen, ", "))
			}
			t.Logf("writers out for %v; backend, leader and all daemons back after %v", outage, back)
			d.must(l.Reset())
		}
	})
}

var startReceiver = map[topology.Flavor]string{lab.MariaDB: "START SLAVE IO_THREAD", lab.MySQL: "START REPLICA IO_THREAD"}
var stopReceiver = map[topology.Flavor]string{lab.MariaDB: "STOP SLAVE IO_THREAD", lab.MySQL: "STOP REPLICA IO_THREAD"}

// The daemon that leads dies. Another leads, and there is never more than one.
func TestLeaderDies(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 3)
			var before *lab.Daemon
			d.await("one daemon leads", func() bool {
				if ls := d.leaders(); len(ls) == 1 {
					before = ls[0]
				}
				return before != nil
			})
			at := time.Now()
			d.must(before.Kill())
			d.await("another leads", func() bool {
				ls := d.leaders()
				if len(ls) > 1 {
					t.Fatalf("%d daemons lead", len(ls))
				}
				return len(ls) == 1
			})
			t.Logf("no leader for %v", time.Since(at))
			d.must(l.Reset())
		}
	})
}

// A true split: each of two daemons reaches only its own member, the members don't replicate, and both reach the topology, whose primary dies.
// Never two promotions.
func TestTrueSplit(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 2)
			d.must(l.Sides(
				lab.Side{Servers: d.members[:1], Daemons: d.daemons[:1], Proxies: d.proxies[:1]},
				lab.Side{Servers: d.members[1:], Daemons: d.daemons[1:], Proxies: d.proxies[1:]}))
			time.Sleep(8 * time.Second) // longer than the lease: both may lead now, each on its own backend
			t.Logf("%d daemons lead on the two sides", len(d.leaders()))
			w := lab.Write(d.ctx, 1, append(slices.Clone(d.replicas), d.primary)...)
			d.must(w.AwaitRows(d.ctx, 50))
			opened := d.watchOpened()
			at := time.Now()
			d.must(d.primary.Kill())
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && w.Last() == d.primary; {
				time.Sleep(20 * time.Millisecond)
			}
			time.Sleep(3 * time.Second) // for the other side, should it think that it may, too
			w.Stop()
			seen := opened()
			if len(seen) > 1 {
				t.Fatalf("two promotions: %s", strings.Join(seen, ", "))
			}
			t.Logf("opened for writes: %v; writers out for %v", seen, w.Outage(at).Length())
			d.must(l.Heal())
			d.await("one daemon leads, and both agree", func() bool {
				for _, o := range d.daemons {
					if s, err := o.Status(d.ctx); err != nil || s.NotReady != "" || s.Split != "" {
						return false
					}
				}
				return len(d.leaders()) == 1
			})
			d.must(l.Reset())
		}
	})
}
