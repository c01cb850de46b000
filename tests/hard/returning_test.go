package hard

import (
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// A server of a circle dies and comes back writable, while it follows the one that replaced it. It took writes beside
// the new primary for good.
func TestACircleIsFenced(t *testing.T) {
	for _, fault := range []string{"killed", "hung"} {
		t.Run(fault, func(t *testing.T) {
			flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
				f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
				a, b := f.Primary, f.Replicas[0]
				caughtUp(f, b)
				f.Must(l.ReplicateFrom(f.Ctx, a, b))
				f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: []topology.Key{a.Key, b.Key}})
				_, err := f.API.AwaitServers(f.Ctx, 3)
				f.Must(err)
				if fault == "killed" {
					f.Must(a.Kill())
				} else {
					f.Must(a.Hang())
				}
				_, primary := f.Promoted()
				if fault == "killed" {
					f.Must(a.Restart(f.Ctx, "--read-only=0"))
				} else {
					f.Must(a.Continue())
				}
				f.Within(20*time.Second, "the server that came back is read-only",
					func() bool { return f.SaysReadOnly(a) })
				f.Settled(primary)
			})
		})
	}
}

// An empty server at the address of the failed primary took writes of clients that still knew that address.
func TestAnEmptyServerAtTheOldAddressIsFenced(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		f.Must(f.Primary.Renew(f.Ctx, "--read-only=0"))
		f.Within(20*time.Second, "the empty server is read-only", func() bool { return f.SaysReadOnly(f.Primary) })
		f.Settled(primary)
	})
}

// Nothing may be recovered, and the primary comes back with an empty data directory: it is found at the primary, and
// not as transactions of its replicas that it never had, which would be cloned from it.
func TestAnEmptiedPrimaryIsFound(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.StartAs(t, l, lab.Spec{Flavor: flavor}, 2, lab.DaemonSpec{Binary: binary,
			Config: "\n[[policy]]\nclusters = [\"*\"]\n"})
		for row := range 5 {
			commits(f, f.Primary, 10+row)
		}
		f.Must(lab.AwaitReplication(f.Ctx, f.Primary, f.Replicas...))
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		f.Must(f.Primary.Kill())
		f.Must(f.Primary.Renew(f.Ctx, "--read-only=0"))
		f.Within(40*time.Second, "it is found, with what not to do", func() bool {
			return f.Found(analysis.SourceLacksTransactions, "o not clone")
		})
		f.During(2*time.Second, "nothing else is blamed, and nobody is opened", func() bool {
			return !f.Found(analysis.ErrantGTID, "") && f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1])
		})
	})
}

// The scheduled events of a fenced primary wrote on: those of a privileged account do on a read-only MariaDB. The
// event scheduler is turned off with the fence, and on again when the server is promoted.
func TestScheduledEventsOfAFencedPrimary(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor, ExtraArgs: []string{"--event-scheduler=ON"}}, 2)
		f.Must(f.Primary.Exec(f.Ctx, "CREATE TABLE shop.tick (id INT AUTO_INCREMENT PRIMARY KEY)",
			"CREATE EVENT shop.ticking ON SCHEDULE EVERY 1 SECOND DO INSERT INTO shop.tick VALUES ()"))
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		watch(f)
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		f.Must(f.Primary.Restart(f.Ctx, "--read-only=0"))
		f.Within(20*time.Second, "the failed primary is read-only and runs no events", func() bool {
			return f.SaysReadOnly(f.Primary) && !scheduler(f, f.Primary)
		})
		n := ticks(f, f.Primary)
		f.During(3*time.Second, "no event writes on the fenced server", func() bool { return ticks(f, f.Primary) == n })
		f.Within(60*time.Second, "the event that nobody runs is named", func() bool {
			return f.Found("EventsNotRun", "shop.ticking")
		})
		f.Must(primary.Exec(f.Ctx, "ALTER EVENT shop.ticking ENABLE"))
		f.Within(60*time.Second, "nothing is said of it any more", func() bool {
			return !f.Found("EventsNotRun", "shop.ticking")
		})
	})
}

func scheduler(f *watched.Fleet, s *lab.Server) bool {
	var on string
	f.Must(s.DB().QueryRowContext(f.Ctx, "SELECT @@GLOBAL.event_scheduler").Scan(&on))
	return on == "ON"
}

func ticks(f *watched.Fleet, s *lab.Server) (n int) {
	f.Must(s.DB().QueryRowContext(f.Ctx, "SELECT COUNT(*) FROM shop.tick").Scan(&n))
	return n
}

// A dies, B is promoted, B dies, and both come back read-only, as their configurations say: nobody could write.
func TestAPromotedPrimaryThatRestartsReadOnlyIsOpened(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 1)
		f.Must(f.Primary.Kill())
		_, b := f.Promoted()
		time.Sleep(4 * time.Second) // the start of a server is known to the second
		f.Must(b.Kill())
		f.Must(f.Primary.Restart(f.Ctx))
		f.Must(b.Restart(f.Ctx))
		f.Within(20*time.Second, "the promoted server takes writes again", func() bool { return !f.ReadOnly(b) })
		if !f.ReadOnly(f.Primary) {
			t.Error("the failed primary takes writes")
		}
		time.Sleep(2 * time.Second) // the daemon sees that it takes writes
		f.Must(b.SetReadOnly(f.Ctx, true))
		f.During(3*time.Second, "a person who makes it read-only is heeded", func() bool { return f.ReadOnly(b) })
	})
}
