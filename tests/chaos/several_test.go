package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// watchLeaders looks all the time who leads, until it is stopped; then it tells the terms that were seen. Two that lead
// at once are an error.
func (d *deployment) watchLeaders() (stop func() (terms []int64)) {
	ctx, cancel := context.WithCancel(d.ctx)
	done := make(chan []int64)
	go func() {
		var terms []int64
		for ctx.Err() == nil {
			var lead []string
			for _, o := range d.daemons {
				short, end := context.WithTimeout(ctx, time.Second)
				s, err := o.Status(short)
				end()
				if err != nil || !s.Leading {
					continue
				}
				lead = append(lead, fmt.Sprintf("%s in term %d", o.URL, s.Term))
				if !slices.Contains(terms, s.Term) {
					terms = append(terms, s.Term)
				}
			}
			if len(lead) > 1 {
				d.Errorf("they lead at once: %s", strings.Join(lead, ", "))
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
		done <- terms
	}()
	return func() []int64 { cancel(); return <-done }
}

// primaryDies kills the primary of the topology at some moment within the time given, and says when it is dead.
func (d *deployment) primaryDies(within time.Duration) (done <-chan error) {
	out := make(chan error, 1)
	primary := d.primary
	time.AfterFunc(rand.N(within), func() { out <- primary.Kill() })
	return out
}

// ended holds a round to what it may have done: one promotion if the primary has died, else none and no other leader.
func (d *deployment) ended(round int, began time.Time, dead <-chan error, opened func() []string,
	terms func() []int64) {
	d.Helper()
	if dead != nil {
		d.must(<-dead)
		d.whole(d.promoted(opened))
	} else if seen := opened(); len(seen) > 0 {
		d.Errorf("opened for writes: %v, and the primary lives", seen)
	}
	d.settled()
	if seen := terms(); len(seen) > 1 && dead == nil {
		d.Errorf("round %d: led in terms %v", round, seen)
	}
	d.acted(began)
}

// whole makes the topology what it was, under the primary that was promoted.
func (d *deployment) whole(promoted *lab.Server) {
	d.Helper()
	dead := d.primary
	d.must(dead.Restart(d.ctx))
	d.must(d.lab.ReplicateFrom(d.ctx, dead, promoted))
	d.primary = promoted
	d.replicas = slices.DeleteFunc(append(slices.Clone(d.replicas), dead),
		func(s *lab.Server) bool { return s == promoted })
	d.must(lab.AwaitReplication(d.ctx, promoted, d.replicas...))
	for _, o := range d.daemons {
		d.await(o.URL+" sees the topology whole", func() bool {
			s, err := o.Snapshot(d.ctx, "")
			return err == nil && len(s.Servers) == 3 && len(s.Replicas(promoted.Key)) == 2
		})
	}
}

// acted wants that no two daemons did something irreversible to servers at the same time, since a moment.
func (d *deployment) acted(since time.Time) {
	d.Helper()
	w := &watched{deployment: d, began: since}
	for i, o := range d.daemons {
		for _, other := range d.daemons[:i] {
			if both := overlap(w.acting(o), w.acting(other)); both > 0 {
				d.Errorf("%s and %s changed servers at the same time, for %v", o.URL, other.URL, both)
			}
		}
	}
}

// rounds is how often each of the scenarios below goes round, and every how many rounds the primary dies besides.
func rounds() (n, deadly int) {
	if runs() > 1 {
		return 10 * runs(), 2
	}
	return 10, 4
}

// All daemons are killed, and started again at the same moment, while the primary dies or not. One leads, and one alone
// repairs.
func TestStartedAtTheSameMoment(t *testing.T) {
	long(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		d := deployWith(t, l, flavor, 3, lab.DaemonSpec{Binary: binary, TTL: 2 * time.Second})
		d.settled()
		n, deadly := rounds()
		for i := range n {
			d = d.with(t)
			began := time.Now()
			for _, o := range d.daemons {
				d.must(o.Kill())
			}
			terms := d.watchLeaders()
			opened := d.watchOpened()
			var dead <-chan error
			if i%deadly == deadly-1 {
				dead = d.primaryDies(2 * time.Second)
			}
			var all sync.WaitGroup
			for _, o := range d.daemons {
				all.Go(func() {
					if err := o.Restart(d.ctx); err != nil {
						d.Error(err)
					}
				})
			}
			all.Wait()
			d.ended(i, began, dead, opened, terms)
		}
	})
}

// The daemon that leads is frozen until another leads, and goes on, while the primary dies or not. It leads no more
// from the moment on in which it goes on.
func TestFrozenForLongerThanTheLease(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		d := deployWith(t, l, flavor, 3, lab.DaemonSpec{Binary: binary, TTL: 2 * time.Second})
		n, deadly := rounds()
		for i := range n {
			d = d.with(t)
			d.settled()
			frozen, began := d.leaders()[0], time.Now()
			opened := d.watchOpened()
			var dead <-chan error
			if i%deadly == deadly-1 {
				dead = d.primaryDies(3 * time.Second)
			}
			time.Sleep(rand.N(400 * time.Millisecond)) // it may be in the middle of anything
			d.must(frozen.Hang())
			others := slices.DeleteFunc(slices.Clone(d.daemons), func(o *lab.Daemon) bool { return o == frozen })
			d.await("another leads", func() bool { return slices.ContainsFunc(others, d.leadsNow) })
			terms := d.watchLeaders()
			d.must(frozen.Continue())
			time.Sleep(300 * time.Millisecond)
			d.ended(i, began, dead, opened, terms)
		}
	})
}

func (d *deployment) leadsNow(o *lab.Daemon) bool {
	ctx, cancel := context.WithTimeout(d.ctx, time.Second)
	defer cancel()
	s, err := o.Status(ctx)
	return err == nil && s.Leading
}

// promoted waits for a failover, and for a moment more: it must be the only one.
func (d *deployment) promoted(opened func() []string) *lab.Server {
	d.Helper()
	var primary *lab.Server
	d.await("a replica is promoted", func() bool {
		for _, r := range d.replicas {
			if ro, err := r.ReadOnly(d.ctx); r.Pid() != 0 && err == nil && !ro {
				primary = r
			}
		}
		return primary != nil
	})
	time.Sleep(time.Second) // for whatever else somebody may think to be due
	if seen := opened(); len(seen) != 1 {
		d.Errorf("opened for writes: %s", strings.Join(seen, ", "))
	}
	return primary
}
