package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// bound ends a scenario on a machine that is busy.
const bound = 2 * time.Minute

var binary string // of the daemon

func TestMain(m *testing.M) {
	code := lab.RunWith(m, &binary)
	if len(outcomes.all) > 0 && testing.Verbose() {
		fmt.Print("\n", table(outcomes.all), "\n")
	}
	os.Exit(code)
}

// runs is how often a scenario is played: once, unless ORCHESTRATOR_CHAOS says otherwise.
func runs() int {
	if n, err := strconv.Atoi(os.Getenv("ORCHESTRATOR_CHAOS")); err == nil && n > 0 {
		return n
	}
	return 1
}

// flavors plays a scenario on both flavours with ORCHESTRATOR_CHAOS, otherwise on MariaDB.
func flavors(t *testing.T, test func(t *testing.T, l *lab.Lab, f topology.Flavor)) {
	t.Helper()
	lab.FlavorsIf(t, whole(), test)
}

// long plays a scenario with ORCHESTRATOR_CHAOS only.
func long(t *testing.T, test func(t *testing.T, l *lab.Lab, f topology.Flavor)) {
	t.Helper()
	if !whole() {
		t.Skip("takes long: make chaos")
	}
	lab.Flavors(t, test)
}

func whole() bool { return os.Getenv("ORCHESTRATOR_CHAOS") != "" }

// deployment is all of it.
type deployment struct {
	*testing.T
	ctx      context.Context
	lab      *lab.Lab
	members  []*lab.Server
	primary  *lab.Server
	replicas []*lab.Server
	daemons  []*lab.Daemon
	proxies  []*lab.HAProxy
	server   string // about which records are declared
	watches  int
}

const config = `
[[policy]]
clusters = ["*"]
recover_primary = true
anti_flap = "0s"
`

func deploy(t *testing.T, l *lab.Lab, flavor topology.Flavor, daemons int) *deployment {
	t.Helper()
	return deployWith(t, l, flavor, daemons, lab.DaemonSpec{Binary: binary})
}

func deployWith(t *testing.T, l *lab.Lab, flavor topology.Flavor, daemons int, spec lab.DaemonSpec) *deployment {
	t.Helper()
	d := (&deployment{lab: l}).with(t)
	a, b, err := l.Pair(d.ctx, flavor)
	d.must(err)
	d.must(os.WriteFile(d.password(), []byte("admin-secret\n"), 0o600))
	d.members = []*lab.Server{a, b}
	for _, m := range d.members { // the operator
		d.must(m.Exec(d.ctx, "SET SESSION sql_log_bin = 0", "CREATE USER 'admin'@'%' IDENTIFIED BY 'admin-secret'",
			"GRANT ALL ON *.* TO 'admin'@'%'", "SET SESSION sql_log_bin = 1"))
	}
	d.primary, d.replicas = l.TestCluster(t, lab.Spec{Flavor: flavor, Semisync: true}, 2)
	d.server = d.replicas[0].Key.String()
	spec.Config, spec.Admin = config, "admin"
	d.daemons, d.proxies, err = l.StartDaemons(d.ctx, daemons, spec, a, b)
	d.must(err)
	// No daemon has seeds, and the one that leads is told of the cluster: the others must hear of it.
	d.await("one daemon leads", func() bool { return len(d.leaders()) == 1 })
	_, err = d.leaders()[0].Discover(d.ctx, d.primary.Key.String())
	d.must(err)
	for _, o := range d.daemons {
		_, err := o.AwaitServers(d.ctx, 3)
		d.must(err)
	}
	return d
}

// password is the file with that of the operator.
func (d *deployment) password() string { return filepath.Join(d.lab.Dir(), "admin") }

// declarations are the lines of a daemon's log about what our own clients write.
var declarations = regexp.MustCompile(`(?m)^.* msg=api change=setTag .*\n`)

// with is the deployment in the hands of a test, which has its own time for it.
func (d *deployment) with(t *testing.T) *deployment {
	o := *d
	o.T = t
	var cancel context.CancelFunc
	o.ctx, cancel = context.WithTimeout(t.Context(), bound)
	t.Cleanup(func() {
		cancel()
		o.explain()
	})
	return &o
}

// explain shows what a test that has failed needs to be understood.
func (d *deployment) explain() {
	if !d.Failed() {
		return
	}
	for _, o := range d.lab.Daemons() {
		d.Logf("log of the daemon at %s:\n%s", o.URL, declarations.ReplaceAllString(o.Log(), ""))
	}
	for _, s := range d.lab.Servers() {
		d.Logf("log of the server at %v: %s", s.Key, s.Log())
	}
}

// reset ends the deployment; the lab is empty again.
func (d *deployment) reset() {
	d.Helper()
	d.explain()
	d.must(d.lab.Reset())
}

func (d *deployment) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *deployment) await(what string, holds func() bool) {
	d.Helper()
	for !holds() {
		select {
		case <-d.ctx.Done():
			d.Fatalf("in vain: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// leaders are the daemons that say that they lead.
func (d *deployment) leaders() (out []*lab.Daemon) {
	for _, o := range d.daemons {
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		if s, err := o.Status(ctx); err == nil && s.Leading {
			out = append(out, o)
		}
		cancel()
	}
	return out
}

// active is the member that a proxy serves, and passive the other one.
func (d *deployment) active(h *lab.HAProxy) (active, passive *lab.Server) {
	d.Helper()
	d.await("a proxy serves a member", func() bool {
		servers, err := h.Runtime().Servers(d.ctx, "members")
		if err != nil {
			return false
		}
		for _, s := range servers {
			for i, m := range d.members {
				if s.Serves() && s.Address == m.Key.String() {
					active, passive = m, d.members[1-i]
				}
			}
		}
		return active != nil
	})
	return active, passive
}

// watchOpened notes which replicas are opened for writes, until it is stopped.
func (d *deployment) watchOpened() (stop func() []string) {
	ctx, cancel := context.WithCancel(d.ctx)
	done := make(chan []string)
	go func() {
		var seen []string
		opened := map[topology.Key]bool{}
		for ctx.Err() == nil {
			for _, r := range d.replicas {
				if ro, err := r.ReadOnly(ctx); err == nil && !ro && !opened[r.Key] {
					opened[r.Key] = true
					seen = append(seen, r.Key.String())
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		done <- seen
	}()
	return func() []string { cancel(); return <-done }
}
