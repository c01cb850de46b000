package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// A server that comes back in the middle of a failover may be another one, or have lost all it had.
func TestServersThatComeBackDuringAFailover(t *testing.T) {
	at := drawing.MustParse("db1").At
	chosen := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Cluster: "c", Failed: key("db1"), Stage: plan.Chosen,
		Candidate: key("db2"), CandidateUUID: "an-earlier-one", Opened: at,
		Touched: []topology.Key{key("db2"), key("db3")}}
	same := chosen
	same.CandidateUUID = uuidOf("db2")
	moving := chosen
	moving.Stage, moving.Promoted, moving.CandidateUUID = plan.Promoted, at, uuidOf("db2")
	over := moving
	over.ID, over.Stage, over.Closed, over.Outcome = "o", plan.Ended, at, "db2:3306 replaces db1:3306"
	next := chosen
	next.Candidate, next.CandidateUUID, next.Abandoned = key("db3"), uuidOf("db3"), []topology.Key{key("db2")}
	for _, c := range []struct {
		name, drawing string
		episodes      []plan.Episode
		wants, not    string
	}{
		{"the candidate comes back as another server, and takes writes: it is not adopted", `
db1 down of=c
  db3 io=no
db2 of=c rw exec=db2:1-5`, []plan.Episode{chosen}, "promote db3", "repoint db3 db2"},
		{"nobody has ever written: a candidate without transactions is the same server", `
db1 down of=c exec=none
  db3 io=no exec=none
db2 of=c rw exec=none`, []plan.Episode{same}, "repoint db3 db2", "promote db3"},
		{"nobody has ever written, and the candidate has forgotten its source: it is opened", `
db1 down of=c exec=none
  db3 io=no exec=none
db2 ro of=c exec=none`, []plan.Episode{same}, "promote db2", "promote db3"},
		{"one that was promoted is silent: nobody else is adopted, it may take writes", `
db1 down of=c
db2 down of=c
db3 of=c rw left=db1,1s exec=db1:1-100`, []plan.Episode{moving}, "fell silent before", "db3:3306 replaces"},
		{"one that was promoted before is back: nobody is promoted beside it", `
db1 down of=c
  db3 io=no
db2 of=c rw exec=db1:1-100`, []plan.Episode{next, over}, "db2:3306 answered again", "promote db3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(c.drawing)
			s.Episodes = c.episodes
			p := plan.Preview(plan.Situate(s.Facts))
			got := told(p)
			for _, w := range p.Works {
				got += "\n" + w.Outcome()
			}
			if !strings.Contains(got, c.wants) || strings.Contains(got, c.not) {
				t.Errorf("want %q, and not %q: got\n%s", c.wants, c.not, got)
			}
		})
	}
}

// A server that was opened by somebody else had filters while it was a replica, or gives others what it wrote itself.
func TestServersThatWereOpenedBySomebodyElse(t *testing.T) {
	for _, c := range []struct{ name, drawing, wants string }{
		{"it filtered what it replicated", twoReplicas + `
db4 of=db1 rw left=db1,1s,filters exec=db1:1-100`, "it filters what it replicates, so it has only a part of the data"},
		{"it is no donor", `
db1 down of=c
  db2 io=connecting ioerr=2003 exec=db1:1-90
db4 of=c rw left=db1,1s must_not exec=db1:1-100`, "To promote another server beside it would split the cluster"},
		{"replicas are not moved under a copy because more servers follow it", `
db1 down
  db2 io=connecting ioerr=2003
db4 of=db1 rw exec=db1:1-100+db4:1-50
  db5
  db6`, "no promotion of it is on record; it is not taken for the new primary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(plan.Preview(situation(c.drawing))); !strings.Contains(got, c.wants) {
				t.Errorf("want %q: got\n%s", c.wants, got)
			}
		})
	}
}
