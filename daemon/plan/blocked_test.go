package plan_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
)

// A dead primary that is not replaced has an episode that says why, and what a person can do.
func TestARefusalIsAnEpisode(t *testing.T) {
	for _, c := range []struct {
		name, drawing string
		change        func(*plan.Facts)
		want          string // on record; "" for none
	}{
		{"policy", twoReplicas, func(f *plan.Facts) { f.Policy.RecoverPrimary = false },
			"policy: recover_primary is false for cluster db1:3306"},
		{"policy, and an operator can ask for it", twoReplicas, func(f *plan.Facts) { f.Policy.RecoverPrimary = false },
			"db1:3306; to have it done all the same: orchestrator-client recover db1:3306 [--candidate SERVER]"},
		{"recoveries are off", twoReplicas, func(f *plan.Facts) { f.Off = "by ann" },
			"recoveries are switched off: by ann"},
		{"downtime", "db1 down downtime=1h\n  db2 io=connecting ioerr=2003", nil, "downtime: db1:3306 is in downtime"},
		{"anti-flapping", twoReplicas, func(f *plan.Facts) {
			f.Policy.AntiFlap = time.Hour
			f.Episodes = []plan.Episode{promoted("db1", f.Snapshot.At.Add(-time.Minute))}
		}, "anti-flapping: db1:3306 was promoted at 2025-12-31T23:59:10Z"},
		{"no candidate", "db1 down\n  db2 io=connecting ioerr=2003 must_not", nil,
			"no replica of db1:3306 can be promoted"},
		{"every applier is broken", "db1 down\n  db2 ioerr=2003 sqlerr=1062 recv=1-120 exec=1-100", nil,
			"its applier stopped with error 1062"},
		{"no witness", "db1 down since=20s\n  db2 down since=20s", nil, "no witness: db1:3306 and all its replicas"},
		{"no witness for a moment", "db1 down\n  db2 down", nil, ""},
		{"receivers that somebody stopped", "db1 down since=20s\n  db2 io=no\n  db3 io=no", nil,
			"Somebody stopped the receivers of db2:3306, db3:3306: start one of them"},
		{"a full disk", "db1 stalled=disk_full,30s\n  db2", nil, "Its disk is full: free space on it"},
		{"commits that are slow for a moment", "db1 stalled=commit,6s\n  db2", nil, ""},
		{"a server without replicas is no cluster to recover", "db1 down", nil, ""},
		{"one that lives, and refuses us", "db1 down=too_many_connections\n  db2", nil, ""},
		{"a name that this daemon can't resolve",
			"db1 down=no_such_host since=1h\n  db2 ioerr=2003\n  db3 ioerr=2003", nil,
			"can't resolve the name of db1:3306, which says nothing of the server: fix its resolver"},
		{"replicas that are silent for another reason have a vote", "db1 down=timeout since=60s\n  db2 ioerr=2003\n" +
			"  db3 down=timeout since=72h\n  db4 down=timeout since=72h", nil,
			"silence counts with 2 (declare a downtime of those that are silent for another reason, so that they do " +
				"not count: db3:3306, db4:3306)"},
		{"receivers that stopped with an error", "db1 down=timeout since=60s\n  db2 ioerr=1236\n  db3 ioerr=1593", nil,
			"The receivers stopped at db2:3306 (error 1236), db3:3306 (error 1593): start one of them"},
		{"one of several sources still seems connected", "db1 down since=60s\n  db2 ioerr=2003\n  db3 also=far", nil,
			"left alone (db3:3306): restart the receiver from db1:3306 there by hand, and it finds out"},
		{"a stopped receiver whose start would cost relay logs",
			"db1 mariadb=10.11.6 down=timeout since=60s\n  db2 io=no sql=no recv=0-1-100 exec=0-1-50", nil,
			"If you know that it is dead"},
		{"one that only we can't reach", "db1 down=timeout since=20s\n  db2\n  db3", func(f *plan.Facts) {
			f.Policy.RecoverPrimary = false
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(c.drawing)
			if c.change != nil {
				c.change(&s.Facts)
				s = plan.Situate(s.Facts)
			}
			got := ""
			for _, e := range plan.Next(s).Episodes() {
				got = e.Blocked
				if err := e.Check(); err != nil {
					t.Error(err)
				}
			}
			if !strings.Contains(got, c.want) || c.want == "" != (got == "") {
				t.Errorf("on record %q, want %q", got, c.want)
			}
		})
	}
}

// blocked is the situation with the episode that it opens on record.
func blocked(s plan.Situation) plan.Situation {
	s.Episodes = append(plan.Next(s).Episodes(), s.Episodes...)
	return plan.Situate(s.Facts)
}

// What is on record stays as it is while nothing but numbers changes, and goes on or closes when the reason goes away.
func TestABlockedEpisodeGoesOnByItself(t *testing.T) {
	s := blocked(situation("db1 down\n  db2 io=connecting ioerr=2003 must_not recv=1-110 exec=1-110\n" +
		"  db3 sqlerr=1062 ioerr=2003"))
	first := s.Episodes[0]
	for _, c := range []struct{ name, drawing, want string }{
		{"a second later", "db1 down since=6s\n  db2 io=connecting ioerr=2003 must_not recv=1-110 exec=1-110\n" +
			"  db3 sqlerr=1062 ioerr=2003", "the same"},
		{"a number changed", "db1 down since=6s\n  db2 io=connecting ioerr=2003 must_not recv=1-110 exec=1-110\n" +
			"  db3 sqlerr=1062 ioerr=2003 recv=1-105 exec=1-100", "the same"},
		{"other replicas must be asked again", "db1 down since=6s\n  db2 ioerr=2003 must_not asked=9s\n" +
			"  db3 sqlerr=1062 ioerr=2003 asked=9s", "the same"},
		{"another reason", "db1 down since=6s downtime=1h\n  db2 io=connecting ioerr=2003 must_not\n" +
			"  db3 sqlerr=1062 ioerr=2003", "downtime"},
		{"a person lifts the rule", "db1 down since=6s\n  db2 io=connecting ioerr=2003 recv=1-110 exec=1-110\n" +
			"  db3 sqlerr=1062 ioerr=2003", "stop_receiver"},
		{"it answers again", "db1\n  db2 must_not\n  db3", "db1:3306 answered again"},
		{"a person has promoted another", "db1 down of=db1 since=9m\ndb2 of=db1 exec=db1:1-100\n  db3",
			"db2:3306 is the primary of the cluster now"},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := situation(c.drawing)
			now.Episodes = s.Episodes
			d := plan.Next(plan.Situate(now.Facts))
			e := d.Episodes()[0]
			got := works(d) + e.Blocked
			if e.Blocked == first.Blocked && slices.Equal(e.Evidence, first.Evidence) {
				got = "the same"
			}
			if !strings.Contains(got, c.want) || e.ID != first.ID {
				t.Errorf("got %q of %s, want %q of %s", got, e.ID, c.want, first.ID)
			}
		})
	}
}

// A number that changes is no news; a name, an identity or another word is.
func TestReasonsThatDifferInNumbersOnly(t *testing.T) {
	const a, b = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "00000000-0000-0000-0000-000000000001"
	for _, c := range []struct {
		before, now string
		same        bool
	}{
		{"2 transactions are lost", "1 transaction is lost", true},
		{"db2:3306 has 1 transaction (it has it)", "db2:3306 has 30 transactions (it has them)", true},
		{"silent for 9.5s, until 1m0s", "silent for 10s, until 1m0s", true},
		{"purged (" + b + ":31-48)", "purged (" + b + ":47-48)", true},
		{"purged " + a + ":31-48 from", "purged " + a + ":47-48," + b + ":1 from", true},
		{"only here: 0-3-111..115", "only here: 0-3-111..116,1-3-7", true},
		{"received up to binlog.000012:4711 of db1:3306", "received up to binlog.000013:4 of db1:3306", true},
		{"db2:3306 has 1 transaction", "db3:3306 has 1 transaction", false},
		{"10.0.0.2:3306 takes writes", "10.0.0.3:3306 takes writes", false},
		{"another stands there (" + a + ")", "another stands there (" + b + ")", false},
		{"it stopped with error 1236", "it was stopped", false},
	} {
		if plan.SameReasons([]string{c.before}, []string{c.now}) != c.same {
			t.Errorf("%q and %q: want %v", c.before, c.now, c.same)
		}
	}
}

// A replica that reconnects shows that the primary lives, and only we can't reach it. That is one episode, not one
// every second.
func TestASuspicionThatIsRefutedIsNotOpenedAgain(t *testing.T) {
	s := situation("db1 down=timeout since=20s\n  db2\n  db3")
	at := s.Snapshot.At
	closed := plan.Next(s).Episodes()[0]
	closed.Challenged, closed.Closed, closed.Outcome = at.Add(-time.Second), at, "db1 answered again"
	s.Episodes = []plan.Episode{closed}
	if d := plan.Next(plan.Situate(s.Facts)); len(d.Episodes()) > 0 || len(d.Steps()) > 0 {
		t.Errorf("opened again: %s", works(d))
	}
}

// A dead intermediate source that may not be recovered has an episode, as a dead primary has. A suspicion has none.
func TestARefusedIntermediateIsAnEpisode(t *testing.T) {
	const dead = `
db1
  db2 down
    db3 ioerr=2003
    db4 ioerr=2003`
	for _, c := range []struct{ name, drawing, want string }{
		{"policy", dead + "\npolicy recover_primary", "recover_intermediate is false"},
		{"recoveries are off", "off work" + dead, "recoveries are switched off: work"},
		{"downtime", "\ndb1\n  db2 down downtime=1h\n    db3 ioerr=2003", "db2:3306 is in downtime"},
		{"no replica can be moved", "\ndb1\n  db2 down\n    db3 ioerr=2003 also=db9\ndb9",
			"db3:3306 can't be moved: it has several sources"},
		{"the new primary was not chosen", "\ndb1 down\n  db2 ioerr=2003\ndb4 of=db1 rw exec=db1:1-90\n  db5\n  db6",
			"no promotion of it is on record"},
		{"a suspicion", "off work\ndb1\n  db2 down=timeout since=20s\n    db3\n    db4", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := saved(t, c.drawing)
			d := plan.Next(s)
			if c.want == "" {
				if len(d.Episodes()) > 0 {
					t.Errorf("on record %v", d.Episodes())
				}
				return
			}
			if len(d.Episodes()) != 1 || !strings.Contains(d.Episodes()[0].Blocked, c.want) ||
				d.Episodes()[0].Check() != nil || d.Episodes()[0].Stage != plan.Suspected {
				t.Fatalf("on record %+v", d.Episodes())
			}
			s.Episodes = d.Episodes()
			if again := plan.Next(plan.Situate(s.Facts)).Episodes(); !reflect.DeepEqual(again, d.Episodes()) {
				t.Errorf("the record changes although nothing has: %+v", again)
			}
		})
	}
}

// It goes on, or ends, by itself.
func TestABlockedIntermediateGoesOnByItself(t *testing.T) {
	const opened = "\nepisode intermediate_failover db2 opened=9s code=DeadIntermediate blocked=downtime"
	try(t, []messy{
		{"the reason is gone", "\ndb1\n  db2 down\n    db3 ioerr=2003\n    db4 ioerr=2003" + opened,
			"repoint db3 db1\nrepoint db4 db1", "refused"},
		{"it answers again", "\ndb1\n  db2\n    db3\n    db4" + opened, "db2:3306 answers again", ""},
		{"somebody has moved the replicas", "\ndb1\n  db2 down\n  db3\n  db4" + opened,
			"no replica follows db2:3306", ""},
	})
}

// What an operator may lift is not offered where a request would be refused all the same.
func TestARequestThatWouldBeRefusedIsNotOffered(t *testing.T) {
	for drawing, offered := range map[string]bool{
		twoReplicas: true,
		"db1 down\n  db2 io=connecting ioerr=2003 must_not": false,
	} {
		s := situation(drawing)
		s.Policy.RecoverPrimary = false
		w := plan.Next(plan.Situate(s.Facts)).Works[0]
		if got := strings.Contains(strings.Join(w.Refused, "; "), "orchestrator-client recover"); got != offered {
			t.Errorf("%s\noffered: %v: %q", drawing, got, w.Refused)
		}
	}
}
