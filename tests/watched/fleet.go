// Package watched provides tests with a cluster of real servers that a daemon watches, and with what they wait for and
// check in it. It breaks nothing: that is for tests/lab; what should have happened is for the tests to say. The one
// idea: a Fleet is the test's T, the lab's servers and the daemon's API in one value, so that a test reads as a story.
package watched

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// bound ends a cluster's scenario on a machine that is busy.
const bound = 3 * time.Minute

// Policy lets the daemon recover everything, as often as it happens.
const Policy = `
[[policy]]
clusters = ["*"]
recover_primary = true
recover_intermediate = true
anti_flap = "0s"
`

// Fleet is a cluster of real servers with a daemon that watches it.
type Fleet struct {
	*testing.T
	Ctx      context.Context // of the whole scenario
	Lab      *lab.Lab
	Primary  *lab.Server // the first one
	Replicas []*lab.Server
	API      *lab.Daemon // nil before Watch
}

// Start makes a primary with n replicas, and lets a daemon find them from one of them. The configuration that a spec
// has comes behind Policy.
func Start(t *testing.T, l *lab.Lab, spec lab.Spec, n int, daemon lab.DaemonSpec) *Fleet {
	t.Helper()
	daemon.Config = Policy + daemon.Config
	return StartAs(t, l, spec, n, daemon)
}

// StartAs is Start, with the configuration as it is.
func StartAs(t *testing.T, l *lab.Lab, spec lab.Spec, n int, daemon lab.DaemonSpec) *Fleet {
	t.Helper()
	f := Servers(t, l, spec, n)
	f.Watch(daemon)
	_, err := f.API.AwaitServers(f.Ctx, n+1)
	f.Must(err)
	return f
}

// Servers makes a primary with n replicas that nobody watches yet.
func Servers(t *testing.T, l *lab.Lab, spec lab.Spec, n int) *Fleet {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	t.Cleanup(cancel)
	f := &Fleet{T: t, Ctx: ctx, Lab: l}
	f.Primary, f.Replicas = l.TestCluster(t, spec, n)
	return f
}

// Watch starts the daemon, with the configuration as it is. Where the spec names no seed, it is the first replica.
func (f *Fleet) Watch(daemon lab.DaemonSpec) {
	f.Helper()
	if daemon.Seeds == nil {
		daemon.Seeds = []topology.Key{f.Primary.Key}
		if len(f.Replicas) > 0 {
			daemon.Seeds[0] = f.Replicas[0].Key
		}
	}
	var err error
	f.API, err = f.Lab.StartDaemon(f.Ctx, daemon)
	f.Must(err)
	f.Cleanup(func() {
		if f.Failed() || os.Getenv("ORCHESTRATOR_E2E_LOG") != "" {
			f.Logf("the daemon's log:\n%s", f.API.Log())
		}
	})
}

// Must ends the test at an error.
func (f *Fleet) Must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// Await waits until something holds, as long as the scenario lasts.
func (f *Fleet) Await(what string, holds func() bool) {
	f.Helper()
	for !holds() {
		select {
		case <-f.Ctx.Done():
			drawing, _ := f.API.SnapshotDrawing(context.Background(), "")
			f.Fatalf("in vain: %s; the fleet is\n%s", what, drawing)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Within is Await with a bound of its own; it returns how long it took.
func (f *Fleet) Within(bound time.Duration, what string, holds func() bool) time.Duration {
	f.Helper()
	at := time.Now()
	f.Await(what, func() bool {
		if time.Since(at) > bound {
			drawing, _ := f.API.SnapshotDrawing(context.Background(), "")
			f.Fatalf("not within %v: %s; the fleet is\n%s", bound, what, drawing)
		}
		return holds()
	})
	return time.Since(at)
}

// During checks that something holds all the while.
func (f *Fleet) During(d time.Duration, what string, holds func() bool) {
	f.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		if !holds() {
			f.Fatalf("not true any more: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// ReadOnly says that a server takes no writes; one that is down takes none.
func (f *Fleet) ReadOnly(s *lab.Server) bool {
	ro, err := f.readOnly(s)
	return err != nil || ro
}

// SaysReadOnly says that a server answers, and takes no writes.
func (f *Fleet) SaysReadOnly(s *lab.Server) bool {
	ro, err := f.readOnly(s)
	return err == nil && ro
}

// Fenced waits until a server that was back at that moment says that it is read-only, and logs how long it took.
func (f *Fleet) Fenced(s *lab.Server, back time.Time) {
	f.Helper()
	f.Await(fmt.Sprintf("%v, which is back, is read-only", s.Key), func() bool { return f.SaysReadOnly(s) })
	f.Logf("writable for %v after it was back", time.Since(back))
}

// readOnly gives a server on a busy machine time to answer.
func (f *Fleet) readOnly(s *lab.Server) (bool, error) {
	ctx, cancel := context.WithTimeout(f.Ctx, 10*time.Second)
	defer cancel()
	return s.ReadOnly(ctx)
}

// Promoted waits for the end of a failover and returns the episode and the new primary.
func (f *Fleet) Promoted() (plan.Episode, *lab.Server) {
	f.Helper()
	var e plan.Episode
	f.Await("a failover completes", func() bool {
		es, err := f.API.Episodes(f.Ctx, "", "")
		i := slices.IndexFunc(es, func(e plan.Episode) bool { return !e.Promoted.IsZero() && !e.Closed.IsZero() })
		if err != nil || i < 0 {
			return false
		}
		e = es[i]
		return true
	})
	for _, r := range f.Replicas {
		if r.Key == e.Candidate {
			return e, r
		}
	}
	f.Fatalf("nobody knows %v", e.Candidate)
	return e, nil
}

// Settled checks that one server takes writes, and all other living replicas follow it.
func (f *Fleet) Settled(primary *lab.Server, dead ...*lab.Server) {
	f.Helper()
	var others []*lab.Server
	for _, r := range f.Replicas {
		if r != primary && !slices.Contains(dead, r) {
			others = append(others, r)
			if !f.ReadOnly(r) {
				f.Errorf("%v takes writes beside %v", r.Key, primary.Key)
			}
		}
	}
	f.Must(lab.AwaitReplication(f.Ctx, primary, others...))
	if f.ReadOnly(primary) {
		f.Errorf("%v does not take writes", primary.Key)
	}
}

// FailsOver kills the primary, and waits until another one is promoted and all others follow it.
func (f *Fleet) FailsOver() {
	f.Helper()
	f.Must(f.Primary.Kill())
	_, primary := f.Promoted()
	f.Settled(primary)
}

// NothingLost checks that a server has every acknowledged row.
func (f *Fleet) NothingLost(w *lab.Writer, at *lab.Server) {
	f.Helper()
	lost, err := w.Lost(f.Ctx, at)
	f.Must(err)
	if len(lost) > 0 {
		f.Errorf("%v lacks %d of %d acknowledged rows, the first is %d", at.Key, len(lost), w.Acknowledged(), lost[0])
	}
}

// NoFailover checks that nobody was promoted, and returns the reasons that the daemon gives.
func (f *Fleet) NoFailover() string {
	f.Helper()
	es, err := f.API.Episodes(f.Ctx, "", "")
	f.Must(err)
	for _, e := range es {
		if !e.Promoted.IsZero() {
			f.Fatalf("%v was promoted: %+v", e.Candidate, e)
		}
	}
	for _, r := range f.Replicas {
		if !f.ReadOnly(r) {
			f.Fatalf("%v takes writes", r.Key)
		}
	}
	p, err := f.API.Plan(f.Ctx, f.Primary.Key.String(), "")
	f.Must(err)
	return fmt.Sprint(p.Now.Refused(), p.Now.Wait())
}

// Refused are the reasons for not acting now.
func (f *Fleet) Refused() []string {
	p, err := f.API.Plan(f.Ctx, f.Primary.Key.String(), "")
	if err != nil {
		return nil
	}
	return p.Now.Refused()
}

// Found says whether there is a finding of this code whose text contains says.
func (f *Fleet) Found(code analysis.Code, says string) bool {
	found, err := f.API.Findings(f.Ctx, "")
	return err == nil && slices.ContainsFunc(found, func(x analysis.Finding) bool {
		return x.Code == code && strings.Contains(x.Says, says)
	})
}

// TakeAllConnections takes every place that a server has for clients, and those that it keeps for administrators, until
// the test ends. Places of connections that ended a moment ago become free one after the other, so it goes on until
// nobody has been let in for a second.
func (f *Fleet) TakeAllConnections(s *lab.Server) {
	f.Helper()
	app, err := sql.Open("mysql", s.DSN(lab.AppUser, lab.AppPassword))
	f.Must(err)
	f.Cleanup(func() { app.Close() })
	for full := time.Now(); time.Since(full) < time.Second; time.Sleep(20 * time.Millisecond) {
		for _, db := range []*sql.DB{app, s.DB()} {
			c, err := db.Conn(f.Ctx)
			if err != nil {
				continue
			}
			f.Cleanup(func() { c.Close() })
			full = time.Now()
		}
	}
}
