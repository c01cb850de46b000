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

// A request may come before the server is found dead, when no plan weighs candidates yet. What stands against the named
// one is said then, and not when the failover is refused for it.
func TestANamedCandidateOfASilentServer(t *testing.T) {
	const silent = "db1 down=timeout\n  db2\n  db3 "
	for _, c := range []struct{ name, drawing, failed, candidate, want string }{
		{"nothing stands against it", silent, "db1", "db3", ""},
		{"must_not", silent + "must_not", "db1", "db3", "its promotion rule is must_not; to lift that"},
		{"downtime", silent + "downtime=1h", "db1", "db3", "it is in downtime"},
		{"it writes no binary log", silent + "log_bin=no", "db1", "db3", "it has no binary log"},
		{"it is silent, too", silent + "down=timeout", "db1", "db3", "out of reach"},
		{"another is barred", silent + "must_not", "db1", "db2", ""},
		{"no replica", silent + "\ndb9 of=db1 ro", "db1", "db9", "which is no replica of db1:3306"},
		{"an intermediate source", "db1\n  db2 down=timeout\n    db3\n    db4", "db2", "db3",
			"request the failover without a candidate"},
		{"none is named", silent + "must_not", "db1", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(c.drawing)
			r := plan.Request{ID: "r", Kind: plan.Recover, Server: key(c.failed), By: "ann", At: s.Snapshot.At}
			if c.candidate != "" {
				r.Candidate = key(c.candidate)
			}
			s.Requests = []plan.Request{r}
			got := plan.Misnamed(plan.Situate(s.Facts), key(c.failed))
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
