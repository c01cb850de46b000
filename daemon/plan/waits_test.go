package plan_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func TestNoServerHoldsTheClusterAlone(t *testing.T) {
	for _, c := range []struct{ name, drawing, want string }{
		{"a delayed replica has more: its choice is spelt out, and it is not waited for", `
db1 down
  db2 ioerr=2003 recv=1-110 exec=1-110
  db3 delay=1h ioerr=2003 recv=1-120 exec=1-50`, `refused: `},
		{"a delayed replica that has no more holds nobody", `
db1 down
  db2 ioerr=2003 recv=1-120 exec=1-120
  db3 delay=1h ioerr=2003 recv=1-120 exec=1-50`, `
stop_receiver db2
stop_receiver db3
promote db2
repoint db3 db2`},
		{"a receiver that waits for relay log space", `
db1 mariadb=10.11.6 down
  db2 ioerr=2003 recv=0-1-120 exec=0-1-120
  db3 full recv=0-1-110 exec=0-1-50 lag=60s`, `
stop_receiver db2
stop_receiver db3
promote db2
repoint db3 db2`},
		{"a channel that is left over from a migration", `
db1 source=old rw io=no sql=no down
  db2 ioerr=2003
  db3 ioerr=2003`, `
stop_receiver db2
stop_receiver db3
promote db2
repoint db3 db2`},
		{"a channel that is only stopped for a while, on a server that takes no writes", `
db1 source=old ro io=no sql=no down
  db2 ioerr=2003`, `
refused: db1:3306 itself replicates from old:3306, which is outside the fleet: a promotion would cut the cluster off from it`},
		{"refused by the primary before it died: they try again at once", `
db1 down
  db2 ioerr=1045 io=connecting
  db3 ioerr=1040 io=connecting`, `
restart_receiver db2
restart_receiver db3
wait: what is done next depends on whether they reach db1:3306: if they do, nothing; if they can't, another server is promoted`},
		{"receivers that somebody stopped: what helps is said", `
db1 down
  db2 io=no
  db3 io=no`, `
wait: db1:3306, the primary of cluster db1:3306, does not answer us, and is not proved dead: none of its 2 replicas can tell. Somebody stopped the receivers of db2:3306, db3:3306: start one of them (`},
		{"a hung intermediate is challenged as a primary is", `
db1
  db2 down=timeout since=20s
    db3
    db4
  db5`, `
restart_receiver db3
restart_receiver db4
wait: what is done next depends on whether they reach db2:3306: if they do, nothing; if they can't, they are moved under another source`},
		{"an intermediate that answers only us", `
db1
  db2
    db3 ioerr=2003
    db4 ioerr=2003
  db5`, `
repoint db3 db1
repoint db4 db1`},
		{"an intermediate that was started a moment ago: they are about to connect", `
db1
  db2 started=20s
    db3 ioerr=2003
    db4 ioerr=2003
  db5`, `
wait: db2:3306 was started`},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := strings.TrimSpace(c.want)
			if got := told(plan.Preview(situation(c.drawing))); got != want && (!strings.Contains(want, ":") ||
				strings.HasSuffix(want, "db1") || !strings.HasPrefix(got, want)) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestAPrimaryThatNeverAnsweredIsReplacedOnRequestOnly(t *testing.T) {
	s := situation(`
db1 never
  db2 ioerr=2003`)
	if d := plan.Next(s); len(d.Steps()) > 0 || !strings.Contains(strings.Join(d.Refused(), ""), "never answered") {
		t.Errorf("%+v", d)
	}
	s.Requests = []plan.Request{{ID: "r", Kind: plan.Recover, Server: key("db1"), By: "ann", At: s.Snapshot.At}}
	if d := plan.Next(plan.Situate(s.Facts)); len(d.Steps()) == 0 {
		t.Errorf("on request: %+v", d)
	}
}

// waitsElsewhere is an error that says nothing against the server.
type waitsElsewhere struct{ error }

func (waitsElsewhere) Elsewhere() bool { return true }

func TestTheNextBestIsTakenAfterStepsFail(t *testing.T) {
	backup := errors.New("3857: the instance is locked for backup")
	at := func(host string, took time.Duration) plan.Done {
		return plan.Done{Step: plan.Step{Kind: plan.Promote, At: key(host)}, Took: took, Error: "3857: locked"}
	}
	const drawn = `
db1 down of=c
  db2 io=no ioerr=2003
  db3 io=no ioerr=2003
  db4 io=no ioerr=2003`
	e := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen, Opened: time.Now(),
		Touched: []topology.Key{key("db2"), key("db3"), key("db4")}, Candidate: key("db2")}
	once := e.Tried(at("db2", 0), backup)
	for _, c := range []struct {
		name string
		e    plan.Episode
		want string
	}{
		{"one failure may be a moment's trouble", once, "promote db2"},
		{"two are not", once.Tried(at("db2", 0), backup), "promote db3"},
		{"one that took long is enough", e.Tried(at("db2", 3*time.Second), backup), "promote db3"},
		{"a success ends it", once.Tried(at("db2", 0), nil).Tried(at("db2", 0), backup), "promote db2"},
		{"what it waits for comes with time", once.Tried(at("db2", 0), waitsElsewhere{backup}), "promote db2"},
		{"the next one fails too", once.Tried(at("db2", 0), backup).Tried(at("db3", 3*time.Second), backup),
			"promote db4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(plan.Previewed{Steps: plan.Next(under(drawn, c.e)).Steps()}); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// A receiver that does not stop, on a replica that is not needed, keeps no writer waiting.
func TestAReceiverThatDoesNotStop(t *testing.T) {
	e := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Committed,
		Opened: time.Now(), Touched: []topology.Key{key("db2"), key("db3")},
		Failing: []plan.Failing{{Key: key("db3"), Times: 2, Why: "too many connections"}}}
	got := told(plan.Previewed{Steps: plan.Next(under(`
db1 down of=c
  db2 io=no ioerr=2003
  db3 ioerr=2003`, e)).Steps()})
	if got != "promote db2\nstop_receiver db3" {
		t.Errorf("got\n%s", got)
	}
}
