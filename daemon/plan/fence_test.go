package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// A former primary that comes back is fenced whoever it follows, and whoever it is by now.
func TestAFormerPrimaryIsFenced(t *testing.T) {
	at := situation("db1").Snapshot.At
	for _, c := range []struct{ name, former, want string }{
		{"in a circle: it follows the server that replaced it", "db1 of=c rw source=db2", "fence db1"},
		{"with a leftover channel", "db1 of=c rw source=db9 io=no sql=no", "fence db1"},
		{"with several", "db1 of=c rw source=db2 also=db9 also_io=2:no", "fence db1"},
		{"with an empty data directory: another server at its address", "db1 of=c rw uuid=new exec=none", "fence db1"},
		{"another server that serves a lost replica", "db1 of=c rw uuid=new exec=none\n  db4", "fence db1"},
		{"the address was given to another cluster", "db1 of=c rw uuid=new exec=none\n  db8", ""},
		{"read-only, MariaDB, and its events write on", "db1 of=c mariadb=10.11.6 ro scheduler", "fence db1"},
		{"the same, as a replica", "db1 of=c mariadb=10.11.6 ro scheduler source=db2", "fence db1"},
		{"read-only, MySQL, and privileged events write on", "db1 of=c ro scheduler", "fence db1"},
		{"super-read-only: no event writes", "db1 of=c sro scheduler", ""},
		{"a read-only replica of MySQL by now", "db1 of=c ro scheduler source=db2", ""},
		{"read-only", "db1 of=c ro", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := under("db2 of=c exec=db1:1-100\n  db3\n"+c.former, plan.Episode{ID: "e", Kind: plan.PrimaryFailover,
				Failed: key("db1"), FailedUUID: uuidOf("db1"), Candidate: key("db2"), Stage: plan.Ended, Promoted: at,
				Closed: at, Outcome: "db2 replaces db1", Lost: []plan.Lost{{Key: key("db4"), Why: "out of reach"}}})
			got := ""
			for _, step := range plan.Next(s).Steps() {
				if step.Kind == plan.Fence {
					got = "fence " + step.At.Host
				}
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The failover ended half done, with a replica out of reach that still followed the failed one: when that comes back as
// another server it is the former primary all the same, not one of another cluster.
func TestAFormerPrimaryOfAHalfDoneFailoverIsFenced(t *testing.T) {
	at := situation("db1").Snapshot.At
	half := under("db1 down of=c\n  db3 io=no\n  db4 down=timeout\ndb2 of=c down", plan.Episode{ID: "e",
		Kind: plan.PrimaryFailover, Failed: key("db1"), FailedUUID: uuidOf("db1"), Candidate: key("db2"),
		Stage: plan.Promoted, Opened: at, Promoted: at, Touched: []topology.Key{key("db2"), key("db3")}})
	e := *plan.Next(half).Works[0].Episode
	s := under("db1 of=c uuid=new exec=none rw\n  db4 down=timeout\ndb2 of=c down\n  db3", e)
	if !slices.ContainsFunc(plan.Next(s).Steps(), func(step plan.Step) bool {
		return step.Kind == plan.Fence && step.At == key("db1")
	}) {
		t.Errorf("lost %v, then steps %v", e.Lost, plan.Next(s).Steps())
	}
}

func uuidOf(host string) string {
	return situation(host).Snapshot.Servers[0].Instance.UUID
}

// The event scheduler is turned off with the fence, which is on record, and on again by the next promotion only.
func TestTheEventSchedulerIsRemembered(t *testing.T) {
	at := situation("db1").Snapshot.At
	ended := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Candidate: key("db2"),
		Stage: plan.Ended, Opened: at.Add(-time.Hour), Promoted: at.Add(-time.Hour), Closed: at.Add(-time.Hour),
		Outcome: "db2 replaces db1"}
	s := under("db2 of=c exec=db1:1-100\n  db3\ndb1 of=c rw scheduler", ended)
	d := plan.Next(s)
	off := []plan.EventsOff{{Key: key("db1"), At: at, Since: at}}
	if e := d.Works[0].Episode; !slices.Equal(e.EventsOff, off) || d.Steps()[0].Kind != plan.Fence {
		t.Fatalf("on record %v, steps %v", e.EventsOff, d.Steps())
	}
	ended.EventsOff = []plan.EventsOff{{Key: key("db1"), At: at.Add(-time.Second), Since: at.Add(-3 * time.Second)}}
	denied := under("db2 of=c exec=db1:1-100\n  db3\ndb1 of=c mariadb=10.11.6 ro scheduler", ended)
	if steps := plan.Next(denied).Steps(); len(steps) > 0 {
		t.Errorf("what was not allowed a second ago is tried again: %v", steps)
	}
	dead := "db2 of=c down\n  db1 io=connecting ioerr=2003"
	if p := promoteStep(under(dead, ended)); !p.Events || p.At != key("db1") {
		t.Errorf("the promotion does not turn the scheduler on: %+v", p)
	}
	back := ended
	back.ID, back.Failed, back.Candidate, back.EventsOff = "f", key("db2"), key("db1"), nil
	back.Opened, back.Promoted = at.Add(-time.Minute), at.Add(-time.Minute)
	if p := promoteStep(under("db3 of=c down\n  db1 io=connecting ioerr=2003", back, ended)); p.Events {
		t.Error("a scheduler that somebody turned off since is turned on")
	}
}

// While recoveries are switched off nothing is done, not even a fence: what would be done is said. A failover that has
// told a server to take writes is finished, with all that it needs.
func TestFencesWhileRecoveriesAreOff(t *testing.T) {
	at := situation("db1").Snapshot.At
	ended := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Candidate: key("db2"),
		Stage: plan.Ended, Opened: at.Add(-time.Hour), Promoted: at.Add(-time.Hour), Closed: at.Add(-time.Hour),
		Outcome: "db2 replaces db1"}
	open := plan.Episode{ID: "f", Kind: plan.PrimaryFailover, Failed: key("db2"), Stage: plan.Committed, Opened: at,
		Touched: []topology.Key{key("db3")}}
	moving := ended
	moving.Stage, moving.Closed, moving.Outcome = plan.Promoted, time.Time{}, ""
	for _, c := range []struct {
		name, drawing string
		episodes      []plan.Episode
		want          string
	}{
		{"a former primary comes back writable", "db2 of=c exec=db1:1-100\n  db3\ndb1 of=c rw",
			[]plan.Episode{ended}, "aftercare db1: refused: recoveries are switched off: ann works there; so this is " +
				"not done: make db1:3306 read-only: db2:3306 was promoted in its place: it must not take writes; " +
				"do it by hand, or, to switch them on: orchestrator-client recoveries on"},
		{"it is read-only", "db2 of=c exec=db1:1-100\n  db3\ndb1 of=c ro", []plan.Episode{ended},
			"aftercare db1: outcome: db2 replaces db1"},
		{"while another failover has begun", "db2 of=c down exec=db1:1-100\n  db3 io=no\ndb1 of=c rw",
			[]plan.Episode{open, ended}, "primary_failover db2: refused: recoveries are switched off: ann works " +
				"there; to switch them on: orchestrator-client recoveries on\n" +
				"aftercare db1: refused: recoveries are switched off: ann works there; so this is not done: make " +
				"db1:3306 read-only: db2:3306 was promoted in its place: it must not take writes; do it by hand, " +
				"or, to switch them on: orchestrator-client recoveries on"},
		{"while its own failover is under way", "db2 of=c rw exec=db1:1-100\n  db3\ndb1 of=c rw",
			[]plan.Episode{moving}, "primary_failover db1: fence db1;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := under(c.drawing, c.episodes...)
			s.Off = "ann works there"
			if got := works(plan.Next(plan.Situate(s.Facts))); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Whether recoveries are off can't be read while the store does not answer. What was begun goes on; nothing is begun.
func TestWhatWasBegunGoesOnWhileTheStoreIsSilent(t *testing.T) {
	at := situation("db1").Snapshot.At
	begun := plan.Episode{ID: "f", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Committed, Opened: at,
		Touched: []topology.Key{key("db2"), key("db3")}, Candidate: key("db2")}
	const dead = "db1 down\n  db2 io=no\n  db3 io=no"
	for name, s := range map[string]plan.Situation{"begun": under(dead, begun), "not begun": under(dead)} {
		s.Off, s.OffUnknown = "the store does not answer", true
		d := plan.Next(plan.Situate(s.Facts))
		if went := len(d.Steps()) > 0; went != (name == "begun") {
			t.Errorf("%s: %s", name, works(d))
		}
		s.OffUnknown = false
		if d := plan.Next(plan.Situate(s.Facts)); len(d.Steps()) > 0 {
			t.Errorf("%s, and switched off by somebody: %s", name, works(d))
		}
	}
}

// A fence of scheduled events that may have been lost is repeated soon, and then ever more seldom.
func TestScheduledEventsAreStoppedAgain(t *testing.T) {
	at := situation("db1").Snapshot.At
	for _, c := range []struct {
		name        string
		last, first time.Duration // how long ago it was tried
		again       bool
	}{
		{"just now", 100 * time.Millisecond, 100 * time.Millisecond, false},
		{"it may have been lost", 300 * time.Millisecond, 300 * time.Millisecond, true},
		{"tried for 4 s, 3 s ago", 3 * time.Second, 7 * time.Second, false},
		{"tried for 4 s, 5 s ago", 5 * time.Second, 9 * time.Second, true},
		{"tried for an hour", 29 * time.Second, time.Hour, false},
		{"tried for an hour, half a minute ago", 30 * time.Second, time.Hour, true},
		{"tried by a clock that was ahead", -tenYears, -tenYears, true},
	} {
		s := under("db2 of=c exec=db1:1-100\n  db3\ndb1 of=c mariadb=10.11.6 ro scheduler", plan.Episode{ID: "e",
			Kind: plan.PrimaryFailover, Failed: key("db1"), Candidate: key("db2"), Stage: plan.Ended, Promoted: at,
			Closed: at, Outcome: "db2 replaces db1", EventsOff: []plan.EventsOff{{Key: key("db1"), At: at.Add(-c.last),
				Since: at.Add(-c.first)}}})
		d := plan.Next(s)
		if got := len(d.Steps()) > 0; got != c.again {
			t.Errorf("%s: fenced again: %t", c.name, got)
		}
		if c.again && c.last > 0 && d.Works[0].Episode.EventsOff[0].Since != at.Add(-c.first) {
			t.Errorf("%s: the first try is forgotten", c.name)
		}
	}
}

func promoteStep(s plan.Situation) plan.Step {
	for _, step := range plan.Preview(s).Steps {
		if step.Kind == plan.Promote {
			return step
		}
	}
	return plan.Step{}
}

// A replica that can't be fenced does not keep the cluster without a primary for ever.
func TestAReplicaThatCantBeFenced(t *testing.T) {
	s := under(`
db1 down of=c
  db2 rw io=no prefer_not
  db3 io=no`, plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Committed,
		Touched: []topology.Key{key("db2"), key("db3")}})
	if got := works(plan.Next(s)); !strings.Contains(got, "fence db2") || strings.Contains(got, "promote") {
		t.Errorf("got %s", got)
	}
	s.Episodes[0].FenceSince = s.Snapshot.At.Add(-2 * time.Second)
	if got := works(plan.Next(plan.Situate(s.Facts))); !strings.Contains(got, "promote db3") {
		t.Errorf("after drain_timeout: %s", got)
	}
}
