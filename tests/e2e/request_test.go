package e2e

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/api/client"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// unrecovered is a policy that lets a dead primary be dead.
const unrecovered = `
[[policy]]
clusters = ["*"]
recover_intermediate = true
`

// A primary dies that the policy does not recover: nothing happens, and the daemon says why. It is promoted when an
// operator asks for it, and the episode says who did, and why.
func TestAFailoverOnRequest(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		daemon := lab.DaemonSpec{Binary: binary, Config: unrecovered}
		f := startAs(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 3, daemon)
		please := api.RecoverRequest{By: "ann", Reason: "the disk died"}
		_, err := f.api.Recover(f.ctx, f.primary.Key.String(), please)
		if err == nil || !strings.Contains(err.Error(), "it answers") {
			t.Fatalf("a request while the primary lives: %v", err)
		}
		w := lab.Write(f.ctx, 1, append(f.replicas, f.primary)...)
		f.must(w.AwaitRows(f.ctx, 100))
		f.must(f.primary.Kill())
		f.await("the daemon says why it does nothing", func() bool {
			return strings.Contains(strings.Join(f.refused(), "; "), "recover_primary")
		})
		f.during(2*time.Second, "nobody is promoted", func() bool { f.noFailover(); return true })

		please.DryRun = true
		f.await("a dry run tells what would be done", func() bool {
			dry, err := f.api.Recover(f.ctx, f.primary.Key.String(), please)
			return err == nil && strings.Contains(kinds(dry.Plan.Steps), "promote")
		})
		f.noFailover()
		please.DryRun = false
		asked, err := f.api.Recover(f.ctx, f.primary.Key.String(), please)
		f.must(err)
		at := time.Now()
		done, err := f.api.AwaitRequest(f.ctx, asked.Request.ID)
		f.must(err)
		t.Logf("done %v after it was requested: %s", time.Since(at), done.Outcome)
		e, primary := f.promoted()
		if q := e.Request; q == nil || q.By != "ann" || q.Reason != "the disk died" || q.ID != asked.Request.ID ||
			done.Episode != e.ID {
			t.Errorf("request %s began the episode %+v", asked.Request.ID, e)
		}
		f.must(w.AwaitAnother(f.ctx, f.primary))
		f.must(w.AwaitRows(f.ctx, 50))
		w.Stop()
		f.settled(primary)
		f.nothingLost(w, primary)

		f.must(f.api.Withdraw(f.ctx, asked.Request.ID))
		if err := f.api.Withdraw(f.ctx, asked.Request.ID); !client.NotFound(err) {
			t.Errorf("withdrawn again: %v", err)
		}
	})
}

// refused are the reasons for not acting now.
func (f *fleet) refused() []string {
	p, err := f.api.Plan(f.ctx, f.primary.Key.String(), "")
	if err != nil {
		return nil
	}
	return p.Now.Refused()
}

func kinds(steps []plan.Step) string {
	var out []string
	for _, s := range steps {
		out = append(out, string(s.Kind))
	}
	return strings.Join(out, " ")
}
