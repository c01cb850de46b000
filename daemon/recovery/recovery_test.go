package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
)

// full is a store that takes nothing.
type full struct{ backend.Store }

func (full) Put(context.Context, ...backend.Record) error { return errors.New("the disk is full") }

const dead = `
db1 down
  db2 io=connecting ioerr=2003 recv=1-120 exec=1-120
  db3 io=connecting ioerr=2003`

func runner(t testing.TB, p *paper, store backend.Store) *Runner {
	t.Helper()
	return New(Options{
		Fleet: p, Subscribe: p.subscribe, Operator: p, Store: store, Clock: backend.NewClock(time.Now), Writer: "test",
		Policy: func(string) plan.Policy {
			return plan.Policy{Named: true, RecoverPrimary: true, RecoverIntermediate: true, AllowUnfenced: true,
				DrainTimeout: time.Second}
		},
		Off: func() string { return "" }, Thresholds: func() analysis.Thresholds { return analysis.Defaults },
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Tick: 10 * time.Millisecond,
	})
}

func open(*testing.T) backend.Store { return &storetest.Memory{} }

// run lets the runner work until the episode is closed.
func run(t *testing.T, r *Runner) plan.Episode {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for ctx.Err() == nil {
		if es := r.Episodes(""); len(es) > 0 && !es[0].Closed.IsZero() {
			cancel()
			<-ended
			return es[0]
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
	}
	t.Fatalf("no episode was closed: %+v", r.Episodes(""))
	return plan.Episode{}
}

func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, store := draw(dead), open(t)
		r := runner(t, p, store)
		p.before = func(step plan.Step) { // committed before it is touched
			if step.Kind != plan.Promote {
				return
			}
			records, err := store.List(t.Context(), EpisodeKind)
			if err != nil || len(records) != 1 || !strings.Contains(string(records[0].Document),
				`"candidate":"db2:3306"`) {
				t.Errorf("db2 is promoted, and on record is %v (%v)", records, err)
			}
		}
		e := run(t, r)
		if e.Candidate.Host != "db2" || e.Outcome != "db2:3306 replaces db1:3306" {
			t.Errorf("%+v", e)
		}
		slices.Sort(p.done)
		if got := strings.Join(p.done, ", "); got != "promote db2, repoint db3, stop_receiver db2, stop_receiver db3" {
			t.Errorf("done: %s", got)
		}
		if _, steps, err := r.Episode(e.ID); err != nil || len(steps) != 4 {
			t.Errorf("journal: %v %v", steps, err)
		}
		if keys := e.Awaited(); !slices.Contains(keys, e.Failed) {
			t.Errorf("the failed primary is not awaited: %v", keys)
		}

		// Another daemon knows what this one did.
		later := runner(t, p, store)
		if err := later.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		again, steps, err := later.Episode(e.ID)
		if err != nil || len(steps) != 4 || again.Outcome != e.Outcome {
			t.Errorf("after a restart: %+v, %d steps, %v", again, len(steps), err)
		}
		if err := later.Acknowledge(t.Context(), e.ID, "ann", "seen", time.Now()); err != nil {
			t.Error(err)
		}
		if err := later.Acknowledge(t.Context(), "nothing", "ann", "seen", time.Now()); !errors.Is(err, ErrNoEpisode) {
			t.Errorf("acknowledging nothing: %v", err)
		}
		if s := later.Judged("db1:3306").Situation; len(s.Promotions) != 0 {
			t.Errorf("an acknowledged promotion still counts: %v", s.Promotions)
		}
	})
}

// The daemon that led had a clock that was an hour ahead; the one that comes after it acknowledges all the same, and
// waits by its own clock.
func TestAfterADaemonWhoseClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, now := open(t), time.Now()
		ahead := runner(t, draw(dead), store)
		ahead.Writer, ahead.Clock = "ahead", backend.NewClock(func() time.Time { return time.Now().Add(time.Hour) })
		later := runner(t, draw(dead), store)
		e := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Cluster: "db1:3306", DrainSince: now.Add(-time.Hour)}
		if err := store.Put(t.Context(), later.encode(EpisodeKind, "e", e)); err != nil {
			t.Fatal(err)
		}
		if err := later.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _, _ := later.Episode("e"); !got.DrainSince.Equal(e.DrainSince) {
			t.Errorf("what it has written itself has changed: %v", got.DrainSince)
		}
		if err := store.Put(t.Context(), ahead.encode(EpisodeKind, "e", e)); err != nil {
			t.Fatal(err)
		}
		if err := later.Acknowledge(t.Context(), "e", "ann", "seen", now); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		rec, err := store.Get(t.Context(), EpisodeKind, "e")
		if err != nil || rec.Writer != "test" {
			t.Errorf("acknowledged, and lost: %+v, %v", rec, err)
		}
		if err := store.Put(t.Context(), ahead.encode(EpisodeKind, "e", e)); err != nil {
			t.Fatal(err)
		}
		if err := later.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _, _ := later.Episode("e"); !got.DrainSince.IsZero() {
			t.Errorf("it goes on with the wait of another, since %v", got.DrainSince)
		}
	})
}

func TestFailedBookkeepingStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := draw(dead)
		if e := run(t, runner(t, p, full{open(t)})); e.Candidate.Host != "db2" {
			t.Errorf("%+v", e)
		}
	})
}

func TestFailedStepsAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := draw(dead)
		p.broken = map[plan.StepKind]int{plan.StopReceiver: 3, plan.Promote: 2, plan.Repoint: 2}
		r := runner(t, p, open(t))
		e := run(t, r)
		failed := 0
		_, steps, err := r.Episode(e.ID)
		for _, s := range steps {
			if s.Error != "" {
				failed++
			}
		}
		if err != nil || failed != 7 {
			t.Errorf("%d failures are in the journal, want 7 (%v)", failed, err)
		}
	})
}

func TestNothingIsDoneAfterTheLeadershipEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := draw(dead)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		runner(t, p, open(t)).Turn(ctx, "db1:3306")
		if len(p.done) > 0 {
			t.Errorf("done: %v", p.done)
		}
	})
}

// Who does not lead is asked about episodes too.
func TestAnotherDaemonTellsOfTheEpisode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := open(t)
		leader, follower := runner(t, draw(dead), store), runner(t, draw(dead), store)
		e := run(t, leader)
		if es := follower.Episodes(""); len(es) > 0 {
			t.Fatalf("it knows of %+v already", es)
		}
		follower.lead(true)
		if err := follower.Follow(t.Context()); err != nil || len(follower.Episodes("")) > 0 {
			t.Errorf("while it leads: %v, %+v", err, follower.Episodes(""))
		}
		follower.lead(false)
		if err := follower.Follow(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, steps, err := follower.Episode(e.ID)
		if err != nil || got.Outcome != e.Outcome || got.Closed.IsZero() || len(steps) < 3 {
			t.Errorf("%+v with %d steps (%v), want %+v", got, len(steps), err, e)
		}
	})
}

// counting is a store that counts how often the steps are read.
type counting struct {
	backend.Store
	steps *int
}

func (c counting) List(ctx context.Context, kind string) ([]backend.Record, error) {
	if kind == StepKind {
		*c.steps++
	}
	return c.Store.List(ctx, kind)
}

// Each follower asks each five seconds. A cluster has more episodes on record than are kept, and one of another
// daemon is not kept as it is there.
func TestAFollowerReadsOnlyWhatHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, steps := open(t), 0
		follower := runner(t, draw(healthy), counting{store, &steps})
		follower.Hooks = func() []hook.Hook { return nil }
		var e plan.Episode
		for i := range kept + 3 {
			e = replaced(t, store, fmt.Sprintf("db%d", i), "db99", time.Duration(100-i)*time.Minute)
			put(t, store, HookKind, hook.Key(e.ID, hook.Opened, "h"),
				hook.Run{Hook: "h", Moment: hook.Opened, Episode: e.ID, Attempt: 1, Started: e.Opened})
		}
		e.DrainSince = e.Opened
		put(t, store, EpisodeKind, e.ID, e)
		for _, c := range []struct {
			says   string
			change func()
			want   int
		}{
			{"it begins", func() {}, 1},
			{"nothing has changed", func() {}, 0},
			{"an episode has changed", func() { e.Outcome = "all is well"; put(t, store, EpisodeKind, e.ID, e) }, 1},
			{"a hook was told", func() {
				put(t, store, HookKind, hook.Key(e.ID, hook.Promoted, "h"),
					hook.Run{Hook: "h", Moment: hook.Promoted, Episode: e.ID, Attempt: 1, Started: e.Opened})
			}, 1},
			{"an episode has begun", func() { replaced(t, store, "db100", "db101", 0) }, 1},
			{"nothing has changed since", func() {}, 0},
			{"it leads", func() { replaced(t, store, "db102", "db103", 0); follower.lead(true) }, 0},
			{"it leads no more", func() { follower.lead(false) }, 1},
		} {
			steps = 0
			c.change()
			if err := follower.Follow(t.Context()); err != nil || steps != c.want {
				t.Errorf("%s: it read the steps %d times, want %d (%v)", c.says, steps, c.want, err)
			}
		}
		got, _, err := follower.Episode(e.ID)
		if err != nil || got.Outcome != e.Outcome || len(follower.HookRuns(e.ID)) != 2 {
			t.Errorf("it knows %+v (%v), and of hooks %v", got, err, follower.HookRuns(e.ID))
		}
	})
}

// What begins after a clock was set back looks older than all that is on record. It is not forgotten for that.
func TestWhatIsUnderWayIsKept(t *testing.T) {
	r := runner(t, draw(dead), open(t))
	now := time.Now()
	ahead := now.Add(10 * 365 * 24 * time.Hour)
	r.mu.Lock()
	for n := range kept {
		at := ahead.Add(time.Duration(n) * time.Second)
		r.remember(plan.Episode{ID: fmt.Sprint(n), Cluster: "db1:3306", Kind: plan.PrimaryFailover, Opened: at,
			Promoted: at, Closed: at})
	}
	e := plan.Episode{ID: "now", Cluster: "db1:3306", Kind: plan.PrimaryFailover, Opened: now}
	r.remember(e)
	e.Promoted, e.Closed = ahead.Add(time.Hour), now
	r.remember(e)
	r.remember(plan.Episode{ID: "other", Cluster: "db1:3306", Kind: plan.PrimaryFailover, Opened: now.Add(1)})
	r.mu.Unlock()
	var ids []string
	for _, e := range r.Episodes("") {
		ids = append(ids, e.ID)
	}
	if len(ids) != kept || !slices.Contains(ids, "now") || !slices.Contains(ids, "other") {
		t.Errorf("kept: %q", ids)
	}
}
