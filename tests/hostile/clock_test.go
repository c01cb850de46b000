package hostile_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/daemon/api/client"
	"orchestrator/daemon/audit"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// decade is what clocks are set by.
const decade = 10 * 365 * 24 * time.Hour

// The clock of the daemon's machine is set by ten years, forward or back, the daemon starts again with the wrong clock,
// and then it is set right. It fails over each time, hooks are notified, and what was acknowledged is stored, and
// audited.
func TestTheClockOfTheDaemon(t *testing.T) {
	t.Parallel()
	shifted, err := lab.BuildToShift(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, ahead := range map[string]time.Duration{"forward": decade, "back": -decade} {
		if !whole && ahead > 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			f := watched.Servers(t, r.lab, lab.Spec{Flavor: r.flavor}, 3)
			told := filepath.Join(t.TempDir(), "told")
			f.Watch(lab.DaemonSpec{Binary: shifted, Clock: true, Config: watched.Policy + fmt.Sprintf(hook, told)})
			_, err := f.API.AwaitServers(f.Ctx, 4)
			f.Must(err)
			a := acknowledged{Fleet: f}
			a.tags("before")

			f.Must(f.API.SetClock(f.Ctx, ahead))
			a.tags("set")
			f.Must(f.API.Terminate())
			f.Must(f.API.Restart(f.Ctx))
			a.tags("started")
			_, err = f.API.AwaitServers(f.Ctx, 4)
			f.Must(err)
			at := time.Now()
			f.Must(f.Primary.Kill())
			e, first := f.Promoted()
			f.Settled(first)
			r.compare(f, e.Promoted.Add(-ahead).Sub(at))
			a.tags("over")

			f.Must(f.API.SetClock(f.Ctx, 0))
			a.tags("right")
			at = time.Now()
			f.Must(first.Kill())
			second := promotedInPlaceOf(f, first)
			f.Settled(second, first)
			t.Logf("the second one settled after %v", time.Since(at))
			a.tags("again")

			f.Must(f.API.Terminate())
			f.Must(f.API.Restart(f.Ctx))
			a.tags("restarted")
			a.check()
			f.Await("the hook is notified of both promotions", func() bool {
				text, _ := os.ReadFile(told)
				return strings.Count(string(text), "promoted") == 2
			})
		})
	}
}

// hook notes in a file what it is notified of.
const hook = `
[[hook]]
name = "note"
on = ["promoted"]
command = ["/bin/sh", "-c", "echo promoted >>%s"]
`

// promotedInPlaceOf waits for the end of the failover of a server.
func promotedInPlaceOf(f *watched.Fleet, dead *lab.Server) (promoted *lab.Server) {
	f.Helper()
	f.Await(fmt.Sprintf("%v is replaced", dead.Key), func() bool {
		es, err := f.API.Episodes(f.Ctx, "", "")
		for _, e := range es {
			for _, r := range f.Replicas {
				if e.Failed == dead.Key && !e.Closed.IsZero() && r.Key == e.Candidate {
					promoted = r
				}
			}
		}
		return err == nil && promoted != nil
	})
	return promoted
}

// acknowledged is what the daemon has said that it stored.
type acknowledged struct {
	*watched.Fleet
	names []string
}

// tags sets a tag. It may take a while until the daemon knows the servers again.
func (a *acknowledged) tags(name string) {
	a.Helper()
	a.Await("a tag is set: "+name, func() bool {
		err := a.API.SetTag(a.Ctx, a.Replicas[0].Key.String(), name, "1")
		if refused := new(client.Refused); errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
			a.Fatal(err)
		}
		return err == nil
	})
	a.names = append(a.names, name)
}

// check finds what is not there, or not in the audit records, or wrong with those.
func (a *acknowledged) check() {
	a.Helper()
	a.Await("the server is known", func() bool {
		v, err := a.API.Instance(a.Ctx, a.Replicas[0].Key.String())
		return err == nil && len(v.Tags) == len(a.names)
	})
	audited := 0
	a.Must(a.API.Audit(a.Ctx, "", "", time.Time{}, func(r audit.Record) error {
		if r.Change == "setTag" && r.Status == http.StatusOK {
			audited++
		}
		return nil
	}))
	if audited < len(a.names) {
		a.Errorf("%d of %d changes are audited", audited, len(a.names))
	}
	lines, err := a.API.AuditExport(a.Ctx)
	a.Must(err)
	trail, unreadable := audit.Import(lines)
	for _, c := range audit.Verify(trail) {
		if len(c.Broken) > 0 {
			a.Errorf("the audit records of %s are wrong: %q", c.Daemon, c.Broken)
		}
	}
	if len(unreadable) > 0 {
		a.Errorf("unreadable audit records: %q", unreadable)
	}
}

// What clients commit bears the time of a clock that is ten years ahead or behind: replicas seem to lag by that, and
// that delays no failover.
func TestTheClockOfTheServers(t *testing.T) {
	t.Parallel() // else its parts would begin before TestUndisturbed
	for _, flavor := range []topology.Flavor{lab.MariaDB, lab.MySQL} {
		for name, by := range map[string]time.Duration{"ahead": decade, "behind": -decade} {
			if !whole && (flavor != lab.MariaDB || by > 0) {
				continue
			}
			t.Run(string(flavor)+" "+name, func(t *testing.T) {
				r := begin(t)
				r.flavor = flavor
				var w *wrongTimes
				f := r.failsOver(func(f *watched.Fleet) { w = writes(f, by) })
				w.check(f)
			})
		}
	}
}

// wrongTimes is a client whose commits bear other times.
type wrongTimes struct {
	last atomic.Int64 // acknowledged
	done chan struct{}
}

func writes(f *watched.Fleet, by time.Duration) *wrongTimes {
	f.Helper()
	f.Must(f.Primary.Exec(f.Ctx, "CREATE DATABASE clocks", "CREATE TABLE clocks.t (n INT PRIMARY KEY)"))
	c, err := f.Primary.DB().Conn(f.Ctx)
	f.Must(err)
	_, err = c.ExecContext(f.Ctx, fmt.Sprintf("SET SESSION timestamp = %d", time.Now().Add(by).Unix()))
	f.Must(err)
	w := &wrongTimes{done: make(chan struct{})}
	ctx, cancel := context.WithCancel(f.Ctx)
	f.Cleanup(func() { cancel(); <-w.done; c.Close() })
	go func() {
		defer close(w.done)
		for n := int64(1); ; n++ {
			if _, err := c.ExecContext(ctx, fmt.Sprintf("INSERT INTO clocks.t VALUES (%d)", n)); err != nil {
				return
			}
			w.last.Store(n)
		}
	}()
	f.Await("rows are written", func() bool { return w.last.Load() > 50 })
	return w
}

// check finds rows that a new primary lacks of those before its last one. Replication is not semi-synchronous: what the
// old one wrote in its last moment may be lost.
func (w *wrongTimes) check(f *watched.Fleet) {
	f.Helper()
	<-w.done
	es, err := f.API.Episodes(f.Ctx, "", "")
	f.Must(err)
	i := slices.IndexFunc(f.Replicas, func(s *lab.Server) bool { return s.Key == es[0].Candidate })
	row, err := f.Replicas[i].Row(f.Ctx, "SELECT COUNT(*) AS n, MAX(n) AS last FROM clocks.t")
	f.Must(err)
	if row["n"] != row["last"] {
		f.Errorf("%s rows, and the last is %s", row["n"], row["last"])
	}
	f.Logf("%d rows were acknowledged, the last that is there is %s", w.last.Load(), row["last"])
}

// No two daemons lead at one time, whatever the clocks of their machines say: the lease is measured by what steps of a
// clock leave alone. The tests of the lease are played while the wall clock is set to and fro by up to ten years, some
// hundred times a second.
func TestTheLeaseWhileClocksStep(t *testing.T) {
	t.Parallel()
	if !whole {
		t.Skip("it compiles the library of Go: make hostile plays it")
	}
	program, err := lab.BuildTestToShift(t.Context(), t.TempDir(), "orchestrator/daemon/lead")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "clock")
	cmd := exec.CommandContext(t.Context(), program, "-test.v", "-test.run", "^Test(NeverTwo|TheNext.*|Terms.*)$")
	cmd.Env = append(os.Environ(), "ORCHESTRATOR_CLOCK="+file)
	ended := make(chan struct{})
	var out []byte
	go func() {
		defer close(ended)
		out, err = cmd.CombinedOutput()
	}()
	steps := 0
	for stepping := true; stepping; steps++ {
		ahead := rand.Int64N(2*int64(decade/time.Second)) - int64(decade/time.Second)
		if err := os.WriteFile(file, fmt.Append(nil, ahead), 0o600); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
			stepping = false
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Logf("the clock was set %d times", steps)
	if err != nil || !strings.Contains(string(out), "--- PASS: TestNeverTwo") {
		t.Errorf("%v\n%s", err, out)
	}
}
