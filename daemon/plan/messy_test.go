package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
)

// messy is a situation that nobody has thought of: what the preview of it must say, and what it must not.
type messy struct{ name, drawing, wants, not string }

// saved is the situation of the first cluster of a drawing that may have episodes and policies.
func saved(t *testing.T, text string) plan.Situation {
	t.Helper()
	s, err := drawing.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return plan.Situate(s.Facts(allowing, analysis.Defaults)[0])
}

func try(t *testing.T, cases []messy) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := plan.Preview(saved(t, c.drawing))
			got := told(p)
			for _, w := range p.Works {
				got += "\n" + w.Outcome() + "\n" + w.Bound
				for _, s := range w.Steps {
					got += "\n" + s.Why
				}
			}
			if !strings.Contains(got, c.wants) || c.not != "" && strings.Contains(got, c.not) {
				t.Errorf("want %q, and not %q: got\n%s", c.wants, c.not, got)
			}
		})
	}
}

func TestWhoeverTakesWritesInAMess(t *testing.T) {
	const former = "11111111-1111-1111-1111-111111111111:1-1000"
	try(t, []messy{
		{"two people have opened a replica each: neither is taken", `
db1 down since=30s
  db2 ioerr=2003
db3 of=db1 rw left=db1,10s exec=db1:1-100+db3:1-5
db4 of=db1 rw left=db1,8s exec=db1:1-100+db4:1-3`, "db3:3306, db4:3306 take writes already", "repoint"},
		{"a copy with the server id of the primary, whose own writes look like those of it", `
db1 mariadb=10.11.6 down since=20s
  db2 ioerr=2003
db9 of=db1 mariadb=10.11.6 id=1 rw exec=0-1-150`, "promote db2", "db9"},
		{"a copy that has more replicas than the primary", `
db1 down since=20s
  db2 ioerr=2003
db4 of=db1 rw exec=db1:1-90+db4:1-50
  db5
  db6`, "it was no replica of db1:3306 when that fell silent", "repoint"},
		{"an operator names a scratch server", twoReplicas + `
db4 of=db1 rw exec=db1:1-100
request recover db1 by=ann candidate=db4`, "ann named db4:3306 to be promoted, which is no replica", "promote db"},
		{"nothing but a scratch server is left", `
db1 down since=30s
  db2 down since=30s
db4 of=db1 rw exec=db1:1-100+db4:1-5`, "db4:3306 answers, so not all of our network is down", "repoint"},
		{"an emptied primary dies: what its replicas have is not errant", `
db1 down exec=db1:1-3 uuid=new
  db2 ioerr=2003 exec=` + former + ` recv=` + former + `
  db3 ioerr=2003 exec=` + former + ` recv=` + former, "promote db2", "errant"},
	})
}

func TestFencingInAMess(t *testing.T) {
	const ended = "\nepisode primary_failover db1 candidate=db2 promoted=24h closed=23h fenced=23h outcome=x"
	try(t, []messy{
		{"people have switched back by hand: the primary is not fenced", `
db1
  db2 promoted of=db1
  db3` + ended, "", "fence"},
		{"the same, and it is in a circle", `
db2 promoted source=db1
  db1 rw` + ended, "", "fence"},
		{"a co-primary that takes writes, too, is fenced", `
db2 promoted source=db1 rw
  db1 rw` + ended, "fence db1", "fence db2"},
		{"it is back below a replica", `
db2 promoted
  db3
    db1 rw` + ended, "fence db1", "fence db3"},
		{"it is back while the one that replaced it is down", `
db2 promoted down
  db3 ioerr=2003
db1 of=db2 rw` + ended, "fence db1", "fence db3"},
		{"writable replicas, in all tiers, before another is opened", `
db1 down since=20s
  db2 ioerr=2003
  db3 rw ioerr=2003
    db4 rw`, "fence db3\nfence db4\npromote db2", "promote db3"},
	})
}

func TestDoneInAMess(t *testing.T) {
	const promoted = "\ndb1 of=db2 down\nepisode primary_failover db1 candidate=db2 touched=db3+db4 promoted=2s"
	const moved = "\ndb2 of=db1 down source=db1\nepisode intermediate_failover db2 candidate=db1 touched=db3 opened="
	try(t, []messy{
		{"a lock of the whole server on the promoted one: nobody can write", `
db2 promoted stalled=lock,20s
  db3` + promoted, "its commits hang, so no client can write. A session holds a lock", "replaces"},
		{"a replica whose host may not connect", `
db2 promoted
  db3 io=connecting ioerr=1130` + promoted, "it can't connect: error 1130", "receiver stopped"},
		{"a replica of a dead intermediate source is refused where it was moved to", `
db1
  db3 io=connecting ioerr=1045` + moved + "3s", "lost: db3 it can't connect: error 1045", ""},
		{"one whose new source has purged what it lacks", `
db1
  db3 ioerr=1236` + moved + "3s", "its new source can't send what it lacks: rebuild it", ""},
		{"one that connects still", `
db1
  db3 io=connecting io_since=100ms` + moved + "1m", "wait: db3:3306 connects to db1:3306", ""},
		{"one with the server id of another goes last, so that all can follow", `
db1 down
  db2 id=7 ioerr=2003
  db3 id=7 ioerr=2003
  db4 ioerr=2003`, "promote db4\nrepoint db2 db4\nrepoint db3 db4", "lost:"},
		{"the promoted one takes no writes", `
db2 promoted ro
  db3` + promoted, "if it should be the primary, set its read_only to 0", "promote db3"},
	})
}

func TestRefusalsInAMess(t *testing.T) {
	try(t, []messy{
		{"a dead primary that nobody follows, and a living server", `
db2 promoted down since=20s
db1 of=db2 ro`, "bring it back, or promote db1:3306 by hand and lose that", "those who could tell"},
		{"one that stays so", `
db2 promoted down since=20s
db1 of=db2 ro
episode primary_failover db2 opened=9s blocked="it was so before"`, "promote db1:3306 by hand", "those who could tell"},
		{"both receivers were stopped", `
db1 down since=20s
  db2 io=no sqlerr=1062
  db3 io=no`, "the receivers of db2:3306, db3:3306: start one of them", ""},
	})
}

func TestAPrimaryThatNeverAnswered(t *testing.T) {
	const never = `
db1 never down since=20s
  db2 ioerr=2003
  db3 ioerr=2003`
	const named = "\npolicy recover_primary members="
	try(t, []messy{
		{"nobody has told which replicas it has", never, "or name all members of the cluster in the policy", "promote"},
		{"the policy names all, and all others have answered", never + named + "db1+db2+db3", "promote db2", "refused"},
		{"one that is named is not known", never + named + "db1+db2+db3+db4", "nor has db4:3306", "promote"},
		{"one that is named has never answered", never + "\ndb4 of=db1 never down" + named + "db1+db2+db3+db4",
			"nor has db4:3306", "promote"},
		{"one is not named", never + named + "db1+db2", "db3:3306 is not among the members", "promote"},
	})
}

// Of equals, one near the failed primary is promoted. A promotion rule weighs more.
func TestOneWithTheSameTagGoesFirst(t *testing.T) {
	const tag = "\npolicy recover_primary same_tag=dc"
	const two = `
db1 tag=dc:east down
  db2 tag=dc:west ioerr=2003 recv=1-101`
	try(t, []messy{
		{"it fetches what it lacks",
			two + "\n  db3 tag=dc:east ioerr=2003" + tag, "promote db3\nrepoint db2", "promote db2"},
		{"no policy wants that",
			two + "\n  db3 tag=dc:east ioerr=2003\npolicy recover_primary", "promote db2", "promote db3"},
		{"a rule against it", two + "\n  db3 tag=dc:east ioerr=2003 prefer_not" + tag, "promote db2", "promote db3"},
		{"the failed one has no such tag", "\ndb1 down\n  db2 ioerr=2003\n  db3 tag=dc:east ioerr=2003" + tag,
			"promote db2", "promote db3"},
	})
}

// What only a person can set right is named beside what is done.
func TestWhatThePlanCantReachIsNamed(t *testing.T) {
	try(t, []messy{
		{"a replica that takes writes, and is silent",
			"db1 down\n  db2 ioerr=2003\n  db3 rw down",
			"db3:3306 took writes when it last answered, and can't be made read-only", ""},
		{"a silent replica that was read-only", "db1 down\n  db2 ioerr=2003\n  db3 down", "", "took writes"},
		{"a source that is no name", "db1 down\n  db2 ioerr=2003\n" +
			"db3 of=db1 source=unknown unusable=\"source \\\"db1:33\\\"\" ioerr=2005",
			`db3:3306 follows an unknown source, because what it says is no name (source "db1:33")`, ":0"},
		{"scheduled events are stopped with a fence", "db2 mariadb=10.11.6 promoted\n  db3\n" +
			"db1 of=db2 mariadb=10.11.6 rw scheduler\nepisode primary_failover db1 candidate=db2 stage=ended " +
			"promoted=1m closed=1m", "it must not take writes; its event scheduler is turned off", ""},
		{"a name that we can't resolve, of a primary that never answered",
			"db1 of=db1 never down=no_such_host since=20s\n  db2\n  db3",
			"this daemon can't resolve the name of db1:3306, which says nothing of the server", ""},
	})
}
