package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/plan"
)

// A stranger is no candidate, no donor and no witness, has no vote, and nothing is done there. The rest is done as if
// it was not there, and says what does not count.
func TestStrangers(t *testing.T) {
	for _, c := range []struct{ name, drawing, want string }{
		{"it claims to have more than anybody", `
db1 down
  db2 io=connecting ioerr=2003
  db9 io=connecting ioerr=2003 recv=1-900 exec=1-900 stranger`, `
stop_receiver db2
promote db2
lost: db9 it registered as a replica and is not confirmed: if it is yours, make it follow db2:3306 by hand`},
		{"it claims that the primary lives", `
db1 down
  db2 io=connecting ioerr=2003
  db9 stranger=ahead`, `
stop_receiver db2
promote db2
lost: db9 it registered as a replica and is not confirmed: if it is yours, make it follow db2:3306 by hand`},
		{"it is all that is left", `
db1 down
  db9 io=connecting ioerr=2003 stranger`, ``},
		{"the configuration leaves it out", `
db1 down
  db2 io=connecting ioerr=2003
  db9 stranger=not_admitted`, `
stop_receiver db2
promote db2`},
		{"it takes writes", `
db1
  db2
db9 of=db1 rw stranger`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan.Preview(situation(c.drawing))
			if got := told(p); got != strings.TrimSpace(c.want) {
				t.Errorf("got:\n%s\nwant:%s", got, c.want)
			}
		})
	}
}

func TestStrangersHaveNoVote(t *testing.T) {
	s := situation("db1 down\n  db2 ioerr=2003\n  db9 stranger")
	if got := plan.Voters(s, plan.Episode{Failed: key("db1")}); len(got) != 1 || got[0] != key("db2") {
		t.Errorf("voters %v", got)
	}
}

func TestTheBoundSaysWhatDoesNotCount(t *testing.T) {
	s := situation("db1 down\n  db2 ioerr=2003\n  db9 ioerr=2003 stranger")
	if got := plan.Preview(s).Main().Bound; !strings.Contains(got, "what 1 server says it has does not count") {
		t.Errorf("bound: %s", got)
	}
}
