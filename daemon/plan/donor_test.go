package plan_test

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// A candidate that reaches no donor is given up once. Two of them do not take turns: nobody is promoted, and the reason
// says what a person can do. One that connects after all goes on.
func TestADonorThatIsNotReached(t *testing.T) {
	const cluster = `
db1 down of=c
  db4 io=no recv=1-120 exec=1-120 must_not
    db2 io=connecting ioerr=2005 recv=1-110 exec=1-110
    db3 IO recv=1-110 exec=1-110`
	const refused, waiting, on = "io=connecting ioerr=2003", "io=connecting", "io=yes"
	pair := func(k string) plan.Unreached { return plan.Unreached{Key: key(k), Donor: key("db4")} }
	for _, c := range []struct {
		name, io  string
		candidate string
		since     time.Duration
		gaveUp    []plan.Unreached
		want, say string
	}{
		{"the first is waited for", refused, "db2", time.Second / 2, nil, "await_applied db2", ""},
		{"then it is given up", refused, "db2", 2 * time.Second, nil, "await_applied db3", ""},
		{"the second is given up, too", refused, "db3", 2 * time.Second, []plan.Unreached{pair("db2")}, "refused",
			"can't connect (2003)); to go on, have db3:3306 replicate from db4:3306"},
		{"and none is chosen again", waiting, "db3", 0, []plan.Unreached{pair("db2"), pair("db3")}, "refused",
			"db3:3306 has not connected to it within 1s; to go on"},
		{"one that connects goes on", on, "db3", 0, []plan.Unreached{pair("db2"), pair("db3")},
			"await_applied db3", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen,
				Touched:   []topology.Key{key("db2"), key("db3"), key("db4")},
				Candidate: key(c.candidate), Donor: key("db4"), Unreached: c.gaveUp}
			if at := situation("db1").Snapshot.At; c.since > 0 {
				e.DrainSince = at.Add(-c.since)
			}
			d := plan.Next(under(strings.Replace(cluster, "IO", c.io, 1), e))
			got := works(d)
			if !strings.Contains(got, c.want) || c.say != "" && !strings.Contains(d.Works[0].Episode.Blocked, c.say) {
				t.Errorf("got %s\nblocked: %s", got, d.Works[0].Episode.Blocked)
			}
		})
	}
}
