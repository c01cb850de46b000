package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/plan"
)

// An operator may name the server to promote. What stands against it still does.
func TestANamedCandidate(t *testing.T) {
	for _, c := range []struct{ name, drawing, failed, candidate, promoted, refused string }{
		{"it is as good as another", `
db1 down
  db2 ioerr=2003
  db3 ioerr=2003`, "db1", "db3", "db3", ""},
		{"it fetches what it lacks", `
db1 down
  db2 ioerr=2003 recv=1-120 exec=1-120
  db3 ioerr=2003`, "db1", "db3", "db3", ""},
		{"must_not holds", `
db1 down
  db2 ioerr=2003
  db3 ioerr=2003 rule=must_not`, "db1", "db3", "",
			"ann named db3:3306 to be promoted, and it can't be: its promotion rule is must_not; to lift that: " +
				"orchestrator-client rule set db3:3306 neutral"},
		{"it is in downtime, and must_not", `
db1 down
  db2 ioerr=2003
  db3 ioerr=2003 must_not downtime=1h`, "db1", "db3", "",
			"neutral, and orchestrator-client downtime end db3:3306"},
		{"it is no replica", `
db1 down
  db2 ioerr=2003
db9 of=db1 ro`, "db1", "db9", "",
			"ann named db9:3306 to be promoted, which is no replica of db1:3306"},
		{"an intermediate source has no candidates", `
db1
  db2 down
    db3 ioerr=2003`, "db2", "db3", "", "request the failover without a candidate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(c.drawing)
			s.Requests = []plan.Request{{ID: "r", Kind: plan.Recover, Server: key(c.failed),
				Candidate: key(c.candidate), By: "ann", At: s.Snapshot.At}}
			p := plan.Preview(plan.Situate(s.Facts))
			refused := strings.Join(p.Main().Refused, "; ")
			if got := p.Main().Promoted().Host; c.refused == "" && (got != c.promoted || !p.Done()) ||
				!strings.Contains(refused, c.refused) ||
				strings.Contains(refused, "db2:3306: ") || (c.refused != "") != (refused != "") {
				t.Errorf("promoted %q, refused %q", got, refused)
			}
		})
	}
}
