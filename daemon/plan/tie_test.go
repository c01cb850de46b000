package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Where only the name decides, that is said; where anything else does, it is not.
func TestTiesAreNamed(t *testing.T) {
	const down = "db1 down\n"
	for _, c := range []struct{ name, drawing, want string }{
		{"two", down + "  db2 ioerr=2003\n  db3 ioerr=2003",
			"it ties with db3:3306, and its name is first"},
		{"three", down + "  db4 ioerr=2003\n  db3 ioerr=2003\n  db2 ioerr=2003",
			"it ties with db3:3306 and db4:3306, and its name is first"},
		{"one has more", down + "  db2 ioerr=2003\n  db3 ioerr=2003 recv=1-120 exec=1-120", ""},
		{"one has applied more", down + "  db2 ioerr=2003 recv=1-120 exec=1-90\n  db3 ioerr=2003 recv=1-120 exec=1-120",
			""},
		{"a rule decides", down + "  db2 ioerr=2003\n  db3 ioerr=2003 prefer", ""},
		{"the other may not be promoted", down + "  db2 ioerr=2003\n  db3 ioerr=2003 must_not", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := plan.IfDies(situation(c.drawing), key("db1")).Main().Candidates[0]
			got := first.Reasons[len(first.Reasons)-1]
			if c.want == "" && strings.Contains(got, "ties") || c.want != "" && got != c.want {
				t.Errorf("got %v", first.Reasons)
			}
		})
	}
	open := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen,
		Candidate: key("db3"), Touched: []topology.Key{key("db2"), key("db3")}}
	kept := plan.Next(under(down+"  db2 io=no\n  db3 io=no", open)).Works[0].Candidates[0]
	if kept.Key != key("db3") || strings.Contains(strings.Join(kept.Reasons, "; "), "ties") {
		t.Errorf("it was chosen before, and not for its name: %+v", kept)
	}
}
