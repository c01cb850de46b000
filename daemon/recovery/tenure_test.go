package recovery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

const healthy = `
db3
  db4`

// replaced is an episode on record, in which another server took the place of a primary that long ago.
func replaced(t *testing.T, store backend.Store, failed, candidate string, ago time.Duration) plan.Episode {
	t.Helper()
	opened := time.Now().Add(-ago)
	e := plan.Episode{ID: failed + " fails", Kind: plan.PrimaryFailover, Cluster: "db3:3306",
		Failed: topology.Key{Host: failed, Port: 3306}, Opened: opened,
		Candidate: topology.Key{Host: candidate,
			Port: 3306}, Promoted: opened.Add(time.Second), Closed: opened.Add(2 * time.Second)}
	put(t, store, EpisodeKind, e.ID, e)
	return e
}

func put(t *testing.T, store backend.Store, kind, key string, v any) {
	t.Helper()
	rec, err := backend.Encode(kind, key, v)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond) // a later version than the one before
	rec.Version, rec.Writer = time.Now().UnixMicro(), "former"
	if err := store.Put(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
}

// tenures are those on record.
func tenures(t *testing.T, store backend.Store) map[string]hook.Tenure {
	t.Helper()
	records, err := store.List(t.Context(), tenureKind)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]hook.Tenure{}
	for _, rec := range records {
		if out[rec.Key], err = backend.Decode[hook.Tenure](rec); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// configured is a runner whose configuration has the hooks.
func configured(t *testing.T, p *paper, store backend.Store, hooks ...hook.Hook) *Runner {
	t.Helper()
	r := runner(t, p, store)
	r.Hooks = func() []hook.Hook { return hooks }
	return r
}

func TestAHookThatComesBackHearsNothingOfItsAbsence(t *testing.T) {
	for says, c := range map[string]struct {
		gone time.Duration
		told string
	}{
		"it was removed, and is added again":    {2 * time.Hour, ""},
		"its removal was a change under way":    {30 * time.Minute, "promoted 1 db1 db2"},
		"nothing of it was removed at any time": {0, "promoted 1 db1 db2"},
	} {
		t.Run(says, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := open(t)
				gone, told := scribe(nil)
				gone.On = []hook.Moment{hook.Promoted}
				stays, toldStays := scribe(nil)
				stays.Name = "stays"
				key := hook.TenureKey("scribe", hook.Promoted)
				for _, h := range []hook.Hook{gone, stays} {
					for _, m := range h.On {
						put(t, store, tenureKind, hook.TenureKey(h.Name, m),
							hook.Tenure{Since: time.Now().Add(-999 * time.Hour)})
					}
				}
				if c.gone > 0 {
					leadUntil(t, configured(t, draw(healthy), store),
						func() bool { return !tenures(t, store)[key].Gone.IsZero() })
					was := tenures(t, store)[key]
					was.Gone = was.Gone.Add(-c.gone)
					put(t, store, tenureKind, key, was)
				}
				replaced(t, store, "db1", "db2", 20*time.Minute)
				leadUntil(t, configured(t, draw(healthy), store, stays, gone), func() bool {
					return toldStays() == "opened 1 db1\npromoted 1 db1 db2\nrecovered 1 db1 db2"
				})
				if told() != c.told {
					t.Errorf("told %q, want %q", told(), c.told)
				}
			})
		})
	}
}

// A hook is added, the daemons are reloaded one after the other, and meanwhile the lead passes to one that does not
// know it yet, and back.
func TestNothingIsLostOrToldTwiceWhileAHookIsRolledOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, p := open(t), draw(healthy)
		h, told := scribe(nil)
		reloaded := configured(t, p, store, h)
		leadUntil(t, reloaded, func() bool { return len(tenures(t, store)) == len(h.On) })
		p.snapshot = draw(soon()).snapshot
		another := configured(t, p, store)
		leadUntil(t, another, func() bool {
			es := another.Episodes("")
			return len(es) == 1 && !es[0].Closed.IsZero() && time.Since(es[0].Opened) > 0
		})
		leadUntil(t, reloaded, func() bool {
			es := reloaded.Episodes("")
			return len(es) == 1 &&
				len(ended(reloaded, es[0].ID)) == 3
		})
		another.Hooks = reloaded.Hooks
		replaced(t, store, "db7", "db8", 0) // that it has told of it shows that it owes nothing before
		leadUntil(t, another, func() bool { return len(ended(another, "db7 fails")) == 3 })
		want := "opened 1 db1\npromoted 1 db1 db2\nrecovered 1 db1 db2\n" +
			"opened 1 db7\npromoted 1 db7 db8\nrecovered 1 db7 db8"
		if told() != want {
			t.Errorf("told\n%s\nwant\n%s", told(), want)
		}
	})
}

// ended are the runs about an episode that do not run any more.
func ended(r *Runner, episode string) (out []hook.Run) {
	for _, run := range r.HookRuns(episode) {
		if !run.Ended.IsZero() {
			out = append(out, run)
		}
	}
	return out
}

func TestAHookHearsOnOfAnEpisodeDuringWhichDaemonsAreUpgraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := open(t)
		h, told := scribe(nil)
		// as it was written for all moments
		put(t, store, tenureKind, "scribe", hook.Tenure{Since: time.Now().Add(-time.Hour)})
		e := replaced(t, store, "db1", "db2", time.Minute)
		for _, m := range []hook.Moment{hook.Opened, hook.Promoted} {
			run := hook.Run{Hook: "scribe", Moment: m, Episode: e.ID, Attempt: 1, Outcome: hook.OK, Started: e.Opened,
				Ended: e.Closed}
			put(t, store, HookKind, hook.Key(e.ID, m, "scribe"), run)
		}
		r := configured(t, draw(healthy), store, h)
		leadUntil(t, r, func() bool { return len(ended(r, e.ID)) == 3 })
		if told() != "recovered 1 db1 db2" {
			t.Errorf("told %q", told())
		}
		if late := tenures(t, store)[hook.TenureKey("scribe", hook.Fenced)]; time.Since(late.Since) < time.Hour {
			t.Errorf("a moment that it was to hear of has begun anew: %+v", late)
		}
	})
}

// fickle is a store that asks what becomes of tenures first.
type fickle struct {
	backend.Store
	put func(context.Context) error
}

func (f fickle) Put(ctx context.Context, records ...backend.Record) error {
	if records[0].Kind == tenureKind {
		if err := f.put(ctx); err != nil {
			return err
		}
	}
	return f.Store.Put(ctx, records...)
}

func TestATenureThatCouldNotBeStoredIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := open(t)
		h, _ := scribe(nil)
		var tries atomic.Int32
		r := configured(t, draw(healthy), fickle{store, func(context.Context) error {
			if tries.Add(1) <= 2 {
				return fmt.Errorf("%w: the disk is full", backend.ErrUnavailable)
			}
			return nil
		}}, h)
		var stored time.Time
		leadUntil(t, r, func() bool {
			if stored.IsZero() && len(tenures(t, store)) == len(h.On) {
				stored = time.Now()
			}
			return !stored.IsZero() && time.Since(stored) > 3*storeAgain*r.Tick
		})
		if tries.Load() != 3 { // all of them, the shortest alone, and later all again
			t.Errorf("it was tried %d times, want three times: until it was stored", tries.Load())
		}
	})
}

// Where the store fails, the leadership itself may end of it.
func TestATenureThatCouldNotBeStoredIsNotForgottenWithTheLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := open(t)
		h, told := scribe(nil)
		var refusals atomic.Int32
		var well atomic.Bool
		r := configured(t, draw(healthy), fickle{store, func(context.Context) error {
			if refusals.Add(1); !well.Load() {
				return errors.New("the disk is full")
			}
			return nil
		}}, h)
		leadUntil(t, r, func() bool { return refusals.Load() > 0 })
		e := replaced(t, store, "db1", "db2", 0)
		well.Store(true)
		leadUntil(t, r, func() bool { return len(ended(r, e.ID)) == 3 && len(tenures(t, store)) == len(h.On) })
		if since := tenures(t, store)[hook.TenureKey("scribe", hook.Promoted)].Since; since.After(e.Opened) {
			t.Errorf("it is configured since %v, and was told of what began at %v:\n%s", since, e.Opened, told())
		}
	})
}

func TestNoHookWaitsForTheRecordOfItsTenure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, told := scribe(nil)
		r := configured(t, draw(soon()),
			fickle{open(t), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, h)
		began := time.Now()
		leadUntil(t, r, func() bool { return strings.Contains(told(), "opened") })
		if took := time.Since(began); took > storeTime {
			t.Errorf("it was told after %v", took)
		}
	})
}
