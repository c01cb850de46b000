package plan_test

import (
	"testing"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// A daemon was killed after it had pointed a replica at the new primary, which has purged since what the replica lacks.
// The replica is detached from where it points now, and not from where it pointed before.
func TestAReplicaThatWasMovedByHalfIsDetachedFromItsNewSource(t *testing.T) {
	s := under(`
db1 down of=c
db2 of=c rw exec=db1:1-120 purged=db1:1-110
  db3 of=c io=no sql=no recv=db1:1-100 exec=db1:1-100`,
		plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Promoted,
			Candidate: key("db2"), Touched: []topology.Key{key("db2"), key("db3")}})
	for _, w := range plan.Next(s).Works {
		for _, step := range w.Steps {
			if step.Kind == plan.Detach {
				if step.At != key("db3") || step.From != key("db2") || step.Expect.Source != key("db2") {
					t.Errorf("%+v", step)
				}
				return
			}
		}
	}
	t.Errorf("nobody is detached: %+v", plan.Next(s))
}
