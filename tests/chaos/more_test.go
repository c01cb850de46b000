package chaos

import (
	"os/exec"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

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

// away is a way to lose the active member, and to get it back as it was.
type away struct {
	name       string
	lose, back func(d *deployment, m *lab.Server) error
}

var (
	killed = away{"killed", func(_ *deployment, m *lab.Server) error { return m.Kill() },
		func(d *deployment, m *lab.Server) error { return m.Restart(d.ctx) }}
	frozen = away{"frozen", func(_ *deployment, m *lab.Server) error { return m.Hang() },
		func(_ *deployment, m *lab.Server) error { return m.Continue() }}
	cutOff = away{"cut off", func(d *deployment, m *lab.Server) error { return d.lab.Cut(m) },
		func(d *deployment, _ *lab.Server) error { return d.lab.Heal() }}
)

// The active member is lost alone, while every daemon takes declared writes, and comes back stale, also for itself: its
// replication goes on by itself. No HAProxy sends anybody there, neither before it has caught up nor after, for who
// serves keeps its place.
func TestActiveReturnsUnderWrites(t *testing.T) {
	long(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		ways := []away{killed, frozen, cutOff}
		if runs() == 1 {
			ways = map[topology.Flavor][]away{lab.MariaDB: {frozen}, lab.MySQL: {killed}}[flavor]
		}
		for range runs() {
			d := deploy(t, l, flavor, 3)
			for _, way := range ways { // who was active is passive in the next
				t.Run(way.name, func(t *testing.T) {
					d = d.with(t)
					d.loseActive(way)
				})
			}
			d.reset()
		}
	})
}

func (d *deployment) loseActive(way away) {
	d.Helper()
	active, passive := d.active(d.proxies[0])
	w := d.watch("active member " + way.name + ", comes back stale")
	w.begin()
	d.must(way.lose(d, active))
	for _, h := range d.proxies {
		d.await("the other member is served", func() bool { got, _ := d.active(h); return got == passive })
	}
	w.served(50)
	w.bar(active)
	left := time.Now()
	d.must(way.back(d, active))
	d.await("the member that was away has caught up", func() bool {
		held := d.held(d.ctx, active)
		return held != nil && w.lacks(held, left) == 0
	})
	time.Sleep(2 * time.Second) // in which it looks as good as the other
	w.end(0)
	if got, _ := d.active(d.proxies[0]); got != passive {
		d.Errorf("%v is served again, which was away", got.Key)
	}
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
	return exec.CommandContext(d.ctx, binary, append(append([]string{"backend"}, args...), "--config",
		d.daemons[0].ConfigFile, "--user", "admin", "--password-file", d.password())...)
}

// The operator moves the service from one member to the other, and back, while everything works.
func TestPlannedSwitch(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		d := deploy(t, l, flavor, 3)
		for range 2 * runs() {
			d = d.with(t)
			_, passive := d.active(d.proxies[0])
			w := d.watch("planned switch")
			w.begin()
			out, err := d.orchestrator("promote", "--to", passive.Key.String()).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, h := range d.proxies {
				d.await("the other is served", func() bool { got, _ := d.active(h); return got == passive })
			}
			w.end(0)
		}
	})
}

// The daemon that leads is frozen for longer than its lease, the primary dies meanwhile, and the daemon goes on.
func TestLeaderFrozen(t *testing.T) {
	long(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 3)
			d.settled()
			w := d.watch("leading daemon frozen, primary killed")
			w.absent = d.leaders()[0]
			w.begin()
			d.must(w.absent.Hang())
			d.must(d.primary.Kill())
			d.must(w.rows.AwaitAnother(d.ctx, d.primary))
			d.must(w.rows.AwaitRows(d.ctx, 20))
			d.must(w.absent.Continue())
			time.Sleep(3 * time.Second) // for what it was about to do
			w.end(1)
			d.reset()
		}
	})
}
