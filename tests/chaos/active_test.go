package chaos

import (
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// The active backend member and the primary of the topology die at the same moment. What was declared survives, and the
// failover completes.
func TestActiveAndPrimaryDieTogether(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 3)
			w := d.watch("active and primary killed at once, replication of the pair stopped before")
			active, passive := d.active(d.proxies[0])
			// What replication has not brought to the passive member is lost with the active one, and comes back from
			// the journals.
			d.must(passive.Exec(d.ctx, stopReceiver[flavor]))
			w.served(10)
			w.begin()
			d.must(active.Kill())
			d.must(d.primary.Kill())
			d.must(w.rows.AwaitAnother(d.ctx, d.primary))
			d.must(w.rows.AwaitRows(d.ctx, 20))
			w.end(1)
			for i := range d.daemons {
				if got, _ := d.active(d.proxies[i]); got != passive {
					t.Errorf("%v is served, which is dead", got.Key)
				}
			}
			d.reset()
		}
	})
}

var startReceiver = map[topology.Flavor]string{lab.MariaDB: "START SLAVE IO_THREAD",
	lab.MySQL: "START REPLICA IO_THREAD"}
var stopReceiver = map[topology.Flavor]string{lab.MariaDB: "STOP SLAVE IO_THREAD", lab.MySQL: "STOP REPLICA IO_THREAD"}

// The daemon that leads dies. Another leads, and there is never more than one.
func TestLeaderDies(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 3)
			d.settled()
			w := d.watch("leading daemon killed")
			w.absent = d.leaders()[0]
			w.begin()
			d.must(w.absent.Kill())
			d.await("another leads", func() bool {
				ls := d.leaders()
				if len(ls) > 1 {
					t.Fatalf("%d daemons lead", len(ls))
				}
				return len(ls) == 1
			})
			d.must(w.absent.Restart(d.ctx))
			w.end(0)
			d.reset()
		}
	})
}

// The daemon that was told of a cluster dies, and then the primary of that cluster. Another daemon fails it over.
func TestTheOneThatWasToldOfTheClusterDies(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 3)
			w := d.watch("leading daemon killed, which alone was told of the cluster, and the primary")
			w.absent = d.leaders()[0]
			w.begin()
			d.must(w.absent.Kill())
			d.must(d.primary.Kill())
			d.must(w.rows.AwaitAnother(d.ctx, d.primary))
			d.must(w.absent.Restart(d.ctx))
			w.end(1)
			d.reset()
		}
	})
}

// A true split: each of two daemons reaches only its own member, the members don't replicate, and both reach the
// topology, whose primary dies. Never two promotions.
func TestTrueSplit(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 2)
			w := d.watch("true split, primary killed")
			w.split = true
			w.begin()
			d.must(l.Sides(
				lab.Side{Servers: d.members[:1], Daemons: d.daemons[:1], Proxies: d.proxies[:1]},
				lab.Side{Servers: d.members[1:], Daemons: d.daemons[1:], Proxies: d.proxies[1:]}))
			time.Sleep(8 * time.Second) // longer than the lease: both may lead now, each on its own backend
			t.Logf("%d daemons lead on the two sides", len(d.leaders()))
			d.must(d.primary.Kill())
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && w.rows.Last() == d.primary; {
				time.Sleep(20 * time.Millisecond)
			}
			time.Sleep(3 * time.Second) // for the other side, should it think that it may, too
			d.must(l.Heal())
			w.end(1)
			d.reset()
		}
	})
}
