package plan_test

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
)

// A promoted primary that restarts read-only is opened again, if nobody else took over.
func TestAPromotedPrimaryIsOpenedAgain(t *testing.T) {
	at := situation("db1").Snapshot.At
	const well = "db2 of=c ro started=5s exec=db1:1-100\n  db3\ndb1 of=c ro"
	for _, c := range []struct {
		name, drawing string
		change        func(*plan.Facts)
		want          string // "" for nothing
	}{
		{"it restarted read-only", well, nil, "promote db2"},
		{"the same, alone", "db2 of=c ro started=5s exec=db1:1-100\ndb1 of=c ro", nil, "promote db2"},
		{"the former primary is back as well, writable: it is fenced first",
			"db2 of=c ro started=5s exec=db1:1-100\n  db3\ndb1 of=c rw", nil, "fence db1"},
		{"a person made it read-only while it ran", "db2 of=c ro started=1h exec=db1:1-100\n  db3\ndb1 of=c ro", nil,
			""},
		{"another server takes writes", well + "\ndb9 of=c rw", nil, "and is not opened again: db9:3306 takes writes"},
		{"another server stands there", "db2 of=c ro started=5s uuid=new exec=db1:1-100\n  db3\ndb1 of=c ro", nil,
			"another server stands at its address now"},
		{"it has lost what its replica has", "db2 of=c ro started=5s exec=db1:1-90\n  db3 exec=db1:1-100\ndb1 of=c ro",
			nil, "db3:3306 has 10 transactions that it lacks"},
		{"in downtime", "db2 of=c ro started=5s downtime=1h exec=db1:1-100\n  db3\ndb1 of=c ro", nil, ""},
		{"recoveries are off", well, func(f *plan.Facts) { f.Off = "by ann" },
			"this is not done: open db2:3306 for writes"},
		{"acknowledged", well, func(f *plan.Facts) {
			f.Episodes[0].Acknowledged = &plan.Acknowledgement{At: at}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := under(c.drawing, plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"),
				Candidate: key("db2"), CandidateUUID: uuidOf("db2"), CandidateStart: at.Add(-time.Hour),
				Stage: plan.Ended, Promoted: at.Add(-time.Minute), Closed: at.Add(-time.Minute),
				Outcome: "db2 replaces db1"})
			if c.change != nil {
				c.change(&s.Facts)
				s = plan.Situate(s.Facts)
			}
			got := strings.Join(plan.Next(s).Refused(), "; ")
			for _, step := range plan.Next(s).Steps() {
				got += string(step.Kind) + " " + step.At.Host
			}
			if !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
