package plan_test

import (
	"testing"

	"orchestrator/daemon/plan"
)

// What the claims don't permit is withheld, with the reason on record; what can be taken back is done all the same.
func TestWhatIsNotPermittedIsWithheld(t *testing.T) {
	const moving = `
db1 of=c
  db3 io=no
db2 of=c rw exec=db1:1-100`
	at := situation("db1").Snapshot.At
	open := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Promoted,
		Candidate: key("db2"), Promoted: at}
	ended := open
	ended.Stage, ended.Closed, ended.Outcome = plan.Ended, at, "db2 replaces db1"
	leads := plan.PeerStatus{ID: "a#1", Name: "a", Leading: true, Term: 5}
	for _, c := range []struct {
		name          string
		episode       plan.Episode
		claim         plan.Claim
		want, blocked string
	}{
		{"permitted", open, plan.Claim{Work: "e", Self: leads},
			"primary_failover db1: fence db1; repoint db3 db2;", ""},
		{"not permitted", open, plan.Claim{Work: "e"},
			"primary_failover db1: fence db1; refused: not permitted: this daemon does not lead",
			"not permitted: this daemon does not lead"},
		{"another daemon should do it", open, plan.Claim{Work: "e", Self: leads, Transfer: "b should lead"},
			"primary_failover db1: fence db1; refused: not permitted: b should lead", "not permitted: b should lead"},
		{"another work's", open, plan.Claim{Work: "f"}, "primary_failover db1: fence db1; repoint db3 db2;", ""},
		{"an episode that has ended is not blocked", ended, plan.Claim{Work: "e"},
			"aftercare db1: fence db1; outcome: db2 replaces db1 " +
				"refused: not permitted: this daemon does not lead", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := under(moving, c.episode)
			s.Claims = []plan.Claim{c.claim}
			d := plan.Decide(s)
			if got := works(d); got != c.want || d.Works[0].Episode.Blocked != c.blocked {
				t.Errorf("got  %s\nwant %s\nblocked %q", got, c.want, d.Works[0].Episode.Blocked)
			}
		})
	}
}
