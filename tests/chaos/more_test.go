package chaos

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// declare writes declared records through a daemon, one after the other, until it is stopped, and remembers the last that was acknowledged.
func (d *deployment) declare(o *lab.Daemon) (acknowledged *atomic.Int64, stop func()) {
	acknowledged = new(atomic.Int64)
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := int64(1); ; n++ {
			select {
			case <-end:
				return
			case <-d.ctx.Done():
				return
			default:
			}
			if err := o.SetTag(d.ctx, d.replicas[0].Key.String(), "n", fmt.Sprint(n)); err == nil {
				acknowledged.Store(n)
			} else {
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	return acknowledged, func() { close(end); <-done }
}

// declared is what a daemon has of it.
func (d *deployment) declared(o *lab.Daemon) int64 {
	v, err := o.Instance(d.ctx, d.replicas[0].Key.String())
	var n int64
	if err == nil {
		fmt.Sscan(v.Tags["n"], &n)
	}
	return n
}

func (d *deployment) settled() {
	d.Helper()
	d.await("all daemons are ready and agree", func() bool {
		for _, o := range d.daemons {
			if s, err := o.Status(d.ctx); err != nil || s.NotReady != "" || s.Split != "" {
				return false
			}
		}
		return len(d.leaders()) == 1
	})
}

// stopped says for how long no declared write got through.
func (d *deployment) outage(acknowledged *atomic.Int64) time.Duration {
	d.Helper()
	at, before := time.Now(), acknowledged.Load()
	d.await("declared writes get through again", func() bool { return acknowledged.Load() > before+2 })
	return time.Since(at)
}

// The active member hangs, without closing anything; later it goes on, stale.
func TestActiveHangsAndReturnsUnderWrites(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 3)
			active, passive := d.active(d.proxies[0])
			acknowledged, stop := d.declare(d.daemons[1])
			d.await("writes get through", func() bool { return acknowledged.Load() > 10 })
			d.must(active.Hang())
			out := d.outage(acknowledged)
			d.settled()
			d.must(active.Continue())
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				for _, h := range d.proxies {
					if got, _ := d.active(h); got != passive {
						t.Fatalf("%v is served again, which was away", got.Key)
					}
				}
			}
			stop()
			want := acknowledged.Load()
			for _, o := range d.daemons {
				d.await("every acknowledged write is known", func() bool { return d.declared(o) >= want })
			}
			t.Logf("no declared write for %v; %d were acknowledged, none is lost", out, want)
			d.same()
			d.must(l.Reset())
		}
	})
}

// same waits until both members hold the same.
func (d *deployment) same() {
	d.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		out, err := d.orchestrator("verify").CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			d.Fatalf("the members do not come to the same: %s", out)
		}
	}
}

// orchestrator is a command about the backend, as an operator gives it.
func (d *deployment) orchestrator(args ...string) *exec.Cmd {
	return exec.CommandContext(d.ctx, binary, append(append([]string{"backend"}, args...), "--config", d.daemons[0].ConfigFile, "--user", "admin", "--password-file", d.password())...)
}

// The operator moves the service from one member to the other, and back, while everything works.
func TestPlannedSwitch(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		d := deploy(t, l, flavor, 3)
		acknowledged, stop := d.declare(d.daemons[1])
		for range 2 {
			_, passive := d.active(d.proxies[0])
			before := acknowledged.Load()
			at := time.Now()
			out, err := d.orchestrator("promote", "--to", passive.Key.String()).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, h := range d.proxies {
				d.await("the other is served", func() bool { got, _ := d.active(h); return got == passive })
			}
			d.await("declared writes get through", func() bool { return acknowledged.Load() > before+5 })
			t.Logf("moved in %v", time.Since(at))
		}
		stop()
		want := acknowledged.Load()
		d.settled()
		for _, o := range d.daemons {
			d.await("every acknowledged write is known", func() bool { return d.declared(o) >= want })
		}
		d.same()
	})
}

// The daemon that leads is frozen for longer than its lease, the primary dies meanwhile, and the daemon goes on.
func TestLeaderFrozen(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 3)
			d.settled()
			frozen := d.leaders()[0]
			w := lab.Write(d.ctx, 1, append(slices.Clone(d.replicas), d.primary)...)
			d.must(w.AwaitRows(d.ctx, 50))
			opened := d.watchOpened()
			d.must(frozen.Hang())
			at := time.Now()
			d.must(d.primary.Kill())
			d.must(w.AwaitAnother(d.ctx, d.primary))
			d.must(w.AwaitRows(d.ctx, 20))
			out := w.Outage(at).Length()
			d.must(frozen.Continue())
			time.Sleep(3 * time.Second) // for what it was about to do
			w.Stop()
			if seen := opened(); len(seen) != 1 {
				t.Errorf("opened for writes: %s", strings.Join(seen, ", "))
			}
			if lost, err := w.Lost(d.ctx, w.Last()); err != nil || len(lost) > 0 {
				t.Errorf("%d acknowledged rows are lost (%v)", len(lost), err)
			}
			d.settled()
			t.Logf("writers out for %v", out)
			d.must(l.Reset())
		}
	})
}
