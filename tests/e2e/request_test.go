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
	"orchestrator/tests/watched"
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
		f := fleet{watched.StartAs(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 3, daemon)}
		please := api.RecoverRequest{By: "ann", Reason: "the disk died"}
		_, err := f.API.Recover(f.Ctx, f.Primary.Key.String(), please)
		if err == nil || !strings.Contains(err.Error(), "it answers") {
			t.Fatalf("a request while the primary lives: %v", err)
		}
		w := lab.Write(f.Ctx, 1, append(f.Replicas, f.Primary)...)
		f.Must(w.AwaitRows(f.Ctx, 100))
		f.Must(f.Primary.Kill())
		f.Await("the daemon says why it does nothing", func() bool {
			return strings.Contains(strings.Join(f.Refused(), "; "), "recover_primary")
		})
		f.During(2*time.Second, "nobody is promoted", func() bool { f.NoFailover(); return true })

		please.DryRun = true
		f.Await("a dry run tells what would be done", func() bool {
			dry, err := f.API.Recover(f.Ctx, f.Primary.Key.String(), please)
			return err == nil && strings.Contains(kinds(dry.Plan.Steps), "promote")
		})
		f.NoFailover()
		please.DryRun = false
		asked, err := f.API.Recover(f.Ctx, f.Primary.Key.String(), please)
		f.Must(err)
		at := time.Now()
		done, err := f.API.AwaitRequest(f.Ctx, asked.Request.ID)
		f.Must(err)
		t.Logf("done %v after it was requested: %s", time.Since(at), done.Outcome)
		e, primary := f.Promoted()
		if q := e.Request; q == nil || q.By != "ann" || q.Reason != "the disk died" || q.ID != asked.Request.ID ||
			done.Episode != e.ID {
			t.Errorf("request %s began the episode %+v", asked.Request.ID, e)
		}
		f.Must(w.AwaitAnother(f.Ctx, f.Primary))
		f.Must(w.AwaitRows(f.Ctx, 50))
		w.Stop()
		f.Settled(primary)
		f.NothingLost(w, primary)

		f.Must(f.API.Withdraw(f.Ctx, asked.Request.ID))
		if err := f.API.Withdraw(f.Ctx, asked.Request.ID); !client.NotFound(err) {
			t.Errorf("withdrawn again: %v", err)
		}
	})
}

func kinds(steps []plan.Step) string {
	var out []string
	for _, s := range steps {
		out = append(out, string(s.Kind))
	}
	return strings.Join(out, " ")
}
