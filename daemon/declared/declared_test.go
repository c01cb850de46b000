package declared_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/topology"
)

var db1, db2 = topology.Key{Host: "db1", Port: 3306}, topology.Key{Host: "db2", Port: 3306}

// world is a store that several daemons share.
type world struct {
	t     *testing.T
	store *faulty
}

// faulty is a store whose calls fail while err is set.
type faulty struct {
	backend.Store
	slow bool
	mu   sync.Mutex
	err  error
}

func (f *faulty) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *faulty) now() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *faulty) Put(ctx context.Context, r ...backend.Record) error {
	if err := f.now(); err != nil {
		return err
	}
	return f.Store.Put(ctx, r...)
}

func (f *faulty) List(ctx context.Context, kind string) ([]backend.Record, error) {
	if err := f.now(); err != nil {
		return nil, err
	}
	records, err := f.Store.List(ctx, kind)
	if f.slow {
		time.Sleep(2 * time.Millisecond) // what was read grows old on its way
	}
	return records, err
}

func newWorld(t *testing.T) world {
	return world{t, &faulty{Store: &storetest.Memory{}}}
}

// open opens it as a daemon does whose clock is off by shift.
func (w world) open(writer string, shift time.Duration) *declared.Declarations {
	w.t.Helper()
	clock := backend.NewClock(func() time.Time { return time.Now().Add(shift) })
	ds, err := declared.Open(w.t.Context(), w.store, clock, writer)
	must(w.t, err)
	return ds
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func downtime() topology.Downtime {
	return topology.Downtime{Owner: "ann", Reason: "disk", Until: time.Now().Add(time.Hour)}
}

// marks shows, as one text, all that is declared.
func marks(ds *declared.Declarations) string {
	var said []string
	for _, k := range []topology.Key{db1, db2} {
		v := topology.Server{Key: k}
		ds.Mark(&v)
		if v.Rule != "" {
			said = append(said, k.Host+" "+string(v.Rule))
		}
		if v.Downtime != nil {
			said = append(said, k.Host+" down for "+v.Downtime.Owner+": "+v.Downtime.Reason)
		}
		for _, name := range slices.Sorted(maps.Keys(v.Tags)) {
			said = append(said, k.Host+" "+name+"="+v.Tags[name])
		}
		if slices.Contains(ds.Discovered(), k) {
			said = append(said, k.Host+" discovered")
		}
		if ds.Forgotten(k) {
			said = append(said, k.Host+" forgotten")
		}
	}
	if a := ds.Alias("c1"); a != "" {
		said = append(said, "c1 is "+a)
	}
	if off := ds.RecoveriesOff(); off != "" {
		said = append(said, off)
	}
	return strings.Join(said, ", ")
}

func TestWhatIsDeclaredHolds(t *testing.T) {
	type act func(context.Context, *declared.Declarations) error
	for name, tc := range map[string]struct {
		do, undo act
		says     string
		after    string
	}{
		"downtime": {
			func(ctx context.Context, ds *declared.Declarations) error {
				return ds.SetDowntime(ctx, db1, downtime())
			},
			func(ctx context.Context, ds *declared.Declarations) error { return ds.EndDowntime(ctx, db1) },
			"db1 down for ann: disk", "",
		},
		"rule": {
			func(ctx context.Context, ds *declared.Declarations) error {
				return ds.SetRule(ctx, db2, topology.MustNot)
			},
			func(ctx context.Context, ds *declared.Declarations) error {
				return ds.SetRule(ctx, db2, topology.Neutral)
			},
			"db2 must_not", "db2 neutral",
		},
		"tags": {
			func(ctx context.Context, ds *declared.Declarations) error {
				return errors.Join(ds.SetTag(ctx, db1, "role", "app"), ds.SetTag(ctx, db1, "site", "b/c=d"),
					ds.SetTag(ctx, db1, "role", "web"))
			},
			func(ctx context.Context, ds *declared.Declarations) error { return ds.RemoveTag(ctx, db1, "role") },
			"db1 role=web, db1 site=b/c=d", "db1 site=b/c=d",
		},
		"discovered": {
			func(ctx context.Context, ds *declared.Declarations) error { return ds.Discover(ctx, db2) },
			func(ctx context.Context, ds *declared.Declarations) error {
				return errors.Join(ds.Forget(ctx, db1, db2), ds.Unforget(ctx, db1))
			},
			"db2 discovered", "",
		},
		"discovered, and forgotten": {
			func(ctx context.Context, ds *declared.Declarations) error {
				return errors.Join(ds.Unforget(ctx, db2), ds.Discover(ctx, db2))
			},
			func(ctx context.Context, ds *declared.Declarations) error { return ds.Forget(ctx, db2) },
			"db2 discovered", "db2 forgotten",
		},
		"forgotten": {
			func(ctx context.Context, ds *declared.Declarations) error { return ds.Forget(ctx, db2) },
			func(ctx context.Context, ds *declared.Declarations) error { return ds.Unforget(ctx, db2) },
			"db2 forgotten", "",
		},
		"alias": {
			func(ctx context.Context, ds *declared.Declarations) error { return ds.SetAlias(ctx, "c1", "shop") },
			func(ctx context.Context, ds *declared.Declarations) error { return ds.SetAlias(ctx, "c1", "") },
			"c1 is shop", "",
		},
		"recoveries": {
			func(ctx context.Context, ds *declared.Declarations) error {
				return ds.SwitchRecoveries(ctx, false, "ann", "network work")
			},
			func(ctx context.Context, ds *declared.Declarations) error {
				return ds.SwitchRecoveries(ctx, true, "bob", "")
			},
			"network work (ann)", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ds, other := w.open("d1", 0), w.open("d2", 0)
			for _, step := range []struct {
				act  act
				want string
			}{{tc.do, tc.says}, {tc.undo, tc.after}, {tc.undo, tc.after}, {tc.do, tc.says}} {
				must(t, step.act(t.Context(), ds))
				must(t, other.Refresh(t.Context()))
				for who, ds := range map[string]*declared.Declarations{
					"the writer": ds, "another": other, "the next": w.open("d3", 0),
				} {
					if got := marks(ds); got != step.want {
						t.Errorf("%s says %q, want %q", who, got, step.want)
					}
				}
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	w := newWorld(t)
	ds := w.open("d1", 0)
	must(t, ds.SetAlias(t.Context(), "c1", "taken"))
	ctx := t.Context()
	long := strings.Repeat("x", 5000)
	past, nobody, silent, control := downtime(), downtime(), downtime(), downtime()
	past.Until = time.Now().Add(-time.Second)
	nobody.Owner, silent.Reason, control.Reason = "", " \n", "a\x1b[2J"
	before, err := w.store.Everything(ctx)
	must(t, err)
	for name, err := range map[string]error{
		"downtime in the past":        ds.SetDowntime(ctx, db1, past),
		"downtime without an end":     ds.SetDowntime(ctx, db1, topology.Downtime{Owner: "ann", Reason: "disk"}),
		"downtime of nobody":          ds.SetDowntime(ctx, db1, nobody),
		"downtime without a reason":   ds.SetDowntime(ctx, db1, silent),
		"downtime that moves cursors": ds.SetDowntime(ctx, db1, control),
		"downtime of no server":       ds.SetDowntime(ctx, topology.Key{}, downtime()),
		"end of no server's downtime": ds.EndDowntime(ctx, topology.Key{Host: "a b", Port: 1}),
		"unknown rule":                ds.SetRule(ctx, db1, "prefers"),
		"no rule":                     ds.SetRule(ctx, db1, ""),
		"tag without a name":          ds.SetTag(ctx, db1, "", "v"),
		"tag with a path for a name":  ds.SetTag(ctx, db1, "a/b", "v"),
		"tag named ..":                ds.SetTag(ctx, db1, "..", "v"),
		"tag with a long value":       ds.SetTag(ctx, db1, "a", long),
		"removal of a tag of no name": ds.RemoveTag(ctx, db1, "ä"),
		"discover nothing":            ds.Discover(ctx, topology.Key{}),
		"forget nothing":              ds.Forget(ctx, topology.Key{}),
		"forget port 0":               ds.Forget(ctx, topology.Key{Host: "db1"}),
		"unforget nothing":            ds.Unforget(ctx, topology.Key{}),
		"alias of no cluster":         ds.SetAlias(ctx, "", "a"),
		"alias with a blank":          ds.SetAlias(ctx, "c2", "a b"),
		"alias of another cluster":    ds.SetAlias(ctx, "c2", "taken"),
		"off without a reason":        ds.SwitchRecoveries(ctx, false, "ann", ""),
		"off by nobody":               ds.SwitchRecoveries(ctx, false, "", "why"),
	} {
		if !errors.Is(err, declared.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after, err := w.store.Everything(ctx); err != nil || len(after) != len(before) {
		t.Errorf("something was stored: %v, %v", after, err)
	}
	if got := marks(ds); got != "c1 is taken" {
		t.Errorf("something holds: %s", got)
	}
}

func TestAnEndedDowntimeMarksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ds := newWorld(t).open("d1", 0)
		must(t, ds.SetDowntime(t.Context(), db1, downtime()))
		v := topology.Server{Key: db1}
		time.Sleep(time.Hour - 1)
		if ds.Mark(&v); v.Downtime == nil || len(ds.Downtimes()) != 1 {
			t.Error("it ended too early")
		}
		time.Sleep(time.Nanosecond)
		if ds.Mark(&v); v.Downtime != nil || len(ds.Downtimes()) != 0 {
			t.Errorf("it did not end: %v, %v", v.Downtime, ds.Downtimes())
		}
	})
}

func TestTheEditionRisesWithWhatIsDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		here, there := w.open("d1", 0), w.open("d2", 0)
		last := here.Edition()
		rises := func(what string, want bool) {
			t.Helper()
			now := here.Edition()
			if (now != last) != want {
				t.Errorf("%s: edition %d after %d", what, now, last)
			}
			last = now
		}
		rises("nothing", false)
		must(t, here.SetTag(t.Context(), db1, "dc", "ams"))
		rises("a tag", true)
		must(t, here.Refresh(t.Context()))
		rises("a refresh that finds nothing new", false)
		must(t, there.SetAlias(t.Context(), "c1", "shop"))
		must(t, here.Refresh(t.Context()))
		rises("what another daemon was asked", true)
		if got := here.Clusters("shop"); !slices.Equal(got, []string{"c1"}) {
			t.Errorf("shop is %v", got)
		}
		for k, end := range map[topology.Key]time.Duration{db1: time.Minute, db2: 2 * time.Minute} {
			d := downtime()
			d.Until = time.Now().Add(end)
			must(t, here.SetDowntime(t.Context(), k, d))
		}
		rises("two downtimes", true)
		time.Sleep(time.Minute)
		rises("one downtime has ended", true)
		rises("nothing more", false)
		time.Sleep(time.Minute)
		rises("both downtimes have ended", true)
		time.Sleep(time.Hour)
		rises("no downtime is left", false)
		w.store.fail(errors.New("the disk is gone"))
		if here.Refresh(t.Context()) == nil {
			t.Error("it could be read")
		}
		rises("it is not known whether recoveries are off", true)
	})
}

func TestMarkKnowsAllNamesAndClearsWhatWasThere(t *testing.T) {
	ds := newWorld(t).open("d1", 0)
	ctx := t.Context()
	must(t, errors.Join(
		ds.SetDowntime(ctx, db2, downtime()),
		ds.SetRule(ctx, db2, topology.Prefer), ds.SetRule(ctx, db1, topology.MustNot),
		ds.SetTag(ctx, db1, "a", "1"), ds.SetTag(ctx, db2, "a", "2"), ds.SetTag(ctx, db2, "b", "2")))
	v := topology.Server{Key: db1, Names: []topology.Key{db2}}
	ds.Mark(&v)
	if v.Rule != topology.MustNot || v.Downtime == nil || !maps.Equal(v.Tags, map[string]string{"a": "1", "b": "2"}) {
		t.Errorf("marked %+v", v)
	}
	v.Tags["a"], v.Downtime.Owner = "changed", "changed" // what is handed out is the caller's
	other := topology.Server{Key: db1, Names: []topology.Key{db2}}
	ds.Mark(&other)
	if other.Tags["a"] != "1" || other.Downtime.Owner != "ann" {
		t.Errorf("a change of what was handed out changed the declarations: %+v", other)
	}
	v.Key, v.Names = topology.Key{Host: "db9", Port: 1}, nil
	ds.Mark(&v)
	if v.Rule != "" || v.Downtime != nil || v.Tags != nil {
		t.Errorf("still marked: %+v", v)
	}
}

// Who asks later is heard, although the clock of the daemon asked is behind: also against a deletion, which no list
// shows.
func TestTheLaterWordCountsAlthoughClocksDiffer(t *testing.T) {
	for name, first := range map[string]func(context.Context, *declared.Declarations) error{
		"over a change": func(ctx context.Context, ds *declared.Declarations) error {
			return ds.SetRule(ctx, db1, topology.Prefer)
		},
		"over a deletion": func(ctx context.Context, ds *declared.Declarations) error {
			return errors.Join(ds.Forget(ctx, db1), ds.Unforget(ctx, db1), ds.EndDowntime(ctx, db1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			behind, ahead := w.open("d1", 0), w.open("d2", time.Hour)
			must(t, first(t.Context(), ahead))
			must(t, behind.SetRule(t.Context(), db1, topology.MustNot))
			must(t, behind.Forget(t.Context(), db1))
			must(t, behind.SetDowntime(t.Context(), db1, downtime()))
			must(t, ahead.Refresh(t.Context()))
			want := "db1 must_not, db1 down for ann: disk, db1 forgotten"
			if marks(behind) != want || marks(ahead) != want {
				t.Errorf("they say %q and %q, want %q", marks(behind), marks(ahead), want)
			}
			must(t, ahead.EndDowntime(t.Context(), db1))
			must(t, behind.EndDowntime(t.Context(), db1))
			must(t, behind.Unforget(t.Context(), db1))
			must(t, ahead.Refresh(t.Context()))
			if marks(behind) != "db1 must_not" || marks(ahead) != "db1 must_not" {
				t.Errorf("they say %q and %q", marks(behind), marks(ahead))
			}
		})
	}
}

func TestWhatIsNotStoredDoesNotHold(t *testing.T) {
	w := newWorld(t)
	ds := w.open("d1", 0)
	gone := errors.New("the store is away")
	w.store.fail(gone)
	if err := ds.Forget(t.Context(), db1); !errors.Is(err, gone) || errors.Is(err, declared.ErrInvalid) {
		t.Errorf("Forget = %v", err)
	}
	if ds.Forgotten(db1) {
		t.Error("it holds, and nothing was stored")
	}
}

func TestWhatIsNotKnownCountsAsOff(t *testing.T) {
	const unknown = "it is not known whether recoveries are switched off: "
	w := newWorld(t)
	ds := w.open("d1", 0)
	must(t, ds.Forget(t.Context(), db1))
	if off := ds.RecoveriesOff(); off != "" {
		t.Fatalf("off from the beginning: %s", off)
	}
	w.store.fail(errors.New("the store is away"))
	if err := ds.Refresh(t.Context()); err == nil {
		t.Fatal("Refresh does not say that it failed")
	}
	if off := ds.RecoveriesOff(); !strings.HasPrefix(off, unknown) || !strings.Contains(off, "away") {
		t.Errorf("RecoveriesOff = %q", off)
	}
	if !ds.Forgotten(db1) {
		t.Error("what was known is gone")
	}
	if _, err := declared.Open(t.Context(), w.store, backend.NewClock(time.Now), "d2"); err == nil {
		t.Error("Open does not say that the store cannot be read")
	}
	w.store.fail(nil)
	must(t, ds.Refresh(t.Context()))
	if off := ds.RecoveriesOff(); off != "" {
		t.Errorf("still %q", off)
	}

	for kind, key := range map[string]string{
		"setting": "recoveries", "downtime": "db2:3306", "rule": "no server at all",
	} {
		bad := backend.Record{Kind: kind, Key: key, Version: time.Now().UnixMicro(), Writer: "x",
			Document: json.RawMessage(`[7]`)}
		must(t, w.store.Put(t.Context(), bad))
		if off := w.open("d3", 0).RecoveriesOff(); !strings.HasPrefix(off, unknown) || !strings.Contains(off, kind) {
			t.Errorf("with a %s that makes no sense RecoveriesOff = %q", kind, off)
		}
		bad.Version, bad.Deleted, bad.Document = bad.Version+1, true, nil
		must(t, w.store.Put(t.Context(), bad))
	}
	if off := w.open("d3", 0).RecoveriesOff(); off != "" {
		t.Errorf("still %q", off)
	}
}

func TestListings(t *testing.T) {
	ds := newWorld(t).open("d1", 0)
	ctx := t.Context()
	must(t, errors.Join(ds.Forget(ctx, db2), ds.Forget(ctx, db1), ds.SetAlias(ctx, "c1", "shop"),
		ds.SetDowntime(ctx, db1, downtime())))
	if got := ds.AllForgotten(); !slices.Equal(got, []topology.Key{db1, db2}) {
		t.Errorf("AllForgotten = %v", got)
	}
	if got := ds.Aliases(); !maps.Equal(got, map[string]string{"c1": "shop"}) {
		t.Errorf("Aliases = %v", got)
	}
	ds.Aliases()["c1"] = "changed" // what is handed out is the caller's
	if ds.Alias("c1") != "shop" {
		t.Error("a change of what was handed out changed the declarations")
	}
	if got := ds.Downtimes(); len(got) != 1 || got[db1].Owner != "ann" {
		t.Errorf("Downtimes = %v", got)
	}
}

// Writers, readers and refreshes at the same time: a refresh that has read before a write must not undo it.
func TestAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.slow = true
		ds := w.open("d1", 0)
		var wg sync.WaitGroup
		for port := range 20 {
			begin := time.Duration(port) * time.Millisecond
			wg.Go(func() {
				time.Sleep(begin)
				k := topology.Key{Host: "db", Port: port + 1}
				if err := ds.Forget(t.Context(), k); err != nil {
					t.Error(err)
				}
				for range 50 {
					if !ds.Forgotten(k) {
						t.Errorf("%v was forgotten, and is not", k)
						return
					}
					time.Sleep(time.Millisecond)
				}
			})
			wg.Go(func() {
				time.Sleep(begin)
				if err := ds.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
				ds.Mark(&topology.Server{Key: db1})
			})
		}
		wg.Wait()
		if n := len(ds.AllForgotten()); n != 20 {
			t.Errorf("%d of 20", n)
		}
	})
}

func TestAWriteThatWaitsEndsWithItsContext(t *testing.T) {
	ds := newWorld(t).open("d1", 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ds.Forget(ctx, db1); !errors.Is(err, context.Canceled) {
		t.Errorf("Forget = %v", err)
	}
}
