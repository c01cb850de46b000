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

// Where the promoted server is not opened again, nobody can write: that is an episode, told once, until a person has
// decided. Meanwhile nothing is moved under a server that nobody chose.
func TestAPromotedPrimaryThatStaysShutIsAnEpisode(t *testing.T) {
	at := situation("db1").Snapshot.At
	ended := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Candidate: key("db2"),
		CandidateUUID: uuidOf("db2"), CandidateStart: at.Add(-time.Hour), Stage: plan.Ended,
		Promoted: at.Add(-time.Minute), Closed: at.Add(-time.Minute), Outcome: "db2 replaces db1"}
	const another = "db2 of=c ro started=5s uuid=new exec=db1:1-100\n  db4\ndb1 of=c ro\n  db3"
	s := under(another, ended)
	for _, e := range plan.Next(s).Episodes() {
		if e.ID != ended.ID {
			s = under(another, e, ended)
		}
	}
	for _, c := range []struct{ name, drawing, want string }{
		{"nothing has changed", another, "db2: another server stands at its address now"},
		{"its replica has more", "db2 of=c ro started=5s exec=db1:1-90\n  db4 exec=db1:1-100\ndb1 of=c ro",
			"db2: db4:3306 has 10 transactions that it lacks, and that would be lost"},
		{"a person opens it", "db2 of=c rw started=5s uuid=new exec=db1:1-100\n  db4\ndb1 of=c ro", "db2 is over: "},
		{"a person opens the one before", "db2 of=c ro started=5s uuid=new exec=db1:1-100\n  db4\ndb1 of=c rw",
			"db2: another server stands at its address now"}, // it is fenced, until the promotion is acknowledged
		{"another takes writes", another + "\ndb9 of=c rw", "db2 is over: "},
		{"it comes back as it was", "db2 of=c ro started=5s exec=db1:1-100\n  db4\ndb1 of=c ro", "db2 is over: "},
		{"it dies", "db2 of=c down uuid=new exec=db1:1-100\n  db4 ioerr=2003\ndb1 of=c ro", "db2 stop_receiver db4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := under(c.drawing, s.Episodes...)
			got := ""
			for _, w := range plan.Next(now).Works {
				if w.Episode == nil || w.Episode.ID == "e" {
					continue
				}
				got += w.Failed.Host
				for _, step := range w.Steps {
					got += " " + string(step.Kind) + " " + step.At.Host
				}
				if _, why, refused := strings.Cut(w.Episode.Blocked, "not opened again: "); refused {
					got += ": " + why
				}
				if !w.Episode.Closed.IsZero() {
					got += " is over: " + w.Outcome()
				}
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	for _, w := range plan.Next(s).Works {
		if len(w.Steps) > 0 {
			t.Errorf("%s of %v: %v", w.Kind, w.Failed, w.Steps)
		}
	}
}
