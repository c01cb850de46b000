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

// works is a decision in a line a work: kind and server, steps, then why not.
func works(d plan.Decision) string {
	var out []string
	for _, w := range d.Works {
		line := fmt.Sprintf("%s %s:", w.Kind, w.Failed.Host)
		for _, s := range w.Steps {
			line += fmt.Sprintf(" %s %s", s.Kind, s.At.Host)
			if !s.Source.IsZero() {
				line += " " + s.Source.Host
			}
			line += ";"
		}
		if w.Outcome() != "" {
			line += " outcome: " + w.Outcome()
		}
		if len(w.Refused) > 0 {
			line += " refused: " + strings.Join(w.Refused, "; ")
		} else if w.Wait != "" {
			line += " wait: " + w.Wait
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// The death of the primary was never acted upon while an intermediate's episode was open.
func TestThePrimaryIsReplacedWhileAnIntermediateIsOpen(t *testing.T) {
	s := under(`
db1 down
  db2 down
    db3 io=connecting ioerr=2003
    db4 io=connecting ioerr=2003
  db5 io=connecting ioerr=2003
  db6 io=connecting ioerr=2003`, plan.Episode{ID: "i", Kind: plan.IntermediateFailover, Failed: key("db2"), Stage: plan.Committed,
		Touched: []topology.Key{key("db3"), key("db4")}})
	want := `
primary_failover db1: stop_receiver db5; stop_receiver db6;
intermediate_failover db2: wait: db1:3306 is being replaced, and its replicas follow the new primary then`
	if got := works(plan.Next(s)); got != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant%s", got, want)
	}
	p := plan.Preview(s)
	want = `
stop_receiver db5
stop_receiver db6
promote db5
repoint db6 db5
repoint db3 db5
repoint db4 db5
lost: db2 out of reach (refused); it is moved under db5:3306 when it comes back`
	if got := told(p); got != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant%s", got, want)
	}
	for _, host := range []string{"db3", "db4", "db6"} {
		if c := p.After.Server(key(host)).Channel(); c.Source != key("db5") || c.IO != topology.Running {
			t.Errorf("%s ends under %v", host, c.Source)
		}
	}
	if w := p.Works[1]; w.Outcome() != "the replicas of db2:3306 follow db5:3306" || w.Episode.Blocked != "" {
		t.Errorf("the intermediate's work ends with %q, blocked %q", w.Outcome(), w.Episode.Blocked)
	}
}

func TestWhatGoesFirst(t *testing.T) {
	at := situation("db1").Snapshot.At
	intermediate := plan.Episode{ID: "i", Kind: plan.IntermediateFailover, Failed: key("db2"), Stage: plan.Committed,
		Opened: at, Candidate: key("db1"), Touched: []topology.Key{key("db3")}}
	second := plan.Episode{ID: "j", Kind: plan.IntermediateFailover, Failed: key("db4"), Stage: plan.Committed,
		Opened: at, Touched: []topology.Key{key("db5")}}
	ended := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db9"), Candidate: key("db1"),
		Stage: plan.Ended, Promoted: at, Closed: at,
		Outcome: "db1 replaces db9"}
	for _, c := range []struct {
		name, drawing string
		episodes      []plan.Episode
		want          string
	}{
		{"a replica that was moved under the primary, not started, and the primary dies: its failover takes it", `
db1 down of=c
  db3 io=no
  db6 io=connecting ioerr=2003
db2 down of=c`, []plan.Episode{intermediate}, `
primary_failover db1: stop_receiver db6;
intermediate_failover db2: outcome: the replicas of db2:3306 follow db1:3306`},
		{"two intermediate sources", `
db1
  db2 down
    db3 io=connecting ioerr=2003
  db4 down
    db5 io=connecting ioerr=2003`, []plan.Episode{intermediate, second}, `
intermediate_failover db2: repoint db3 db1;
intermediate_failover db4: repoint db5 db1;`},
		{"a former primary comes back writable while a failover promotes: it is fenced first", `
db1 down of=c
  db2 io=no
  db3 io=no
db9 of=c exec=db9:1-50`, []plan.Episode{{ID: "p", Kind: plan.PrimaryFailover, Failed: key("db1"),
			Stage: plan.Committed, Opened: at, Touched: []topology.Key{key("db2"), key("db3")}, Abandoned: []topology.Key{key("db9")}}, ended}, `
primary_failover db1: wait: made read-only first, because it takes writes: db9:3306
aftercare db9: fence db9; outcome: db1 replaces db9`},
		{"what both need goes to the failover of the primary, and the other says so", `
db1 down of=c
  db3 io=no
  db7 io=connecting ioerr=2003
    db2 down`, []plan.Episode{intermediate}, `
primary_failover db1: stop_receiver db7;
intermediate_failover db2: wait: db3:3306 is needed by the failover of the primary of db1:3306, which goes first: ` +
			`nobody can write to the cluster until it is over, and what its replicas have received must not change meanwhile`},
		{"a failover that has not begun does not begin while another needs a server of it", `
db1 down of=c
db2 of=c rw exec=db1:1-100
  db3 down
    db4 io=no
    db5 io=connecting ioerr=2003`, []plan.Episode{{ID: "p", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Promoted,
			Opened: at, Promoted: at, Candidate: key("db2"), Touched: []topology.Key{key("db4")}, Abandoned: []topology.Key{key("db4")}}}, `
primary_failover db1: repoint db4 db2;
intermediate_failover db3: wait: db4:3306 is needed by the failover of the primary of db1:3306, which goes first: ` +
			`nobody can write to the cluster until it is over, and what its replicas have received must not change meanwhile`},
		{"a replica of a former primary is brought home while an intermediate is repaired", `
db1 of=c rw exec=db9:1-100
  db4 down
    db5 io=connecting ioerr=2003
db9 down of=c
  db3 io=connecting ioerr=2003`, []plan.Episode{second, ended}, `
intermediate_failover db4: repoint db5 db1;
intermediate_failover db9: repoint db3 db1;`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := works(plan.Next(under(c.drawing, c.episodes...))); got != strings.TrimSpace(c.want) {
				t.Errorf("got\n%s\nwant%s", got, c.want)
			}
		})
	}
}

// Each of these was found by the simulation of deaths close together.
func TestTheNewPrimaryDiesTooSoon(t *testing.T) {
	at := situation("db1").Snapshot.At
	begun := plan.Episode{ID: "p", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen,
		Candidate: key("db2"), Opened: at, Touched: []topology.Key{key("db2"), key("db4")}}
	ended := plan.Episode{ID: "p", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Ended,
		Candidate: key("db2"), Opened: at, Promoted: at, Closed: at,
		Outcome: "db2 fell silent", Unfinished: true}
	for _, c := range []struct {
		name, drawing string
		episode       plan.Episode
		want          string
	}{
		{"it was opened by a daemon that was killed, and one below it has what it wrote then", `
db1 down
  db2 down io=no
    db3 io=connecting ioerr=2003 exec=db1:1-100+db2:1-5 recv=db1:1-100+db2:1-5
  db4 io=no`, begun, `
repoint db4 db3
promote db4
repoint db3 db4
lost: db2 out of reach (refused); it is moved under db4:3306 when it comes back`},
		{"only a dead replica followed it, and the replicas of the one before live", `
db1 down of=c
  db4 io=no
db2 down of=c exec=db1:1-100
  db3 down`, ended, `
promote db4`},
		{"only one that must not be promoted followed it", `
db1 down of=c
  db4 io=no
db2 down of=c exec=db1:1-100+db2:1-5
  db5 io=connecting ioerr=2003 must_not exec=db1:1-100+db2:1-5 recv=db1:1-100+db2:1-5`, ended, `
stop_receiver db5
repoint db4 db5
promote db4
repoint db5 db4`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, want := told(plan.Preview(under(c.drawing, c.episode))), strings.TrimSpace(c.want)
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	const dead = `
db1 down downtime=1h
  db2 io=connecting ioerr=2003
  db3 io=connecting ioerr=2003`
	ask := func(drawing string, change func(*plan.Facts)) plan.Situation {
		s := situation(drawing)
		s.Policy = plan.Policy{AntiFlap: time.Hour}
		s.Requests = []plan.Request{{ID: "r1", Kind: plan.Recover, Server: key("db1"), By: "ann",
			Reason: "the night is short", At: s.Snapshot.At}}
		s.Episodes = []plan.Episode{promoted("db1", s.Snapshot.At.Add(-time.Minute))}
		if change != nil {
			change(&s.Facts)
		}
		return plan.Situate(s.Facts)
	}
	server := func(host string) func(*plan.Facts) {
		return func(f *plan.Facts) { f.Requests[0].Server = key(host) }
	}
	for _, c := range []struct {
		name, drawing string
		change        func(*plan.Facts)
		want          string
	}{
		{"a dead primary is replaced against policy, anti-flapping and downtime", dead, nil,
			"primary_failover db1: stop_receiver db2; stop_receiver db3;"},
		{"nobody asks", dead, func(f *plan.Facts) { f.Requests = nil },
			"primary_failover db1: refused: policy: no policy of the configuration names cluster db1:3306; " +
				"downtime: db1:3306 is in downtime until 2026-01-01T01:00:10Z (somebody: work); " +
				"anti-flapping: db1:3306 was promoted at 2025-12-31T23:59:10Z, and the policy demands 1h0m0s between " +
				"promotions, so another is made from 2026-01-01T00:59:10Z on " +
				"(acknowledge that episode to allow it now); to have it done all the same: " +
				"orchestrator-client recover db1:3306 [--candidate SERVER] --reason TEXT"},
		{"the switch for all recoveries stays", dead, func(f *plan.Facts) { f.Off = "by bob: release" },
			"primary_failover db1: refused: recoveries are switched off: by bob: release; to switch them on: " +
				"orchestrator-client recoveries on"},
		{"vetoes stay", "db1 down\n  db2 io=connecting ioerr=2003 must_not", nil,
			"primary_failover db1: refused: no replica of db1:3306 can be promoted; " +
				"db2:3306: its promotion rule is must_not; to lift that: " +
				"orchestrator-client rule set db2:3306 neutral"},
		{"what is silent and can't be fenced stays", "db1 down=timeout since=9s\n  db2 io=connecting ioerr=2003", nil,
			"primary_failover db1: refused: policy: db1:3306 is silent, not proved dead, and can't be fenced; " +
				"allow_unfenced is false"},
		{"no witness", "db1 down\n  db2 down", nil,
			"primary_failover db1: refused: no witness: db1:3306 and all its replicas are out of reach, " +
				"so it may be our own network that is down: look from another host, and bring one of the servers back"},
		{"it has not failed", "db1\n  db2", nil,
			"primary_failover db1: refused: request r1: db1:3306 has not failed: it answers"},
		{"an intermediate source",
			"db1\n  db2 down\n    db3 io=connecting ioerr=2003\n    db4 io=connecting ioerr=2003", server("db2"),
			"intermediate_failover db2: repoint db3 db1; repoint db4 db1;"},
		{"a server without replicas", "db1\n  db2 down\n  db3", server("db2"),
			"intermediate_failover db2: refused: request r1: db2:3306 is not proved to have failed, " +
				"or has no replica that could be moved: db2:3306, a replica in cluster db1:3306, " +
				"does not answer: connection refused, for 5 s, 5 times in a row."},
		{"another cluster's", "db1\n  db2", server("db7"),
			"intermediate_failover db7: refused: request r1: db7:3306 is not a server of cluster db1:3306"},
		{"of a kind that a later version knows", "db1\n  db2", func(f *plan.Facts) { f.Requests[0].Kind = "move" },
			`primary_failover db1: refused: request r1: this daemon does not know requests of kind "move"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ask(c.drawing, c.change)
			d := plan.Next(s)
			if got := works(d); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if len(s.Requests) == 0 {
				return
			}
			if r := d.Works[0].Request; r == nil || r.ID != "r1" {
				t.Errorf("the work carries request %+v", r)
			}
		})
	}

	// It is on record with the episode, and goes on when the request itself is gone.
	s := ask(dead, nil)
	e := *plan.Next(s).Works[0].Episode
	if e.Request == nil || e.Request.By != "ann" || e.Request.Reason == "" {
		t.Errorf("on record is %+v", e.Request)
	}
	p := plan.Preview(s)
	if w := p.Main(); w.Outcome() != "db2:3306 replaces db1:3306" {
		t.Errorf("it ends with %q, %q", w.Outcome(), w.Refused)
	}
	e = *p.Works[0].Episode
	s.Snapshot, s.Episodes = p.After, []plan.Episode{e}
	if d := plan.Next(plan.Situate(s.Facts)); slices.ContainsFunc(d.Works, func(w plan.Work) bool {
		return w.Request != nil
	}) {
		t.Errorf("a request that was done is planned again: %s", works(d))
	}
}
