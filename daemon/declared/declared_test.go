package declared_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/topology"
)

var db1, db2 = topology.Key{Host: "db1", Port: 3306}, topology.Key{Host: "db2", Port: 3306}

// world is a store that several daemons share.
type world struct {
	t     *testing.T
	store *faulty
}

// faulty is a real store whose calls fail while err is set.
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
	s, err := sqlstore.OpenSQLite(filepath.Join(t.TempDir(), "store.db"))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return world{t, &faulty{Store: s}}
}

// book opens it as a daemon does whose clock is off by shift.
func (w world) book(writer string, shift time.Duration) *declared.Book {
	w.t.Helper()
	b, err := declared.Open(w.t.Context(), w.store, backend.NewClock(func() time.Time { return time.Now().Add(shift) }), writer)
	must(w.t, err)
	return b
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

// marks shows, as one text, all that a book says.
func marks(b *declared.Book) string {
	var said []string
	for _, k := range []topology.Key{db1, db2} {
		v := topology.Server{Key: k}
		b.Mark(&v)
		if v.Rule != "" {
			said = append(said, k.Host+" "+string(v.Rule))
		}
		if v.Downtime != nil {
			said = append(said, k.Host+" down for "+v.Downtime.Owner+": "+v.Downtime.Reason)
		}
		for _, name := range slices.Sorted(maps.Keys(v.Tags)) {
			said = append(said, k.Host+" "+name+"="+v.Tags[name])
		}
		if b.Forgotten(k) {
			said = append(said, k.Host+" forgotten")
		}
	}
	if a := b.Alias("c1"); a != "" {
		said = append(said, "c1 is "+a)
	}
	if off := b.RecoveriesOff(); off != "" {
		said = append(said, off)
	}
	return strings.Join(said, ", ")
}

func TestWhatIsDeclaredHolds(t *testing.T) {
	type act func(context.Context, *declared.Book) error
	for name, tc := range map[string]struct {
		do, undo act
		says     string
		after    string
	}{
		"downtime": {
			func(ctx context.Context, b *declared.Book) error { return b.SetDowntime(ctx, db1, downtime()) },
			func(ctx context.Context, b *declared.Book) error { return b.EndDowntime(ctx, db1) },
			"db1 down for ann: disk", "",
		},
		"rule": {
			func(ctx context.Context, b *declared.Book) error { return b.SetRule(ctx, db2, topology.MustNot) },
			func(ctx context.Context, b *declared.Book) error { return b.SetRule(ctx, db2, topology.Neutral) },
			"db2 must_not", "db2 neutral",
		},
		"tags": {
			func(ctx context.Context, b *declared.Book) error {
				return errors.Join(b.SetTag(ctx, db1, "role", "app"), b.SetTag(ctx, db1, "site", "b/c=d"), b.SetTag(ctx, db1, "role", "web"))
			},
			func(ctx context.Context, b *declared.Book) error { return b.RemoveTag(ctx, db1, "role") },
			"db1 role=web, db1 site=b/c=d", "db1 site=b/c=d",
		},
		"forgotten": {
			func(ctx context.Context, b *declared.Book) error { return b.Forget(ctx, db2) },
			func(ctx context.Context, b *declared.Book) error { return b.Unforget(ctx, db2) },
			"db2 forgotten", "",
		},
		"alias": {
			func(ctx context.Context, b *declared.Book) error { return b.SetAlias(ctx, "c1", "shop") },
			func(ctx context.Context, b *declared.Book) error { return b.SetAlias(ctx, "c1", "") },
			"c1 is shop", "",
		},
		"recoveries": {
			func(ctx context.Context, b *declared.Book) error {
				return b.SwitchRecoveries(ctx, false, "ann", "network work")
			},
			func(ctx context.Context, b *declared.Book) error { return b.SwitchRecoveries(ctx, true, "bob", "") },
			"recoveries are switched off by ann: network work", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b, other := w.book("d1", 0), w.book("d2", 0)
			for _, step := range []struct {
				act  act
				want string
			}{{tc.do, tc.says}, {tc.undo, tc.after}, {tc.undo, tc.after}, {tc.do, tc.says}} {
				must(t, step.act(t.Context(), b))
				must(t, other.Refresh(t.Context()))
				for who, book := range map[string]*declared.Book{"the writer": b, "another": other, "the next": w.book("d3", 0)} {
					if got := marks(book); got != step.want {
						t.Errorf("%s says %q, want %q", who, got, step.want)
					}
				}
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	w := newWorld(t)
	b := w.book("d1", 0)
	must(t, b.SetAlias(t.Context(), "c1", "taken"))
	ctx := t.Context()
	long := strings.Repeat("x", 5000)
	past, nobody, silent, control := downtime(), downtime(), downtime(), downtime()
	past.Until = time.Now().Add(-time.Second)
	nobody.Owner, silent.Reason, control.Reason = "", " \n", "a\x1b[2J"
	before, err := w.store.Everything(ctx)
	must(t, err)
	for name, err := range map[string]error{
		"downtime in the past":        b.SetDowntime(ctx, db1, past),
		"downtime without an end":     b.SetDowntime(ctx, db1, topology.Downtime{Owner: "ann", Reason: "disk"}),
		"downtime of nobody":          b.SetDowntime(ctx, db1, nobody),
		"downtime without a reason":   b.SetDowntime(ctx, db1, silent),
		"downtime that moves cursors": b.SetDowntime(ctx, db1, control),
		"downtime of no server":       b.SetDowntime(ctx, topology.Key{}, downtime()),
		"end of no server's downtime": b.EndDowntime(ctx, topology.Key{Host: "a b", Port: 1}),
		"unknown rule":                b.SetRule(ctx, db1, "prefers"),
		"no rule":                     b.SetRule(ctx, db1, ""),
		"tag without a name":          b.SetTag(ctx, db1, "", "v"),
		"tag with a path for a name":  b.SetTag(ctx, db1, "a/b", "v"),
		"tag named ..":                b.SetTag(ctx, db1, "..", "v"),
		"tag with a long value":       b.SetTag(ctx, db1, "a", long),
		"removal of a tag of no name": b.RemoveTag(ctx, db1, "ä"),
		"forget nothing":              b.Forget(ctx, topology.Key{}),
		"forget port 0":               b.Forget(ctx, topology.Key{Host: "db1"}),
		"unforget nothing":            b.Unforget(ctx, topology.Key{}),
		"alias of no cluster":         b.SetAlias(ctx, "", "a"),
		"alias with a blank":          b.SetAlias(ctx, "c2", "a b"),
		"alias of another cluster":    b.SetAlias(ctx, "c2", "taken"),
		"off without a reason":        b.SwitchRecoveries(ctx, false, "ann", ""),
		"off by nobody":               b.SwitchRecoveries(ctx, false, "", "why"),
	} {
		if !errors.Is(err, declared.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after, err := w.store.Everything(ctx); err != nil || len(after) != len(before) {
		t.Errorf("something was stored: %v, %v", after, err)
	}
	if got := marks(b); got != "c1 is taken" {
		t.Errorf("something holds: %s", got)
	}
}

func TestAnEndedDowntimeMarksNothing(t *testing.T) {
	b := newWorld(t).book("d1", 0)
	d := downtime()
	d.Until = time.Now().Add(30 * time.Millisecond)
	must(t, b.SetDowntime(t.Context(), db1, d))
	v := topology.Server{Key: db1}
	for i := 0; i < 100; i++ {
		b.Mark(&v)
		if time.Now().Before(d.Until) && v.Downtime == nil {
			t.Fatal("it ended too early")
		}
		if v.Downtime == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if v.Downtime != nil || len(b.Downtimes()) != 0 {
		t.Errorf("it did not end: %v, %v", v.Downtime, b.Downtimes())
	}
}

func TestTheEditionRisesWithWhatIsDeclared(t *testing.T) {
	w := newWorld(t)
	here, there := w.book("d1", 0), w.book("d2", 0)
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
	rises("what another daemon was told", true)
	if got := here.Clusters("shop"); !slices.Equal(got, []string{"c1"}) {
		t.Errorf("shop is %v", got)
	}
	for _, end := range []time.Duration{30 * time.Millisecond, 60 * time.Millisecond} {
		d := downtime()
		d.Until = time.Now().Add(end)
		must(t, here.SetDowntime(t.Context(), topology.Key{Host: "db", Port: int(end.Milliseconds())}, d))
	}
	last = here.Edition()
	for want := last + 2; here.Edition() != want; time.Sleep(time.Millisecond) {
		if t.Context().Err() != nil {
			return
		}
	}
	last += 2
	rises("when both downtimes have ended", false)
	w.store.fail(errors.New("the disk is gone"))
	if here.Refresh(t.Context()) == nil {
		t.Error("it could be read")
	}
	rises("it is not known whether recoveries are off", true)
}

func TestMarkKnowsAllNamesAndClearsWhatWasThere(t *testing.T) {
	b := newWorld(t).book("d1", 0)
	ctx := t.Context()
	must(t, errors.Join(
		b.SetDowntime(ctx, db2, downtime()), b.SetRule(ctx, db2, topology.Prefer), b.SetRule(ctx, db1, topology.MustNot),
		b.SetTag(ctx, db1, "a", "1"), b.SetTag(ctx, db2, "a", "2"), b.SetTag(ctx, db2, "b", "2")))
	v := topology.Server{Key: db1, Names: []topology.Key{db2}}
	b.Mark(&v)
	if v.Rule != topology.MustNot || v.Downtime == nil || !maps.Equal(v.Tags, map[string]string{"a": "1", "b": "2"}) {
		t.Errorf("marked %+v", v)
	}
	v.Tags["a"], v.Downtime.Owner = "changed", "changed" // what is handed out is the caller's
	other := topology.Server{Key: db1, Names: []topology.Key{db2}}
	b.Mark(&other)
	if other.Tags["a"] != "1" || other.Downtime.Owner != "ann" {
		t.Errorf("a change of what was handed out changed the book: %+v", other)
	}
	v.Key, v.Names = topology.Key{Host: "db9", Port: 1}, nil
	b.Mark(&v)
	if v.Rule != "" || v.Downtime != nil || v.Tags != nil {
		t.Errorf("still marked: %+v", v)
	}
}

// Who asks later is heard, although the clock of the daemon asked is behind: also against a deletion, which no list shows.
func TestTheLaterWordCountsAlthoughClocksDiffer(t *testing.T) {
	for name, first := range map[string]func(context.Context, *declared.Book) error{
		"over a change": func(ctx context.Context, b *declared.Book) error { return b.SetRule(ctx, db1, topology.Prefer) },
		"over a deletion": func(ctx context.Context, b *declared.Book) error {
			return errors.Join(b.Forget(ctx, db1), b.Unforget(ctx, db1), b.EndDowntime(ctx, db1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			behind, ahead := w.book("d1", 0), w.book("d2", time.Hour)
			must(t, first(t.Context(), ahead))
			must(t, behind.SetRule(t.Context(), db1, topology.MustNot))
			must(t, behind.Forget(t.Context(), db1))
			must(t, behind.SetDowntime(t.Context(), db1, downtime()))
			must(t, ahead.Refresh(t.Context()))
			want := "db1 must_not, db1 down for ann: disk, db1 forgotten"
			if marks(behind) != want || marks(ahead) != want {
				t.Errorf("the books say %q and %q, want %q", marks(behind), marks(ahead), want)
			}
			must(t, ahead.EndDowntime(t.Context(), db1))
			must(t, behind.EndDowntime(t.Context(), db1))
			must(t, behind.Unforget(t.Context(), db1))
			must(t, ahead.Refresh(t.Context()))
			if marks(behind) != "db1 must_not" || marks(ahead) != "db1 must_not" {
				t.Errorf("the books say %q and %q", marks(behind), marks(ahead))
			}
		})
	}
}

func TestWhatIsNotStoredDoesNotHold(t *testing.T) {
	w := newWorld(t)
	b := w.book("d1", 0)
	gone := errors.New("the store is away")
	w.store.fail(gone)
	if err := b.Forget(t.Context(), db1); !errors.Is(err, gone) || errors.Is(err, declared.ErrInvalid) {
		t.Errorf("Forget = %v", err)
	}
	if b.Forgotten(db1) {
		t.Error("it holds, and nothing was stored")
	}
}

func TestWhatIsNotKnownCountsAsOff(t *testing.T) {
	const unknown = "it is not known whether recoveries are switched off: "
	w := newWorld(t)
	b := w.book("d1", 0)
	must(t, b.Forget(t.Context(), db1))
	if off := b.RecoveriesOff(); off != "" {
		t.Fatalf("off from the beginning: %s", off)
	}
	w.store.fail(errors.New("the store is away"))
	if err := b.Refresh(t.Context()); err == nil {
		t.Fatal("Refresh does not say that it failed")
	}
	if off := b.RecoveriesOff(); !strings.HasPrefix(off, unknown) || !strings.Contains(off, "away") {
		t.Errorf("RecoveriesOff = %q", off)
	}
	if !b.Forgotten(db1) {
		t.Error("what was known is gone")
	}
	if _, err := declared.Open(t.Context(), w.store, backend.NewClock(time.Now), "d2"); err == nil {
		t.Error("Open does not say that the store cannot be read")
	}
	w.store.fail(nil)
	must(t, b.Refresh(t.Context()))
	if off := b.RecoveriesOff(); off != "" {
		t.Errorf("still %q", off)
	}

	for kind, key := range map[string]string{"setting": "recoveries", "downtime": "db2:3306", "rule": "no server at all"} {
		bad := backend.Record{Kind: kind, Key: key, Version: time.Now().UnixMicro(), Writer: "x", Document: json.RawMessage(`[7]`)}
		must(t, w.store.Put(t.Context(), bad))
		if off := w.book("d3", 0).RecoveriesOff(); !strings.HasPrefix(off, unknown) || !strings.Contains(off, kind) {
			t.Errorf("with a %s that makes no sense RecoveriesOff = %q", kind, off)
		}
		bad.Version, bad.Deleted, bad.Document = bad.Version+1, true, nil
		must(t, w.store.Put(t.Context(), bad))
	}
	if off := w.book("d3", 0).RecoveriesOff(); off != "" {
		t.Errorf("still %q", off)
	}
}

func TestListings(t *testing.T) {
	b := newWorld(t).book("d1", 0)
	ctx := t.Context()
	must(t, errors.Join(b.Forget(ctx, db2), b.Forget(ctx, db1), b.SetAlias(ctx, "c1", "shop"), b.SetDowntime(ctx, db1, downtime())))
	if got := b.AllForgotten(); !slices.Equal(got, []topology.Key{db1, db2}) {
		t.Errorf("AllForgotten = %v", got)
	}
	if got := b.Aliases(); !maps.Equal(got, map[string]string{"c1": "shop"}) {
		t.Errorf("Aliases = %v", got)
	}
	b.Aliases()["c1"] = "changed" // what is handed out is the caller's
	if b.Alias("c1") != "shop" {
		t.Error("a change of what was handed out changed the book")
	}
	if got := b.Downtimes(); len(got) != 1 || got[db1].Owner != "ann" {
		t.Errorf("Downtimes = %v", got)
	}
}

// Writers, readers and refreshes at once: no write is overlooked by a refresh that read before it.
func TestAtTheSameTime(t *testing.T) {
	w := newWorld(t)
	w.store.slow = true
	b := w.book("d1", 0)
	var wg sync.WaitGroup
	for port := range 20 {
		wg.Go(func() {
			k := topology.Key{Host: "db", Port: port + 1}
			if err := b.Forget(t.Context(), k); err != nil {
				t.Error(err)
			}
			if !b.Forgotten(k) {
				t.Errorf("%v was forgotten, and is not", k)
			}
		})
		wg.Go(func() {
			if err := b.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
			b.Mark(&topology.Server{Key: db1})
		})
	}
	wg.Wait()
	if n := len(b.AllForgotten()); n != 20 {
		t.Errorf("%d of 20", n)
	}
}

func TestAWriteThatWaitsEndsWithItsContext(t *testing.T) {
	b := newWorld(t).book("d1", 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Forget(ctx, db1); !errors.Is(err, context.Canceled) {
		t.Errorf("Forget = %v", err)
	}
}
