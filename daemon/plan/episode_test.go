package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func key(host string) topology.Key { return topology.Key{Host: host, Port: topology.DefaultPort} }

// under is what an episode in this state makes of a drawing.
func under(text string, episodes ...plan.Episode) plan.Situation {
	s := situation(text)
	for i := range episodes {
		episodes[i].Cluster = s.Cluster
	}
	s.Episodes = episodes
	return plan.Situate(s.Facts)
}

func TestContinuation(t *testing.T) {
	at := drawing.MustParse("db1").At
	witnesses := []topology.Key{key("db2"), key("db3")}
	begun := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Committed,
		Touched: witnesses, Opened: at}
	chosen, moving, over := begun, begun, begun
	chosen.Stage, chosen.Candidate = plan.Chosen, key("db2")
	opening, next, troubled, unopened := chosen, chosen, chosen, chosen
	troubled.Candidate = key("db3")
	fetching := chosen
	fetching.Donor = key("db3")
	opening.Opening = []topology.Key{key("db2")}
	next.Candidate, next.Abandoned, next.Opening = key("db3"), opening.Opening, opening.Opening
	moving.Stage, moving.Candidate, moving.Promoted = plan.Promoted, key("db2"), at
	over = moving
	over.Stage, over.Closed = plan.Ended, at
	parted, givenUp, acknowledged := moving, over, over
	parted.Abandoned = []topology.Key{key("db3")}
	givenUp.Touched, givenUp.Abandoned = append(witnesses, key("db4")), []topology.Key{key("db3")}
	acknowledged.Acknowledged = &plan.Acknowledgement{By: "ann"}
	higher := plan.Episode{ID: "i", Kind: plan.IntermediateFailover, Failed: key("db2"), Stage: plan.Committed,
		Touched: []topology.Key{key("db3")}, Opened: at}
	halfMoved := higher
	halfMoved.Candidate = key("db1")
	unfinished := over
	unfinished.Unfinished = true
	passedOver, abandoned := next, next
	abandoned.Opening = nil
	passedOver.Opening = nil
	passedOver.Abandoned = nil
	undone := plan.Episode{ID: "u", Kind: plan.PrimaryFailover, Failed: key("db1"), Closed: at,
		Left: []topology.Key{key("db2")}}
	left := undone
	left.Left = []topology.Key{key("db3")}
	restarting := plan.Episode{ID: "r", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Suspected,
		Challenged: at, Touched: witnesses}
	suspected := plan.Episode{ID: "s", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Suspected,
		Challenged: at.Add(-time.Second)}

	for _, c := range []struct {
		name, drawing string
		episode       plan.Episode
		want          string // steps, then the outcome or the reason
	}{
		{"receivers are stopped: the failover goes on", `
db1 down of=c
  db2 io=no
  db3 io=no`, begun, "promote db2"},
		{"somebody else opened the other one, which lacks something: not a second one beside it", `
db1 down of=c
  db2 io=no recv=1-120 exec=1-120
db3 of=c rw exec=db1:1-100`, begun, "refused: db3:3306 takes writes already, opened by somebody else since db1:3306 fell silent, and is not taken for the new primary: it lacks 20 transactions that others of its cluster have. To promote another server beside it would split the cluster: make db3:3306 read-only, or stop it"},
		{"a replica was moved under one that we can't reach: somebody promoted that", `
db1 down of=c
  db2 io=no
db4 down of=c exec=db1:1-90
  db3`, begun, "refused: db3:3306 follows db4:3306, which is out of reach, and this daemon did not move it there: another daemon, which reaches db4:3306, may have promoted it"},
		{"the best one had a moment's trouble when another was chosen that not all can follow", `
db1 down of=c
  db2 io=no
  db3 io=no nologupdates recv=1-120 exec=1-120
    db4 recv=1-90 exec=1-90
  db5 io=no recv=1-120 exec=1-120`, troubled, "promote db5"},
		{"a candidate that followed another replica was given up, and is back", `
db1 down of=c
db2 of=c rw exec=db1:1-100
  db4
    db3 io=no`, givenUp, "repoint db3 db2"},
		{"who had as much as a replica without GTID is silent: another, which has less, is not promoted", `
db1 down of=c
  db2 down io=no read=binlog.000010:5 exec=1-120 recv=1-120
  db3 io=no nogtid read=binlog.000010:4
  db4 io=no read=binlog.000010:3`, begun, "refused: db3:3306 does not replicate by GTID, and has received up to binlog.000010:4 of db1:3306: no replica with GTID is shown to have as much; allow_received_loss is false, else it would be left behind"},
		{"one that was the candidate below another replica, and was left stopped, is back", `
db1
  db2
    db3 io=no`, left, "start_receiver db3"},
		{"somebody else opened the candidate before it had applied what it received", `
db1 down of=c
  db3 io=no recv=1-120 exec=1-120
db2 of=c rw exec=db1:1-100+db2:1-3`, unopened, "refused: db2:3306 takes writes already, opened by somebody else since db1:3306 fell silent, and is not taken for the new primary: it lacks 20 transactions that others of its cluster have. To promote another server beside it would split the cluster: make db2:3306 read-only, or stop it"},
		{"the candidate that another was adopted in the place of is no longer left stopped", `
db1 down of=c
db2 of=c rw exec=db1:1-100
  db4
    db3 io=no`, passedOver, "repoint db3 db2"},
		{"a former candidate that takes writes is made read-only before another is opened", `
db1 down of=c
db2 of=c rw exec=db1:1-100+db2:1-3
  db4
db3 of=c ro exec=db1:1-100`, abandoned, "fence db2; wait: made read-only first, because it takes writes: db2:3306"},
		{"the only acknowledger was the candidate, and came back emptied", `
db1 down of=c semisync=source,active,wait=1,clients=1
  db3 io=no
db2 of=c ro exec=none semisync=replica`, chosen, "refused: semi-sync: what db1:3306 committed last was acknowledged only by db2:3306, and that is out of reach: a promotion may lose acknowledged transactions; bring it back, or set allow_received_loss"},
		{"the candidate has left the coordinates that a replica without GTID was compared with, to fetch what it lacks", `
db1 down of=c
  db4 down=timeout
    db3 exec=db1:1-120 recv=db1:1-120
      db2 exec=db1:1-100 recv=db1:1-100
  db6 io=no nogtid read=binlog.000010:4`, fetching, "await_applied db2; wait: db2:3306 fetches from db3:3306 what it lacks; db3:3306 is needed by the failover of the primary of db1:3306, which goes first: nobody can write to the cluster until it is over, and what its replicas have received must not change meanwhile"},
		{"a former candidate that was detached because it has more stays so", `
db1 down of=c
db2 of=c rw exec=db1:1-100
  db4
db3 of=c source=//db1 ro io=no sql=no exec=db1:1-120`, parted, "outcome: db2:3306 replaces db1:3306"},
		{"one receiver is left to stop", `
db1 down of=c
  db2 io=no
  db3 io=connecting ioerr=2003`, begun, "stop_receiver db3"},
		{"killed in the middle of the promotion: it has forgotten its source and is not open yet", `
db1 down of=c
  db3 io=no
db2 of=c ro exec=db1:1-100`, chosen, "promote db2"},
		{"killed after the promotion: it is not done again, nor to another", `
db1 down of=c
  db3 io=no
db2 of=c rw exec=db1:1-100`, chosen, "repoint db3 db2"},
		{"killed in the middle of a repoint: changed, not started", `
db1 down of=c
db2 of=c rw exec=db1:1-100
  db3 io=no`, moving, "repoint db3 db2"},
		{"the same, and it keeps the error of the receiver that was stopped", `
db1 down of=c
db2 of=c rw exec=db1:1-100
  db3 ioerr=2003 io=no`, moving, "repoint db3 db2"},
		{"everybody is moved", `
db1 down of=c
db2 of=c rw exec=db1:1-100
  db3`, moving, "outcome: db2:3306 replaces db1:3306"},
		{"the primary answers before another server was promoted", `
db1 of=c
  db2 io=no
  db3 io=no`, begun, "start_receiver db2; start_receiver db3; wait: db1:3306 answers again before another server was promoted: the replicas go back to it"},
		{"the same, and its replicas keep the error of their receivers", `
db1 of=c
  db2 ioerr=2003 io=no
  db3`, begun, "start_receiver db2; wait: db1:3306 answers again before another server was promoted: the replicas go back to it"},
		{"it answers, and all receive again", `
db1 of=c
  db2
  db3`, begun, "outcome: db1:3306 answered again before another server was promoted"},
		{"it answers, and the candidate, perhaps open, does not", `
db1 of=c
  db3 io=no
db2 of=c down`, opening, "refused: db1:3306 answers again, and db2:3306, which may have been opened for writes already, does not: both may take writes"},
		{"it answers, and the candidate, not told to take writes yet, does not", `
db1 of=c
  db3 io=no
db2 of=c down`, chosen, "start_receiver db3; wait: db1:3306 answers again before another server was promoted: the replicas go back to it"},
		{"it answers, and a former candidate, perhaps open, does not", `
db1 of=c
  db3 io=no
db2 of=c down`, next, "refused: db1:3306 answers again, and db2:3306, which may have been opened for writes already, does not: both may take writes"},
		{"it answers, and a former candidate, which takes writes, lacks something", `
db1 of=c exec=1-100
  db3 io=no exec=1-100
db2 rw of=c exec=1-90`, next, "fence db2; wait: db1:3306 answers again, and db2:3306, which was opened in its place, is not taken for the new primary"},
		{"the candidate falls silent: the next one", `
db1 down of=c
  db2 down io=no
  db3 io=no`, chosen, "promote db3"},
		{"the new primary falls silent before the others were moved", `
db1 down of=c
  db3 io=no
db2 of=c down`, moving, "outcome: db2:3306 was promoted, and fell silent before the other replicas were moved; left: db3"},
		{"a replica that has more is detached, reversibly", `
db1 down of=c
  db3 io=no recv=1-105 exec=1-105
db2 of=c rw exec=db1:1-100`, moving, "detach db3"},
		{"a replica that has more, and has not applied it, keeps its relay logs", `
db1 down of=c
  db3 io=no recv=1-105 exec=1-100
db2 of=c rw exec=db1:1-100`, moving, "outcome: db2:3306 replaces db1:3306; 1 replica left behind"},
		{"a replica that is older than the new primary is detached", `
db1 down of=c mysql=8.0.36
  db3 io=no mysql=8.0.36
db2 of=c rw mysql=8.4.0 exec=db1:1-100`, moving, "detach db3"},
		{"several sources are left alone", `
db1 down of=c
  db3 io=connecting ioerr=2003 also=db9
db2 of=c rw exec=db1:1-100`, moving, "outcome: db2:3306 replaces db1:3306; 1 replica left behind"},
		{"the failed primary comes back writable", `
db1 of=c
db2 of=c rw exec=db1:1-100
  db3`, over, "fence db1"},
		{"it comes back writable while the others are being moved", `
db1 of=c
  db3 io=no
db2 of=c rw exec=db1:1-100`, moving, "fence db1; repoint db3 db2"},
		{"it comes back read-only", `
db1 of=c ro
db2 of=c rw exec=db1:1-100
  db3`, over, "updated"},
		{"it comes back, and the failover was acknowledged", `
db1 of=c
db2 of=c rw exec=db1:1-100
  db3`, acknowledged, ""},
		{"a replica comes back that still follows the failed primary", `
db1 down of=c
  db3 io=connecting ioerr=2003
db2 of=c rw exec=db1:1-100
  db4`, over, "repoint db3 db2"},
		{"the new primary is silent, a replica of the old one is back: only its own replica can witness", `
db1 down of=c
  db3 io=connecting ioerr=2003
db2 of=c down=timeout
  db4`, over, "restart_receiver db4; wait: what is done next depends on whether they reach db2:3306: if they do, nothing; if they can't, another server is promoted"},
		{"the new primary died before anybody followed it", `
db1 down of=c
  db3 io=connecting ioerr=2003
db2 of=c down`, over, "stop_receiver db3"},
		{"the replica of an intermediate that has moved", `
db1
  db2 down
  db3`, higher, "outcome: the replicas of db2:3306 follow db1:3306"},
		{"the intermediate answers again", `
db1
  db2
    db3`, higher, "outcome: db2:3306 answers again"},
		{"the intermediate answers again, and a replica that was stopped for a restart does not", `
db1
  db2
    db3 io=no down=timeout`, higher, "outcome: db2:3306 answers again; left: db3"},
		{"a replica reached the primary: it lives", `
db1 down=timeout since=3s
  db2
  db3`, suspected, "wait: db2:3306 reconnected to db1:3306 1s ago, so db1:3306 is alive, and only this daemon can't reach it"},
		{"a replica that was out of reach when the others were started again", `
db1
  db2 io=no
  db3`, undone, "start_receiver db2"},
		{"it receives", `
db1
  db2
  db3`, undone, "updated"},
		{"refused by its own port, a moment ago", `
db1 down since=100ms
  db2
  db3`, suspected, "wait: db1:3306 has been out of reach for only 100ms"},
		{"those who could witness are gone too", `
db1 down
  db2 down
  db3 down`, suspected, "wait: no witness: db1:3306 and all its replicas are out of reach, so it may be our own network that is down: look from another host, and bring one of the servers back"},
		{"downtime begins while it is suspected", `
db1 down=timeout since=2s downtime=1h
  db2
  db3`, suspected, "refused: downtime: db1:3306 is in downtime until 2026-01-01T01:00:10Z (somebody: work); to have " +
			"it done all the same: orchestrator-client recover db1:3306 [--candidate SERVER] --reason TEXT"},
		{"a replica receives again, although we can't reach the primary", `
db1 down=timeout of=c
  db2
  db3 io=no`, begun, "start_receiver db3; wait: db1:3306 answers again before another server was promoted: the replicas go back to it"},
		{"a replica came back after the others were stopped", `
db1 down of=c
  db2 io=no
  db3 io=no
  db4 io=connecting ioerr=2003`, begun, "stop_receiver db4"},
		{"several sources are not stopped", `
db1 down of=c
  db2 io=no
  db3 io=connecting ioerr=2003 also=db9`, begun, "promote db2"},
		{"nobody is left to be promoted", `
db1 down of=c
  db2 io=no must_not
  db3 io=no nobinlog`, begun, "refused: no replica of db1:3306 can be promoted; refused: db2:3306: its promotion rule is must_not; to lift that: orchestrator-client rule set db2:3306 neutral; refused: db3:3306: it has no binary log (log_bin is off)"},
		{"the candidate fetches what it lacks", `
db1 down of=c
  db3 io=no exec=db1:1-120
    db2 exec=db1:1-100 recv=db1:1-100`, chosen, "await_applied db2; wait: db2:3306 fetches from db3:3306 what it lacks"},
		{"without GTID it can't be moved", `
db1 down of=c
  db3 io=no nogtid
db2 of=c rw exec=db1:1-100`, moving, "outcome: db2:3306 replaces db1:3306; 1 replica left behind"},
		{"a replica is out of reach when the others are started again", `
db1 of=c
  db2 down io=no
  db3`, begun, "outcome: db1:3306 answered again before another server was promoted; left: db2"},
		{"what was done by half is finished when the new primary is back", `
db1 down of=c
db2 of=c rw exec=db1:1-100
  db3 io=no`, unfinished, "repoint db3 db2"},
		{"the replica of a dead intermediate that has found it again stays", `
db1
  db2 down=timeout since=9s
    db3
    db4 io=connecting ioerr=2003`, higher, "repoint db4 db1"},
		{"moved and not started when its new source fell silent, too", `
db1 down=timeout since=200ms
  db2 down
  db3 io=no
  db4`, halfMoved, "start_receiver db3; wait: db1:3306 has been out of reach for only 200ms"},
		{"nobody above an intermediate", `
db1 down
  db2 down
    db3 io=connecting ioerr=2003`, higher, "refused: no witness: db1:3306 and all its replicas are out of reach; db3:3306 answers, so not all of our network is down, but it did not follow db1:3306 itself, so it can't tell whether that lives: bring one of the replicas back, or, if you know that db1:3306 is dead for good, promote db3:3306 or another by hand; refused: no living server above db2:3306 can take its replicas: bring it back, or a server above it"},
		{"a replica of an intermediate is out of reach", `
db1
  db2 down
    db3 down`, higher, "outcome: the replicas of db2:3306 follow db1:3306; 1 replica left behind; left: db3"},
		{"a replica that was left is still out of reach", `
db1
  db2 down io=no
  db3`, undone, ""},
		{"killed between the halves of a restart", `
db1 down=timeout since=1s
  db2 io=no
  db3`, restarting, "start_receiver db2"},
		{"the same, and the primary answers", `
db1
  db2 io=no
  db3`, restarting, "start_receiver db2; wait: db1:3306 answers again before another server was promoted: the replicas go back to it"},
		{"it answers again", `
db1
  db2
  db3`, suspected, "outcome: db1:3306 answered again before another server was promoted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := under(c.drawing, c.episode)
			if c.episode.ID == "" {
				s = under(c.drawing)
			}
			d := plan.Next(s)
			var got []string
			for _, step := range d.Steps() {
				line := string(step.Kind) + " " + step.At.Host
				if !step.Source.IsZero() {
					line += " " + step.Source.Host
				}
				got = append(got, line)
			}
			for _, r := range d.Refused() {
				got = append(got, "refused: "+r)
			}
			if len(d.Refused()) == 0 && d.Wait() != "" {
				got = append(got, "wait: "+d.Wait())
			}
			for _, w := range d.Works {
				switch {
				case w.Kind == plan.Aftercare && len(w.Steps) == 0:
					got = append(got, "updated")
				case w.Kind != plan.Aftercare && w.Outcome() != "":
					got = append(got, "outcome: "+w.Outcome())
					for _, k := range w.Episode.Left {
						got = append(got, "left: "+k.Host)
					}
				}
			}
			if text := strings.Join(got, "; "); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

// The one who promoted first had a clock that was an hour ahead.
func TestTheLastPromotionIsTheLastWhateverClocksSay(t *testing.T) {
	const drawn = `
db1 down of=c
db2 down of=c
db3 of=c rw exec=db1:1-100`
	at := drawing.MustParse(drawn).At
	first := plan.Episode{ID: "e1", Kind: plan.PrimaryFailover, Failed: key("db1"), Candidate: key("db2"),
		Stage: plan.Ended, Promoted: at.Add(time.Hour), Closed: at.Add(time.Hour)}
	second := plan.Episode{ID: "e2", Kind: plan.PrimaryFailover, Failed: key("db2"), Candidate: key("db3"),
		Stage: plan.Chosen, Touched: []topology.Key{key("db3")}}
	d := plan.Next(under(drawn, second, first))
	if len(d.Steps()) > 0 {
		t.Errorf("steps %v", d.Steps())
	}
	if k := plan.PromotedLast([]plan.Episode{first, *d.Works[0].Episode}); k != key("db3") {
		t.Errorf("%v counts as promoted last", k)
	}
	if d = plan.Next(under(drawn, second)); d.Works[0].Episode.Promoted != at {
		t.Errorf("promoted at %v, want %v: nobody was before", d.Works[0].Episode.Promoted, at)
	}
}

func TestAChallengeByAClockThatWasAhead(t *testing.T) {
	const drawn = `
db1 down=timeout since=2s
  db2
  db3`
	at := drawing.MustParse(drawn).At
	e := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Suspected,
		Challenged: at.Add(time.Hour)}
	if d := plan.Next(under(drawn, e)); len(d.Steps()) != 2 || d.Steps()[0].Kind != plan.RestartReceiver {
		t.Errorf("got %v, wait %q", d.Steps(), d.Wait())
	}
}

func TestDrainThatNeverEndsIsAnAlarm(t *testing.T) {
	const drawn = `
db1 down of=c
  db2 io=no recv=1-120 exec=1-110
  db3 io=no recv=1-120 exec=1-105`
	e := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db1"), Stage: plan.Chosen,
		Candidate: key("db2"), Touched: []topology.Key{key("db2"), key("db3")}}
	s := under(drawn, e)
	s.Episodes[0].DrainSince = s.Snapshot.At.Add(-time.Minute)
	if d := plan.Next(s); d.Steps()[0].Kind != plan.AwaitApplied ||
		!strings.Contains(d.Works[0].Episode.Blocked, "10 transactions are left") {
		t.Errorf("got %v, blocked %q: it must go on waiting, and say so", d.Steps(), d.Works[0].Episode.Blocked)
	}
	s.Policy.AllowReceivedLoss = true
	if d := plan.Next(s); d.Steps()[0].Kind != plan.Promote ||
		!strings.Contains(d.Works[0].Bound, "10 received transactions are dropped") {
		t.Errorf("got %v, bound %q: the policy allows the loss", d.Steps(), d.Works[0].Bound)
	}
	s = under(strings.Replace(drawn, "exec=1-105", "exec=1-120", 1), e)
	if d := plan.Next(s); d.Works[0].Episode.Candidate != key("db3") {
		t.Errorf("%v is kept, although db3 has applied everything", d.Works[0].Episode.Candidate)
	}
}

func TestOnPaper(t *testing.T) {
	s := drawing.MustParse("db1\n  db2")
	for _, step := range []plan.Step{{Kind: plan.Fence, At: key("db1")}, {Kind: plan.Detach, At: key("db2")},
		{Kind: plan.Detach, At: key("db2")}, {Kind: plan.Promote, At: key("nobody")}} {
		plan.Pretend(&s, step)
	}
	if v := s.Server(key("db1")).Instance; !v.ReadOnly || !v.SuperReadOnly {
		t.Errorf("fenced is %+v", v)
	}
	if c := s.Server(key("db2")).Channel(); c.Source.Host != "//db1" || c.IO != topology.Stopped {
		t.Errorf("detached is %+v", c)
	}
	s = drawing.MustParse("db1\n  db2")
	plan.Pretend(&s, plan.Step{Kind: plan.RestartReceiver, At: key("db2")})
	if c := s.Server(key("db2")).Channel(); c.IO != topology.Running {
		t.Errorf("a receiver of a living source says %v", c.IO)
	}
}

func TestReadiness(t *testing.T) {
	s := situation(`
db1
  db2 nobinlog
  db3 prefer`)
	if p := plan.IfDies(s, key("db1")); !p.Ready() || p.Main().Promoted() != key("db3") ||
		p.After.Server(key("db3")).Instance.ReadOnly {
		t.Errorf("got %+v", p)
	}
	s.Policy = plan.Policy{}
	s = plan.Situate(s.Facts)
	if p := plan.IfDies(s, key("db1")); p.Ready() || len(p.Main().Candidates) != 2 {
		t.Errorf("ready without a policy: %+v", p)
	}
	if got := plan.Rank(s, key("db1")); got[0].Key != key("db3") || got[1].Eligible {
		t.Errorf("ranking %+v", got)
	}
	if slices.ContainsFunc([]plan.StepKind{plan.StopReceiver, plan.RestartReceiver, plan.AwaitApplied, plan.Fence},
		plan.StepKind.Irreversible) || !plan.Promote.Irreversible() {
		t.Error("what can be taken back is not irreversible")
	}
}
