package recovery

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
)

// scribe is a hook that notes what it is told, and then does something.
func scribe(then func(ctx context.Context, m hook.Message) error) (hook.Hook, func() string) {
	var mu sync.Mutex
	var lines []string
	h := hook.Hook{Name: "scribe", On: hook.Moments(), Timeout: 20 * time.Second, Attempts: 3}
	h.Func = func(ctx context.Context, m hook.Message) error {
		mu.Lock()
		line := fmt.Sprintf("%s %d %s", m.Moment, m.Attempt, m.Episode.Failed.Host)
		if m.Moment != hook.Opened {
			line += " " + m.Episode.Candidate.Host
		}
		lines = append(lines, line)
		mu.Unlock()
		if then == nil {
			return nil
		}
		return then(ctx, m)
	}
	return h, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(lines, "\n")
	}
}

// sleeps is what a hook does that takes so long.
func sleeps(long time.Duration) func(context.Context, hook.Message) error {
	return func(ctx context.Context, _ hook.Message) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(long):
			return nil
		}
	}
}

// unless is what a hook does that fails, but for some messages.
func unless(well func(m hook.Message) bool) func(context.Context, hook.Message) error {
	return func(_ context.Context, m hook.Message) error {
		if well(m) {
			return nil
		}
		return errors.New("exit status 1")
	}
}

// soon is the drawing at a moment that is not over when the leadership begins: hooks go by the clock.
func soon() string {
	return "at=" + time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano) + dead
}

// leadUntil lets the runner work until done says so.
func leadUntil(t *testing.T, r *Runner, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for !done() && ctx.Err() == nil {
		time.Sleep(2 * time.Millisecond)
	}
	late := ctx.Err() != nil
	cancel()
	<-ended
	if late {
		t.Fatalf("it did not come to that: %+v", r.Episodes(""))
	}
}

func TestHooksAreToldOfAFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(nil)
		r := runner(t, draw(soon()), open(t))
		r.Hooks = func() []hook.Hook { return []hook.Hook{h} }
		leadUntil(t, r, func() bool {
			if !strings.Contains(told(), "recovered") { // it writes, and then it ends
				return false
			}
			runs := r.HookRuns(r.Episodes("")[0].ID)
			return len(runs) == 3 && !slices.ContainsFunc(runs, func(run hook.Run) bool { return run.Ended.IsZero() })
		})
		if want := "opened 1 db1\npromoted 1 db1 db2\nrecovered 1 db1 db2"; told() != want {
			t.Errorf("told\n%s\nwant\n%s", told(), want)
		}
		for _, run := range r.HookRuns(r.Episodes("")[0].ID) {
			if run.Outcome != hook.OK {
				t.Errorf("%+v", run)
			}
		}
	})
}

func TestARecoveryDoesNotWaitForAHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(sleeps(300 * time.Second))
		r := runner(t, draw(soon()), open(t))
		r.Hooks = func() []hook.Hook { return []hook.Hook{h} }
		leadUntil(t, r, func() bool {
			es := r.Episodes("")
			return len(es) > 0 && !es[0].Closed.IsZero() &&
				told() != ""
		})
		runs := r.HookRuns(r.Episodes("")[0].ID)
		if len(runs) != 1 || runs[0].Outcome != hook.Interrupted {
			t.Errorf("the hook did not end with the leadership: %+v", runs)
		}
	})
}

// hung is a store that takes what hooks were told only when its caller has no more time, once told says that it has
// told.
type hung struct {
	backend.Store
	told func() string
}

func (h hung) Put(ctx context.Context, records ...backend.Record) error {
	if records[0].Kind == HookKind && h.told() != "" {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Store.Put(ctx, records...)
}

// Another daemon that should lead waits until this one has ended.
func TestAHandOverHardlyWaitsForAHookAndItsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(sleeps(300 * time.Second))
		r := runner(t, draw(soon()), hung{open(t), told})
		r.Hooks = func() []hook.Hook { return []hook.Hook{h} }
		var parted time.Time
		leadUntil(t, r, func() bool {
			es := r.Episodes("")
			parted = time.Now()
			return len(es) > 0 && !es[0].Closed.IsZero() && told() != ""
		})
		if took := time.Since(parted); took > 1500*time.Millisecond {
			t.Errorf("the end of the leadership took %v", took)
		}
	})
}

func TestASuccessorOwesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, p := open(t), draw(soon())
		h, told := scribe(func(ctx context.Context, m hook.Message) error {
			if m.Attempt == 2 || m.Moment != hook.Opened {
				return nil
			}
			return sleeps(300*time.Second)(ctx, m)
		})
		hooks := func() []hook.Hook { return []hook.Hook{h} }
		first := runner(t, p, store)
		first.Hooks = hooks
		leadUntil(t, first, func() bool {
			es := first.Episodes("")
			return len(es) > 0 && !es[0].Closed.IsZero() &&
				told() != ""
		})
		second := runner(t, p, store)
		second.Hooks, second.Writer = hooks, "successor"
		leadUntil(t, second, func() bool { return strings.Contains(told(), "recovered") })
		if want := "opened 1 db1\nopened 2 db1\npromoted 1 db1 db2\nrecovered 1 db1 db2"; told() != want {
			t.Errorf("told\n%s\nwant\n%s", told(), want)
		}
		third := runner(t, p, store) // and a third one owes nothing; nor does it to a hook that was not there then
		late, toldLate := scribe(nil)
		late.Name = "late"
		third.Hooks = func() []hook.Hook { return []hook.Hook{h, late} }
		turned := 0
		third.Turned = func() { turned++ }
		before := told()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := third.Run(ctx); err != nil || turned == 0 {
			t.Fatal(err, turned)
		}
		if told() != before || toldLate() != "" {
			t.Errorf("told again: %q, and %q", told(), toldLate())
		}
	})
}

// journal is the store of one daemon of several: a file of its own, and a backend.
func journal(t *testing.T, remote, local *sqlstore.Store) *sqlstore.Journal {
	t.Helper()
	j, err := sqlstore.OpenJournal(t.Context(), remote, local, sqlstore.JournalOptions{Facts: []string{StepKind},
		Owed: Owed()})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func openAt(t *testing.T, path string) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.OpenSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// away is a backend where nobody is.
func away(t *testing.T) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.OpenMySQL(sqlstore.MySQLOptions{Address: "127.0.0.1:1", Database: "orchestrator",
		User: "orchestrator", Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What hooks were told while the backend was away must get there: else the next leader, another daemon, tells all of
// it once more.
func TestWhatHooksWereToldWithoutABackendIsKnownToTheSuccessor(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "journal.db")
	h, told := scribe(nil)
	hooks := func() []hook.Hook { return []hook.Hook{h} }
	without := journal(t, away(t), openAt(t, file))
	p := draw(soon())
	first := runner(t, p, without)
	first.Hooks = hooks
	leadUntil(t, first, func() bool {
		es := first.Episodes("")
		return len(es) > 0 && len(first.HookRuns(es[0].ID)) == 3 &&
			!slices.ContainsFunc(first.HookRuns(es[0].ID), func(run hook.Run) bool { return run.Ended.IsZero() })
	})
	without.Close()

	back := journal(t, openAt(t, filepath.Join(dir, "backend.db")), openAt(t, file))
	if _, err := back.List(t.Context(), EpisodeKind); err != nil { // whoever uses it gives it what it is owed
		t.Fatal(err)
	}
	back.Close()
	store := openAt(t, filepath.Join(dir, "backend.db"))
	defer store.Close()
	if since, err := store.List(t.Context(), tenureKind); err != nil || len(since) == 0 {
		t.Errorf("since when hooks are configured is not there: %v, %v", since, err)
	}
	successor := runner(t, p, store)
	successor.Hooks, successor.Writer = hooks, "successor"
	turned, before := 0, told()
	successor.Turned = func() { turned++ }
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := successor.Run(ctx); err != nil || turned == 0 {
		t.Fatal(err, turned)
	}
	if told() != before || len(successor.HookRuns(successor.Episodes("")[0].ID)) != 3 {
		t.Errorf("told\n%s\nand before the successor\n%s", told(), before)
	}
}

func TestATrialSaysWhichTimeWasOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := scribe(sleeps(300 * time.Second))
		r := runner(t, draw(dead), open(t))
		for within, want := range map[time.Duration]string{100 * time.Millisecond: "a test may take 100ms at most; " +
			"in an emergency the hook has 300ms",
			time.Minute: "it took longer than 300ms"} {
			h.Timeout = 300 * time.Millisecond
			if got := r.TryHook(t.Context(), h, hook.Promoted, within); got.Outcome != hook.TimedOut ||
				!strings.Contains(got.Says, want) {
				t.Errorf("%+v, want %s", got, want)
			}
		}
	})
}

func TestAFailingHookIsTriedAgainAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(unless(func(m hook.Message) bool { return m.Attempt == 2 }))
		h.On, h.Attempts = []hook.Moment{hook.Promoted}, 2
		r := runner(t, draw(soon()), open(t))
		r.Hooks = func() []hook.Hook { return []hook.Hook{h} }
		leadUntil(t, r, func() bool {
			es := r.Episodes("")
			return len(es) > 0 && len(r.HookRuns(es[0].ID)) == 1 && r.HookRuns(es[0].ID)[0].Outcome == hook.OK
		})
		if want := "promoted 1 db1 db2\npromoted 2 db1 db2"; told() != want {
			t.Errorf("told\n%s\nwant\n%s", told(), want)
		}
	})
}

func TestAHookOfOtherClustersHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(nil)
		h.Of = func(cluster, alias string) bool { return cluster == "elsewhere" || alias == "elsewhere" }
		r := runner(t, draw(soon()), open(t))
		r.Hooks = func() []hook.Hook { return []hook.Hook{h} }
		run(t, r)
		if told() != "" {
			t.Error(told())
		}
	})
}

// What is given up wakes somebody, so that it must be counted once, and a failure that is followed by a success never.
func TestOnlyWhatIsNotTriedAgainIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(unless(func(m hook.Message) bool { return m.Moment == hook.Promoted && m.Attempt == 2 }))
		h.On, h.Attempts = []hook.Moment{hook.Opened, hook.Promoted}, 2
		r := runner(t, draw(soon()), open(t))
		r.Hooks = func() []hook.Hook { return []hook.Hook{h} }
		leadUntil(t, r, func() bool {
			es := r.Episodes("")
			return len(es) > 0 && len(r.HookRuns(es[0].ID)) == 2 && r.HookRuns(es[0].ID)[1].Outcome == hook.OK
		})
		if want := "opened 1 db1\nopened 2 db1\npromoted 1 db1 db2\npromoted 2 db1 db2"; told() != want {
			t.Errorf("told\n%s\nwant\n%s", told(), want)
		}
		if got := testutil.ToFloat64(r.metrics.givenUp.WithLabelValues("scribe")); got != 1 {
			t.Errorf("%v moments were given up, want 1: it was never told that a failure was found", got)
		}
	})
}

// A daemon that leads for years would remember all that it ever told.
func TestWhatBelongsToAnEpisodeIsForgottenWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := open(t)
		name := func(i int) string { return fmt.Sprintf("db%d", i) }
		told := func(e plan.Episode) hook.Run {
			return hook.Run{Hook: "h", Moment: hook.Opened, Episode: e.ID, Attempt: 1, Outcome: hook.OK,
				Started: e.Opened, Ended: e.Closed}
		}
		var oldest, newest plan.Episode
		for i := range kept + 3 {
			newest = replaced(t, store, name(i), name(i+1), time.Duration(100-i)*time.Minute)
			put(t, store, HookKind, hook.Key(newest.ID, hook.Opened, "h"), told(newest))
			put(t, store, StepKind, newest.ID+"/1", plan.Done{Episode: newest.ID})
			if i == 3 {
				oldest = newest
			}
		}
		r := configured(t, draw(healthy), store)
		if err := r.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(r.runs) != kept || len(r.steps) != kept || len(r.HookRuns(oldest.ID)) != 1 ||
			r.LastRun("h").Episode != newest.ID {
			t.Fatalf("it has the runs of %d episodes, and the steps of %d; the last run is %+v", len(r.runs),
				len(r.steps), r.LastRun("h"))
		}
		before := r.told(oldest.ID)
		teller := &teller{Runner: r}
		late := told(oldest)
		late.Moment = hook.Promoted
		teller.save(t.Context(), late)
		if len(before) != 1 || len(r.told(oldest.ID)) != 2 {
			t.Errorf("what was read has changed: %v; %v", before, r.told(oldest.ID))
		}
		r.remember(plan.Episode{ID: "another", Cluster: newest.Cluster, Opened: time.Now()})
		teller.save(t.Context(), late) // it ends when its episode is no longer kept
		if len(r.runs) != kept-1 || len(r.steps) != kept-1 || len(r.HookRuns(oldest.ID)) > 0 {
			t.Errorf("it has the runs of %d episodes, and the steps of %d; of the oldest %v", len(r.runs),
				len(r.steps), r.HookRuns(oldest.ID))
		}
	})
}

// An address would be moved to a dead server. Each episode is told by itself, so that the teller has to know of the
// others.
func TestASuccessorTellsNobodyOfAPrimaryThatHasBeenReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(nil)
		h.On = []hook.Moment{hook.Promoted}
		store := open(t)
		put(t, store, tenureKind, hook.TenureKey(h.Name, hook.Promoted), hook.Tenure{Since: time.Now().Add(-time.Hour)})
		first := replaced(t, store, "db1", "db2", 2*time.Minute)
		second := replaced(t, store, "db2", "db3", time.Minute)
		died := hook.Run{Hook: h.Name, Moment: hook.Promoted, Episode: first.ID, By: "dead", Attempt: 1,
			Started: first.Promoted}
		put(t, store, HookKind, hook.Key(first.ID, hook.Promoted, h.Name), died)
		r := configured(t, draw(healthy), store, h)
		var over time.Time
		leadUntil(t, r, func() bool {
			if over.IsZero() && len(ended(r, second.ID)) == 1 {
				over = time.Now()
			}
			return !over.IsZero() && time.Since(over) > 10*r.Tick
		})
		if told() != "promoted 1 db2 db3" || len(ended(r, first.ID)) > 0 {
			t.Errorf("told\n%s\nand of the first %v", told(), r.HookRuns(first.ID))
		}
	})
}

// begun is a store where an episode is a minute old, and a hook was begun that often to be told of its promotion, by
// daemons that died in it.
func begun(t *testing.T, h hook.Hook, attempts int) (backend.Store, plan.Episode) {
	t.Helper()
	store := open(t)
	e := replaced(t, store, "db1", "db2", time.Minute)
	for _, m := range h.On {
		put(t, store, tenureKind, hook.TenureKey(h.Name, m), hook.Tenure{Since: e.Opened})
	}
	run := hook.Run{Hook: h.Name, Moment: hook.Promoted, Episode: e.ID, By: "dead", Attempt: attempts,
		Started: time.Now()}
	put(t, store, HookKind, hook.Key(e.ID, run.Moment, h.Name), run)
	return store, e
}

// The daemons that died can't wake anybody.
func TestAHookInWhichDaemonsDieIsGivenUpByASuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(nil)
		h.On = []hook.Moment{hook.Promoted, hook.Recovered}
		store, e := begun(t, h, h.Attempts+3)
		for i, want := range []float64{1, 0} { // and the one after it does not count it once more
			r := configured(t, draw(healthy), store, h)
			leadUntil(t, r, func() bool { return len(ended(r, e.ID)) == 2 })
			if got := testutil.ToFloat64(r.metrics.givenUp.WithLabelValues("scribe")); got != want {
				t.Errorf("daemon %d gave up %v moments, want %v", i, got, want)
			}
			if run := r.HookRuns(e.ID)[0]; run.Moment != hook.Promoted || run.Outcome != hook.Interrupted ||
				run.By != "dead" || run.Says != "its daemon died in it" {
				t.Errorf("on record is %+v", run)
			}
		}
		if told() != "recovered 1 db1 db2" {
			t.Errorf("told %q", told())
		}
	})
}

func TestALastAttemptIsNotGivenUpWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(sleeps(100 * time.Millisecond))
		h.On = []hook.Moment{hook.Promoted}
		store, e := begun(t, h, h.Attempts+2)
		r := configured(t, draw(healthy), store, h)
		leadUntil(t, r, func() bool { return len(ended(r, e.ID)) == 1 })
		if got := testutil.ToFloat64(r.metrics.givenUp.WithLabelValues("scribe")); got != 0 ||
			told() != "promoted 6 db1 db2" {
			t.Errorf("given up %v times, and told %q", got, told())
		}
	})
}

// The attempt ends while a turn looks at what is owed.
func TestAnAttemptThatEndsDuringATurnIsNotMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(sleeps(100 * time.Millisecond))
		h.On = []hook.Moment{hook.Promoted}
		var r *Runner
		h.Of = func(string, string) bool {
			for es := r.Episodes(""); told() != "" && len(ended(r, es[0].ID)) == 0; time.Sleep(time.Millisecond) {
			}
			time.Sleep(5 * time.Millisecond) // it is on record, and gives its claim back
			return true
		}
		r = configured(t, draw(soon()), open(t), h)
		var over time.Time
		leadUntil(t, r, func() bool {
			if es := r.Episodes(""); over.IsZero() && len(es) > 0 && len(ended(r, es[0].ID)) > 0 {
				over = time.Now()
			}
			return !over.IsZero() && time.Since(over) > 300*time.Millisecond
		})
		if told() != "promoted 1 db1 db2" {
			t.Errorf("told\n%s", told())
		}
	})
}
