// Package e2e runs the whole daemon against real servers that die, hang, lag, are cut off and come back, and holds it
// to what it promises. Scenarios in which nothing may happen count as much as those in which something must.
package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// bound ends a cluster's scenario on a machine that is busy.
const bound = 3 * time.Minute

// binary is the daemon's program, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(lab.RunWith(m, &binary)) }

// fleet is a cluster of real servers with a daemon that watches it.
type fleet struct {
	*testing.T
	ctx      context.Context
	lab      *lab.Lab
	primary  *lab.Server
	replicas []*lab.Server
	api      *lab.Daemon
}

// start makes a primary with n replicas, and lets a daemon find them from one of them.
func start(t *testing.T, l *lab.Lab, spec lab.Spec, n int) *fleet {
	t.Helper()
	return startWith(t, l, spec, n, lab.DaemonSpec{Binary: binary})
}

func startWith(t *testing.T, l *lab.Lab, spec lab.Spec, n int, daemon lab.DaemonSpec) *fleet {
	t.Helper()
	daemon.Config = policy + daemon.Config
	return startAs(t, l, spec, n, daemon)
}

// startAs is startWith, with the configuration as it is.
func startAs(t *testing.T, l *lab.Lab, spec lab.Spec, n int, daemon lab.DaemonSpec) *fleet {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	t.Cleanup(cancel)
	f := &fleet{T: t, ctx: ctx, lab: l}
	f.primary, f.replicas = l.TestCluster(t, spec, n)
	seed := f.primary.Key
	if n > 0 {
		seed = f.replicas[0].Key
	}
	var err error
	daemon.Seeds = []topology.Key{seed}
	f.api, err = l.StartDaemon(ctx, daemon)
	f.must(err)
	t.Cleanup(func() {
		if t.Failed() || os.Getenv("ORCHESTRATOR_E2E_LOG") != "" {
			t.Logf("the daemon's log:\n%s", f.api.Log())
		}
	})
	_, err = f.api.AwaitServers(ctx, n+1)
	f.must(err)
	return f
}

const policy = `
[[policy]]
clusters = ["*"]
recover_primary = true
recover_intermediate = true
anti_flap = "0s"
`

func (f *fleet) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fleet) await(what string, holds func() bool) {
	f.Helper()
	for !holds() {
		select {
		case <-f.ctx.Done():
			drawing, _ := f.api.SnapshotDrawing(context.Background(), "")
			f.Fatalf("in vain: %s; the fleet is\n%s", what, drawing)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// during checks that something holds all the while.
func (f *fleet) during(d time.Duration, what string, holds func() bool) {
	f.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		if !holds() {
			f.Fatalf("not true any more: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (f *fleet) readOnly(s *lab.Server) bool {
	ctx, cancel := context.WithTimeout(f.ctx, time.Second)
	defer cancel()
	ro, err := s.ReadOnly(ctx)
	return err != nil || ro
}

// promoted waits for the end of a failover and returns the episode and the new primary.
func (f *fleet) promoted() (plan.Episode, *lab.Server) {
	f.Helper()
	var e plan.Episode
	f.await("a failover completes", func() bool {
		es, err := f.api.Episodes(f.ctx, "", "")
		i := slices.IndexFunc(es, func(e plan.Episode) bool { return !e.Promoted.IsZero() && !e.Closed.IsZero() })
		if err != nil || i < 0 {
			return false
		}
		e = es[i]
		return true
	})
	for _, r := range f.replicas {
		if r.Key == e.Candidate {
			return e, r
		}
	}
	f.Fatalf("nobody knows %v", e.Candidate)
	return e, nil
}

// settled checks that one server takes writes, and all other living replicas follow it.
func (f *fleet) settled(primary *lab.Server, dead ...*lab.Server) {
	f.Helper()
	var others []*lab.Server
	for _, r := range f.replicas {
		if r != primary && !slices.Contains(dead, r) {
			others = append(others, r)
			if !f.readOnly(r) {
				f.Errorf("%v takes writes beside %v", r.Key, primary.Key)
			}
		}
	}
	f.must(lab.AwaitReplication(f.ctx, primary, others...))
	if f.readOnly(primary) {
		f.Errorf("%v does not take writes", primary.Key)
	}
}

// nothingLost checks that a server has every acknowledged row.
func (f *fleet) nothingLost(w *lab.Writer, at *lab.Server) {
	f.Helper()
	lost, err := w.Lost(f.ctx, at)
	f.must(err)
	if len(lost) > 0 {
		f.Errorf("%v lacks %d of %d acknowledged rows, the first is %d", at.Key, len(lost), w.Acknowledged(), lost[0])
	}
}

// noFailover checks that nobody was promoted, and returns the reasons that the daemon gives.
func (f *fleet) noFailover() string {
	f.Helper()
	es, err := f.api.Episodes(f.ctx, "", "")
	f.must(err)
	for _, e := range es {
		if !e.Promoted.IsZero() {
			f.Fatalf("%v was promoted: %+v", e.Candidate, e)
		}
	}
	for _, r := range f.replicas {
		if !f.readOnly(r) {
			f.Fatalf("%v takes writes", r.Key)
		}
	}
	p, err := f.api.Plan(f.ctx, f.primary.Key.String(), "")
	f.must(err)
	return fmt.Sprint(p.Now.Refused(), p.Now.Wait())
}
