package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/plan"
)

// What people say against a failover counts until a server was told to take writes for it.
func TestWhatPeopleSayAfterAFailoverBegan(t *testing.T) {
	const begun = `
db1 down
  db2 ioerr=2003 io=no
  db3 ioerr=2003 io=no
episode primary_failover db1 touched=db2+db3 opened=8s`
	for _, c := range []struct{ name, drawing, blocked string }{
		{"recoveries are switched off", `off "ann promotes by hand"` + begun,
			"recoveries are switched off: ann promotes"},
		{"a downtime is declared", strings.Replace(begun, "down", "down downtime owner=ann reason=disk", 1),
			"downtime: db1:3306 is in downtime"},
		{"the policy allows it no more", begun + "\npolicy", "policy: recover_primary is false"},
		{"the request is withdrawn", begun + " request=q\npolicy\nrequest recover db1 id=q candidate=db3 ended",
			"to have it done all the same: orchestrator-client recover db1:3306"},
		{"another request stands", begun + " request=q blocked=x\npolicy\nrequest recover db1 id=q candidate=db3 " +
			"ended\nrequest recover db1 id=r candidate=db2", ""},
		{"the promotion was begun", `off "ann promotes by hand"
db1 down
  db3 ioerr=2003 io=no
db2 of=db1 ro
episode primary_failover db1 touched=db2+db3 candidate=db2 opened=8s opening=db2`, ""},
		{"somebody has promoted one by hand", `off "ann promotes by hand"
db1 down
  db3 ioerr=2003 io=no
db2 of=db1 rw left=db1,1s
episode primary_failover db1 touched=db2+db3 opened=8s`, "recoveries are switched off: ann promotes"},
		{"replicas of an intermediate source are moved", `off "work on the network"
db1
  db2 down
    db3 ioerr=2003
    db4 ioerr=2003
episode intermediate_failover db2 touched=db3+db4 opened=2s`, "recoveries are switched off: work on the network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := plan.Next(saved(t, c.drawing)).Works[0]
			if w.Episode == nil || !strings.Contains(w.Episode.Blocked, c.blocked) ||
				(c.blocked == "") != (len(w.Steps) > 0) || (c.blocked == "") != (w.Episode.Blocked == "") {
				t.Errorf("%+v", w)
			}
			if c.name == "another request stands" && (w.Episode.Request == nil || w.Episode.Request.ID != "r" ||
				w.Episode.Candidate.Host != "db2") {
				t.Errorf("%+v", w.Episode)
			}
		})
	}
}
