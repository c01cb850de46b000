package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// A daemon that dies, or a session that times out, leaves a step of several statements half done. The next daemon knows
// from the record whose receiver it has to start, however long that server was out of reach.
func TestWhatWasLeftHalfDoneIsFinished(t *testing.T) {
	at := situation("db1").Snapshot.At
	asked := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Suspected,
		Opened: at, Challenged: at, Touched: []topology.Key{key("db2"), key("db3")}}
	below, undone, moving := asked, asked, asked
	below.Kind, below.Failed, below.Touched = plan.IntermediateFailover, key("db2"), []topology.Key{key("db3")}
	below.Candidate, below.Stage = key("db1"), plan.Committed
	suspected := below
	suspected.Candidate, suspected.Stage = topology.Key{}, plan.Suspected
	undone.Stage, undone.Failing = plan.Committed, []plan.Failing{{Key: key("db3"), Times: 2, Why: "timed out"}}
	left := undone
	left.Closed, left.Outcome, left.Left = at.Add(-time.Second), "db1:3306 answered again", []topology.Key{key("db3")}
	late := left
	late.Closed = at.Add(-time.Hour)
	moving.Stage, moving.Candidate, moving.Promoted = plan.Promoted, key("db2"), at.Add(-time.Minute)
	over := moving
	over.Stage, over.Closed, over.Outcome, over.Left = plan.Ended, at, "db2 replaces db1", []topology.Key{key("db3")}
	for _, c := range []struct {
		name, drawing string
		episode       plan.Episode
		change        func(*plan.Facts)
		want          string
	}{
		{"it was stopped to be asked, and hangs when the others commit",
			"db1 down\n  db2 ioerr=2003\n  db3 io=no down=timeout\n  db4 ioerr=2003", asked, nil,
			"committed: stop_receiver db2; stop_receiver db4; touched [db3:3306 db2:3306 db4:3306] left []"},
		{"the same below an intermediate", "db1\n  db2 down\n    db3 io=no down=timeout\n    db4 ioerr=2003", suspected,
			nil, "committed: repoint db4; touched [db3:3306 db4:3306] left []"},
		{"a primary in downtime is not replaced: the replica that was asked receives all the same",
			"db1 down=timeout downtime=1h\n  db2 io=no\n  db3", asked, nil, "suspected: start_receiver db2;"},
		{"the primary is dead, and may not be replaced", "db1 down downtime=1h\n  db2 io=no\n  db3 ioerr=2003", asked,
			nil, "suspected: start_receiver db2;"},
		{"an intermediate in downtime", "db1\n  db2 down=timeout downtime=1h\n    db3 io=no\n    db4", suspected, nil,
			"suspected: start_receiver db3;"},
		{"recoveries are off: nothing is changed", "db1 down=timeout\n  db2 io=no\n  db3", asked,
			func(f *plan.Facts) { f.Off = "by ann" }, "suspected: touched"},
		{"MariaDB: what it has received would be thrown away",
			"db1 mariadb=10.11.6 down=timeout\n  db2 io=no exec=0-1-90 recv=0-1-100\n  db3", asked, nil,
			"suspected: touched"},
		{"it was moved by half, and is out of reach at the end", "db1\n  db4\n  db3 io=no down\ndb2 down of=db1", below,
			nil, "committed: touched [db3:3306] left [db3:3306]"},
		{"and it is back", "db1\n  db3 io=no\ndb2 down of=db1",
			func() plan.Episode { e := below; e.Closed, e.Outcome, e.Left = at, "over", e.Touched; return e }(), nil,
			"committed: start_receiver db3;"},
		{"it was moved under the new primary by half, and is out of reach at the end",
			"db2 of=c\n  db3 io=no down\ndb1 of=c down", moving, nil,
			"ended: touched [db2:3306 db3:3306] left [db3:3306]"},
		{"and it is back under the new primary", "db2 of=c\n  db3 io=no\ndb1 of=c down", over, nil,
			"ended: start_receiver db3;"},
		{"under the one that was replaced it is moved", "db2 of=c\ndb1 of=c ro\n  db3 io=no", over, nil,
			"ended: repoint db3;"},
		{"its stop timed out: it may stop later", "db1\n  db2\n  db3", undone, nil,
			"committed: touched [db2:3306 db3:3306] left [db3:3306]"},
		{"it has not stopped yet", "db1\n  db2\n  db3", left, nil, ""},
		{"it has stopped now", "db1\n  db2\n  db3 io=no", left, nil, "committed: start_receiver db3;"},
		{"a move on MariaDB stops both threads: an intermediate answers again, and the receiver is first",
			"db1 mariadb=10.11.6\n  db2\n    db3 io=no sql=no", below, nil, "committed: start_receiver db3;"},
		{"then the applier", "db1 mariadb=10.11.6\n  db2\n    db3 sql=no", below, nil,
			"committed: start_applier db3;"},
		{"with an error it is left as it is", "db1 mariadb=10.11.6\n  db2\n    db3 sql=no sqlerr=1062", below, nil,
			"committed: touched [db3:3306]"},
		{"a restart has stopped no applier", "db1 mariadb=10.11.6\n  db2\n    db3 sql=no", suspected, nil,
			"suspected: touched [db3:3306]"},
		{"nor has a move on MySQL", "db1\n  db2\n    db3 sql=no", below, nil, "committed: touched [db3:3306]"},
		{"it is moved when it comes home: it is noted first, so that both its threads are started",
			"db2 of=c mariadb=10.11.6\ndb1 of=c mariadb=10.11.6 ro\n  db3 mariadb=10.11.6",
			func() plan.Episode { e := over; e.Left = nil; return e }(), nil,
			"ended: repoint db3; touched [db2:3306 db3:3306] left [db3:3306]"},
		{"it is back under the new primary, and only receives", "db2 of=c mariadb=10.11.6\n  db3 sql=no\ndb1 of=c down",
			over, nil, "ended: start_applier db3;"},
		{"it will not any more", "db1\n  db2\n  db3", late, nil, "committed: touched [db2:3306 db3:3306] left []"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := under(c.drawing, c.episode)
			if c.change != nil {
				c.change(&s.Facts)
				s = plan.Situate(s.Facts)
			}
			got := ""
			for _, w := range plan.Next(s).Works {
				if w.Episode == nil {
					continue
				}
				got += string(w.Episode.Stage) + ":"
				for _, step := range w.Steps {
					got += fmt.Sprintf(" %s %s;", step.Kind, step.At.Host)
				}
				got += fmt.Sprintf(" touched %v left %v", w.Episode.Touched, w.Episode.Left)
			}
			if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A replica that was only out of reach, and can't be moved now that it is back, is lost for another reason.
func TestWhoIsLostForGoodSaysSo(t *testing.T) {
	at := situation("db1").Snapshot.At
	s := under("db2 of=c\ndb1 of=c ro\n  db3 nogtid io=no", plan.Episode{ID: "e", Kind: plan.PrimaryFailover,
		Failed: key("db1"), Candidate: key("db2"), Stage: plan.Ended, Opened: at, Promoted: at, Closed: at, Fenced: at,
		Outcome: "over",
		Lost:    []plan.Lost{{Key: key("db3"), Why: "out of reach (timeout); it is moved when it comes back"}}})
	for range 2 { // the second time nothing is new
		for _, e := range plan.Next(s).Episodes() {
			s.Episodes = []plan.Episode{e}
		}
	}
	if lost := s.Episodes[0].Lost; len(lost) != 1 || !strings.HasPrefix(lost[0].Why, "it does not replicate by GTID") {
		t.Errorf("lost: %v", lost)
	}
}

// Where another server stands than the one that was promoted, before all replicas were moved, nothing is done, and the
// reason is true.
func TestAnotherStandsWhereOneWasPromoted(t *testing.T) {
	at := situation("db1").Snapshot.At
	moving := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Promoted, Opened: at,
		Candidate: key("db2"), CandidateUUID: "another", Promoted: at, Opening: []topology.Key{key("db2")},
		Touched: []topology.Key{key("db2"), key("db3")}}
	for mode, want := range map[string]string{
		"rw": "stands there now and takes writes; whether it has all that was committed there is not known",
		"ro": "stands there now and takes none; whether it has all that was committed there is not known",
	} {
		d := plan.Next(under("db1 down of=c\n  db3 io=no\ndb2 of=c "+mode+"\n  db4", moving))
		if said := strings.Join(d.Refused(), "; "); len(d.Steps()) > 0 || !strings.Contains(said, want) ||
			strings.Contains(said, "read_only") != (mode == "ro") {
			t.Errorf("%s: steps %v, refused: %s", mode, d.Steps(), said)
		}
	}
	moving.Acknowledged = &plan.Acknowledgement{By: "ann"}
	s := under("db1 down of=c\ndb2 of=c rw\n  db3 io=no\n  db4", moving)
	es := plan.Next(s).Episodes()
	if len(es) == 0 || es[0].Closed.IsZero() || !strings.Contains(es[0].Outcome, "acknowledged by ann") {
		t.Fatalf("acknowledged: %+v", es)
	}
	s.Episodes = es
	if steps := plan.Next(plan.Situate(s.Facts)).Steps(); len(steps) != 1 || steps[0].Kind != plan.StartReceiver ||
		steps[0].At != key("db3") {
		t.Errorf("acknowledged: %v, want the start of the one that was moved by half", steps)
	}
}

// A replica that a failover detached before its candidate fell silent has what it received from the failed server all
// the same: who is promoted next must have it, too.
func TestADetachedReplicaOfAHalfDoneFailoverCounts(t *testing.T) {
	at := situation("db1").Snapshot.At
	half := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Ended, Unfinished: true,
		Opened: at.Add(-time.Minute), Closed: at.Add(-time.Second), Outcome: "db2 fell silent",
		Candidate: key("db2"), Touched: []topology.Key{key("db2"), key("db3"), key("db4")}}
	const drawing = `
db1 down of=c exec=1-100
  db4 ioerr=2003 recv=db1:1-100 exec=db1:1-100
db2 down of=c
db3 of=c detached=db1 io=no recv=db1:1-105 exec=db1:1-105 purged=db1:1-%s`
	for _, c := range []struct{ name, purged, want, not string }{
		{"it can give it", "50", "promote db3", "promote db4"},
		{"it has purged it", "105", "promote db3", "promote db4"},
	} {
		if got := told(plan.Preview(under(fmt.Sprintf(drawing, c.purged), half))); !strings.Contains(got, c.want) ||
			strings.Contains(got, c.not) {
			t.Errorf("%s: got\n%s", c.name, got)
		}
	}
}

// A candidate below another replica was stopped to be promoted, and then a better one came back: it is not forgotten.
func TestACandidateThatIsPassedOverIsStarted(t *testing.T) {
	at := situation("db1").Snapshot.At
	e := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen, Opened: at,
		Candidate: key("db4"), Touched: []topology.Key{key("db2"), key("db3"), key("db4")}}
	d := plan.Next(under("db1 down of=c\n  db2 io=no\n  db3 io=no must_not\n"+
		"    db4 io=no nologupdates\n  db5 io=no must_not recv=1-90", e))
	if got := d.Works[0].Episode; got.Candidate != key("db2") || !slices.Contains(got.Abandoned, key("db4")) {
		t.Fatalf("candidate %v, abandoned %v", got.Candidate, got.Abandoned)
	}
	e = *d.Works[0].Episode
	e.Stage, e.Promoted = plan.Promoted, at
	s := under("db2 of=c\n  db3\n    db4 io=no\ndb1 of=c down", e)
	if !slices.ContainsFunc(plan.Next(s).Steps(), func(step plan.Step) bool { return step.At == key("db4") }) {
		t.Errorf("steps %v", plan.Next(s).Steps())
	}
}
