package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// worded is a decision in the words in which it is done at the servers.
func worded(steps []plan.Step) string {
	var out []string
	for _, s := range steps {
		line := fmt.Sprintf("%s %s", s.Kind, s.At.Host)
		for _, k := range []topology.Key{s.From, s.Expect.NotFrom, s.Expect.Source, s.Source} {
			if !k.IsZero() {
				line += " " + k.Host
			}
		}
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// What is planned for a key is done at a server by the name that the server itself has for it.
func TestOneServerUnderAllItsNames(t *testing.T) {
	for _, c := range []struct{ name, drawing, want string }{
		{"seeded by address, followed by name", `
10.0.0.1 names=db1.shop.example down
  db2 ioerr=2003 spelt=db1.shop.example
  db3 ioerr=2003 spelt=db1.shop.example`, `
stop_receiver db2 db1.shop.example db1.shop.example
stop_receiver db3 db1.shop.example db1.shop.example
promote db2 db1.shop.example db1.shop.example
repoint db3 db2`},
		{"each replica has another name for it", `
10.0.0.1 names=db1+vip down
  db2 ioerr=2003 spelt=db1
  db3 ioerr=2003 spelt=vip
  db4 ioerr=2003`, `
stop_receiver db2 db1 db1
stop_receiver db3 vip vip
stop_receiver db4 10.0.0.1 10.0.0.1
promote db2 db1 db1
repoint db3 db2
repoint db4 db2`},
		{"a name of the drawing is a server's", `
db1 names=10.0.0.1 down
  db2 ioerr=2003
db3 of=db1 source=10.0.0.1 ioerr=2003`, `
stop_receiver db2 db1 db1
stop_receiver db3 10.0.0.1 10.0.0.1
promote db2 db1 db1
repoint db3 db2`},
		{"seems connected: restarted by its own name for it", `
db1 names=2001:db8::1 down=timeout since=9s
  db2 spelt=[2001:db8::1]:3306
  db3`, `
restart_receiver db2 2001:db8::1 2001:db8::1
restart_receiver db3 db1 db1`},
		{"an intermediate by its short name", `
db1
  db2.example names=db2 down
    db3 ioerr=2003 spelt=db2
    db4 ioerr=2003`, `
repoint db3 db1
repoint db4 db1`},
		{"what can't follow is detached by its own name", `
db1 names=vip down
  db2 ioerr=2003 prefer
  db3 ioerr=2003 spelt=vip exec=1-100 mysql=8.0.36`, `
stop_receiver db2 db1 db1
stop_receiver db3 vip vip
promote db3 vip vip
repoint db2 db3`},
		{"the candidate's key has led to another server: its other name is written", `
db1 down
  vip names=db2 doubtful=vip ioerr=2003 prefer
  db3 ioerr=2003`, `
stop_receiver db3 db1 db1
stop_receiver vip db1 db1
promote vip db1 db1
repoint db3 db2`},
		{"no name leads to the preferred one alone: another is promoted, which all can follow", `
db1 down
  vip doubtful=vip ioerr=2003 prefer
  db3 ioerr=2003`, `
stop_receiver db3 db1 db1
stop_receiver vip db1 db1
promote db3 db1 db1
repoint vip db3`},
		{"no name leads to the one that alone has the data: it is promoted, and the replica is named as lost", `
db1 down
  vip doubtful=vip ioerr=2003
  db3 ioerr=2003 exec=1-90 recv=1-90`, `
stop_receiver db3 db1 db1
stop_receiver vip db1 db1
promote vip db1 db1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan.Preview(situation(c.drawing))
			if got := worded(p.Steps); got != strings.TrimSpace(c.want) {
				t.Errorf("got\n%s\nwant%s\n%s", got, c.want, told(p))
			}
		})
	}
}

// The daemon that wrote the record kept the servers under other names.
func TestARecordIsReadUnderAnyName(t *testing.T) {
	s := under(`
db1 names=10.0.0.1 down uuid=aaaaaaaa-1111-1111-1111-111111111111
  db2 names=10.0.0.2 io=no spelt=10.0.0.1
  db3 names=10.0.0.3 io=no
`, plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("10.0.0.1"), Stage: plan.Chosen,
		FailedUUID: "aaaaaaaa-1111-1111-1111-111111111111", Candidate: key("10.0.0.2"),
		Touched: []topology.Key{key("10.0.0.2"), key("db3")}})
	if got, want := worded(plan.Next(s).Steps()), "promote db2 10.0.0.1 10.0.0.1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Another server answers by the name of the failed one: it is not the failed one.
func TestANameThatMovedIsNotTheFailedServer(t *testing.T) {
	s := under(`
db2 names=vip
  db3
`, plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("vip"), Stage: plan.Ended,
		FailedUUID: "aaaaaaaa-1111-1111-1111-111111111111", Candidate: key("db2"),
		Promoted: situation("db1").Snapshot.At, Closed: situation("db1").Snapshot.At, Outcome: "db2 replaces vip"})
	if steps := plan.Next(s).Steps(); len(steps) > 0 {
		t.Errorf("got %v", steps)
	}
}
