package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func TestStepsSayWhatTheyAreAndLack(t *testing.T) {
	whole := plan.Step{At: key("db1"), From: key("db2"), Source: key("db3"), Set: gtid.MustParse("0-1-5"),
		Table:  "meta.heartbeat",
		Expect: plan.Expect{NotFrom: key("db2")}}
	for _, c := range []struct {
		kind        plan.StepKind
		says, lacks string
	}{
		{plan.RestartReceiver, "restart the receiver of db1:3306", "the source of its channel"},
		{plan.StopReceiver, "stop the receiver of db1:3306", "the source of its channel"},
		{plan.StartReceiver, "start the receiver of db1:3306", "the source of its channel"},
		{plan.StartApplier, "start the applier of db1:3306", ""},
		{plan.AwaitApplied, "wait until db1:3306 has applied what it received", "what must be applied"},
		{plan.Promote, "open db1:3306 for writes", "the server from which it must not receive"},
		{plan.Repoint, "have db1:3306 replicate from db3:3306", "the new source"},
		{plan.Fence, "make db1:3306 read-only", ""},
		{plan.Detach, "detach db1:3306 from db2:3306, so that it can be attached again", "the source of its channel"},
		{plan.SemiSyncOn, "have commits at db1:3306 wait for acknowledgements", ""},
		{plan.SemiSyncOff, "have commits at db1:3306 go on without acknowledgements", ""},
		{plan.TryWrite, "commit a row at db1:3306, to see that it takes writes", "the table to write to"},
	} {
		if !slices.Contains(plan.StepKinds(), c.kind) {
			t.Errorf("%s is not among the kinds", c.kind)
		}
		step := whole
		step.Kind = c.kind
		if err := step.Check(); err != nil || step.Says() != c.says {
			t.Errorf("%s: %v, says %q", c.kind, err, step.Says())
		}
		err := plan.Step{Kind: c.kind, At: key("db1")}.Check()
		if c.lacks == "" != (err == nil) || err != nil && !strings.HasSuffix(err.Error(), "does not name "+c.lacks) {
			t.Errorf("%s without parameters: %v", c.kind, err)
		}
	}
	unknown := plan.Step{Kind: "explode", At: key("db1")}
	if unknown.Check() == nil || !unknown.Kind.Irreversible() || unknown.Says() != "explode at db1:3306" {
		t.Errorf("of a kind that is not known: %v, %q", unknown.Check(), unknown.Says())
	}
	s := situation("db1").Snapshot
	if plan.Pretend(&s, unknown); s.Server(key("db1")).Instance.ReadOnly {
		t.Error("a step of no known kind changes something on paper")
	}
}

func TestKinds(t *testing.T) {
	if k := plan.Kinds(); k[0] != plan.PrimaryFailover || len(k) != 3 || len(plan.EpisodeKinds()) != 2 {
		t.Errorf("kinds %v, with episodes %v", k, plan.EpisodeKinds())
	}
	if plan.Kind("regroup").Promotes() || plan.Kind("move_up").Says() != "move up" ||
		plan.Aftercare.Says() != "aftercare" {
		t.Error("a kind that is not known promotes, or has no words")
	}
}

func TestEpisodesAreChecked(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	good := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Cluster: "c", Failed: key("db1"), Opened: at,
		Stage: plan.Ended, Candidate: key("db2"), Promoted: at, Closed: at, Outcome: "db2 replaces db1", Fenced: at,
		Lost: []plan.Lost{{Key: key("db3"), Why: "it lacks"}}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*plan.Episode){
		"it lacks its ID, cluster, failed server or time": func(e *plan.Episode) { e.Failed = topology.Key{} },
		`no episode is of kind "aftercare"`:               func(e *plan.Episode) { e.Kind = plan.Aftercare },
		`no episode is of kind "other"`:                   func(e *plan.Episode) { e.Kind = "other" },
		"there is no such stage":                          func(e *plan.Episode) { e.Stage = "nearly" },
		"it has no candidate":                             func(e *plan.Episode) { e.Candidate = topology.Key{} },
		"promotes no server":                              func(e *plan.Episode) { e.Kind = plan.IntermediateFailover },
		"the promotion and the stage disagree":            func(e *plan.Episode) { e.Stage = plan.Committed },
		"it has ended and is open": func(e *plan.Episode) {
			e.Closed, e.Outcome = time.Time{}, ""
		},
		"it must have an outcome":  func(e *plan.Episode) { e.Outcome = "" },
		"it is closed and blocked": func(e *plan.Episode) { e.Blocked = "a lock" },
		"nothing was promoted": func(e *plan.Episode) {
			e.Promoted, e.Stage = time.Time{}, plan.Chosen
		},
		"receivers are left stopped only": func(e *plan.Episode) {
			e.Left, e.Stage, e.Closed, e.Outcome = []topology.Key{key("db3")}, plan.Promoted, time.Time{}, ""
		},
	} {
		e := good
		if change(&e); e.Check() == nil || !strings.Contains(e.Check().Error(), want) {
			t.Errorf("got %v, want %q", e.Check(), want)
		}
	}
}

func TestWhatIsAwaited(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	e := plan.Episode{Kind: plan.PrimaryFailover, Failed: key("db1"), Promoted: at, Closed: at,
		Abandoned: []topology.Key{key("db2")},
		Lost:      []plan.Lost{{Key: key("db3")}}}
	if got := e.Awaited(); !slices.Equal(got, []topology.Key{key("db1"), key("db2"), key("db3")}) {
		t.Errorf("awaited %v", got)
	}
	e.Promoted = time.Time{}
	if len(e.Awaited()) > 0 || !e.Withdrawn() {
		t.Errorf("withdrawn: %v, and %v are awaited", e.Withdrawn(), e.Awaited())
	}
}
