package plan_test

import (
	"fmt"
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
		{"the receiver of the other is broken", down + "  db2 ioerr=2003\n  db3 io=no ioerr=1236", ""},
		{"the receiver of the first by name is broken", down + "  db2 io=no ioerr=1236\n  db3 ioerr=2003", ""},
		{"both are", down + "  db2 io=no ioerr=1236\n  db3 io=no ioerr=1236\n  db4 ioerr=2003 must_not",
			"it ties with db3:3306, and its name is first"},
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
	const broken = "  db2 io=no ioerr=%d recv=1-%d exec=1-%d\n  db3 ioerr=2003\n  db4 ioerr=2003"
	for _, c := range []struct {
		name        string
		errno, have int
		want        string
	}{
		{"its source could not send it more", 1236, 100, "db3"},
		{"MySQL has another number for it", 13114, 100, "db3"},
		{"two servers have one id", 1593, 100, "db3"},
		{"its login was refused", 1045, 100, "db3"},
		{"it lost its source as the others did", 2003, 100, "db2"},
		{"its source took no more connections", 1040, 100, "db2"},
		{"it has more than the others", 1236, 110, "db2"},
	} {
		p := plan.Preview(situation(down + fmt.Sprintf(broken, c.errno, c.have, c.have))).Main()
		if p.Promoted() != key(c.want) {
			t.Errorf("%s: promotes %v: %+v", c.name, p.Promoted(), p.Candidates)
		}
		last := p.Candidates[len(p.Candidates)-1]
		said := strings.Contains(strings.Join(last.Reasons, "; "), "so one that is as good goes first")
		if said != (c.want == "db3") {
			t.Errorf("%s: reasons %v of %v", c.name, last.Reasons, last.Key)
		}
	}
	open := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen,
		Candidate: key("db3"), Touched: []topology.Key{key("db2"), key("db3")}}
	kept := plan.Next(under(down+"  db2 io=no\n  db3 io=no", open)).Works[0].Candidates[0]
	if kept.Key != key("db3") || strings.Contains(strings.Join(kept.Reasons, "; "), "ties") {
		t.Errorf("it was chosen before, and not for its name: %+v", kept)
	}
}
