package plan_test

import (
	"cmp"
	"errors"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// sure is an error that leaves no doubt.
type sure struct{ error }

func (sure) Certain() bool { return true }

func TestACandidateThatWouldTakeNoWrites(t *testing.T) {
	const drawn = `
db1 down of=c
  db2 io=no ioerr=2003
  db3 io=no ioerr=2003`
	e := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen, Opened: time.Now(),
		Touched: []topology.Key{key("db2"), key("db3")}, Candidate: key("db2")}
	locked := sure{errors.New("locked")}
	try := func(host string) plan.Done {
		return plan.Done{Step: plan.Step{Kind: plan.Promote, At: key(host)}, Error: "promote: it would take no writes"}
	}
	other := e.Tried(try("db2"), locked)
	if got := told(plan.Previewed{Steps: plan.Next(under(drawn, other)).Steps()}); got != "promote db3" {
		t.Errorf("after one failure that leaves no doubt: %s", got)
	}
	all := other.Tried(try("db3"), locked)
	w := plan.Next(under(drawn, all)).Works[0]
	if w.Episode == nil || !strings.Contains(w.Episode.Blocked, "no server can be promoted now") ||
		len(w.Steps) == 0 {
		t.Errorf("with nobody left: %+v", w)
	}
	turn := func(e plan.Episode) string { return told(plan.Previewed{Steps: plan.Next(under(drawn, e)).Steps()}) }
	if a, b := turn(all), turn(all.Tried(try("db2"), locked)); a != "promote db2" || b != "promote db3" {
		t.Errorf("each has its turn: %s, %s", a, b)
	}
}

// MySQL's candidate was opened while its applier waits for the rest of a transaction.
func TestACandidateThatIsOpenedFirst(t *testing.T) {
	const drawn = `
db1 down of=c
  db2 rw io=no
  db3 io=no ioerr=2003`
	e := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen, Opened: time.Now(),
		Touched: []topology.Key{key("db2"), key("db3")}, Candidate: key("db2")}
	next := func(drawn string) plan.Work { return plan.Next(under(drawn, e)).Works[0] }
	if got := told(plan.Previewed{Steps: next(drawn).Steps}); got != "promote db2" {
		t.Errorf("it took writes all the time: %s", got)
	}
	e.Opening = []topology.Key{e.Candidate}
	w := next(drawn)
	if got := told(plan.Previewed{Steps: w.Steps}); got != "repoint db3 db2" ||
		!strings.Contains(w.Wait, "gives up within a minute") {
		t.Errorf("its applier waits: %s; %s", got, w.Wait)
	}
	e.Promoted = time.Now().Add(tenYears)
	if w := next(drawn); strings.Contains(w.Wait, "gives up within a minute") {
		t.Errorf("it was promoted by a clock that was ahead: %s", w.Wait)
	}
	e.Promoted = time.Time{}
	w = next(strings.Replace(drawn, "rw io=no", "rw io=no sql=no", 1))
	if got := told(plan.Previewed{Steps: w.Steps}); !strings.Contains(got, "promote db2") {
		t.Errorf("its applier has ended: %s", got)
	}
}

func TestACommitIsSeen(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	e := plan.Episode{}
	if e.Writes() != "" {
		t.Error("nobody was promoted")
	}
	e.Candidate, e.Promoted = key("db2"), at
	if got := e.Writes(); got != "no commit has been seen at db2:3306 since it was opened" {
		t.Error(got)
	}
	e.Committed = at.Add(time.Second)
	if got := e.Writes(); got != "a commit was seen at db2:3306, 1s after it was opened" {
		t.Error(got)
	}
}

// A row of our own is written once the failover is over, until a commit has been seen or it failed twice.
func TestTryWrite(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 10, 0, time.UTC)
	whole := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Ended,
		Opened: at.Add(-5 * time.Second), Candidate: key("db2"), Promoted: at.Add(-4 * time.Second), Had: 100,
		Closed: at.Add(-3 * time.Second), Outcome: "db2:3306 replaces db1:3306"}
	failed := plan.Done{Step: plan.Step{Kind: plan.TryWrite, At: key("db2")}, Error: "try_write: no such table"}
	for _, c := range []struct {
		name, drawing string
		change        func(*plan.Episode, *plan.Policy)
		want          string
	}{
		{"nobody has written", "", nil, "try_write db2"},
		{"there is no table", "", func(_ *plan.Episode, p *plan.Policy) { p.Heartbeat = "" }, ""},
		{"a commit was seen", "", func(e *plan.Episode, _ *plan.Policy) { e.Committed = at }, ""},
		{"it failed once", "", func(e *plan.Episode, _ *plan.Policy) { *e = e.Tried(failed, errors.New("x")) },
			"try_write db2"},
		{"it failed twice", "", func(e *plan.Episode, _ *plan.Policy) {
			*e = e.Tried(failed, errors.New("x")).Tried(failed, errors.New("x"))
		}, ""},
		{"it is read-only", "db2 ro\n  db3", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := whole
			s := situation(cmp.Or(c.drawing, "db2\n  db3"))
			s.Policy.Heartbeat = "meta.heartbeat"
			e.Cluster = s.Cluster
			if c.change != nil {
				c.change(&e, &s.Policy)
			}
			s.Episodes = []plan.Episode{e}
			next := plan.Next(plan.Situate(s.Facts))
			if got := told(plan.Previewed{Steps: next.Steps()}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	twice := whole.Tried(failed, errors.New("x")).Tried(failed, errors.New("x"))
	if got := twice.Writes(); !strings.HasSuffix(got, "since it was opened: try_write: no such table") {
		t.Error(got)
	}
}
