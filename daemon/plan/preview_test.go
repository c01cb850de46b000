package plan_test

import (
	"testing"

	"orchestrator/daemon/plan"
)

// A preview that nobody waits for any more ends with its round.
func TestAPreviewThatNobodyWaitsFor(t *testing.T) {
	s := situation("db1\n  db2\n  db3")
	for rounds := range 4 {
		asked := 0
		p := plan.While(func() bool { asked++; return asked <= rounds }).IfDies(s, key("db1"))
		if asked != rounds+1 || p.Ready() {
			t.Errorf("%d rounds: it asked %d times, ready: %v", rounds, asked, p.Ready())
		}
	}
	if p := plan.IfDies(s, key("db1")); !p.Ready() {
		t.Errorf("it is not ready: %v", p.Main().Refused)
	}
}
