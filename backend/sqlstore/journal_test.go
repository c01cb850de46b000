package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

var kinds = JournalOptions{Facts: []string{"instance", "step"}, Owed: []string{"episode"}}

func openJournal(t testing.TB, remote *Store, path string) *Journal {
	t.Helper()
	local, err := OpenSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(t.Context(), remote, local, kinds)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func TestJournalIsAStore(t *testing.T) {
	if testing.Short() {
		t.Skip("writes twice what the other stores do")
	}
	storetest.Run(t, func(t testing.TB, dir string) backend.Store {
		here := filepath.Join(t.TempDir(), "journal.db") // each daemon has its own
		return openJournal(t, open(t, dir), here)
	})
}

// nobody is where no backend is.
func nobody(t testing.TB) *Store {
	o := options("127.0.0.1:1")
	o.Timeout = 200 * time.Millisecond
	return dial(t, o)
}

func of(kind, key string) backend.Record {
	return backend.Record{Kind: kind, Key: key, Version: time.Now().UnixMicro(), Writer: "w", Document: []byte(`{}`)}
}

func wantKeys(t testing.TB, s backend.Store, kind string, keys ...string) {
	t.Helper()
	got, err := s.List(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, r := range got {
		have = append(have, r.Key)
	}
	if !slices.Equal(have, keys) {
		t.Errorf("%s: %q, want %q", kind, have, keys)
	}
}

// Of what was deleted no caller hears; the clock does, also in the next life, so that what is written next wins over
// it.
func TestTheClockIsToldOfWhatWasDeleted(t *testing.T) {
	dir := t.TempDir()
	there, ahead := open(t, dir), of("tag", "gone")
	ahead.Version, ahead.Deleted, ahead.Document = time.Now().Add(time.Hour).UnixMicro(), true, nil
	put(t, there, ahead)
	for range 2 {
		o := kinds
		o.Clock = backend.NewClock(time.Now)
		local, err := OpenSQLite(filepath.Join(dir, "journal.db"))
		must(t, err)
		j, err := OpenJournal(t.Context(), open(t, dir), local, o)
		must(t, err)
		if j.Newest() == 0 {
			_, err = j.List(t.Context(), "tag")
			must(t, err)
		}
		if v := o.Clock.Next(); v <= ahead.Version {
			t.Errorf("the next version is %v before it", time.Duration(ahead.Version-v)*time.Microsecond)
		}
		must(t, j.Close())
	}
}

func TestWithoutABackendTheJournalAnswersAndAcknowledgesNothingThatIsDeclared(t *testing.T) {
	dir := t.TempDir()
	path, there := filepath.Join(dir, "journal.db"), filepath.Join(dir, "there.db")
	backing := func() *Store {
		s, err := OpenSQLite(there)
		must(t, err)
		return s
	}
	j := openJournal(t, backing(), path)
	put(t, j, of("tag", "mine"), of("instance", "db1"))
	other := backing()
	put(t, other, of("tag", "of another"), of("instance", "db2"))
	wantKeys(t, j, "tag", "mine", "of another")
	must(t, j.Close())

	j = openJournal(t, nobody(t), path) // starts all the same
	wantKeys(t, j, "tag", "mine", "of another")
	wantKeys(t, j, "instance", "db1")
	if r, err := j.Get(t.Context(), "tag", "of another"); err != nil || r.Key != "of another" {
		t.Errorf("Get = %v, %v", r, err)
	}
	for kind, acknowledged := range map[string]bool{"tag": false, "instance": true, "step": true, "episode": false} {
		err := j.Put(t.Context(), of(kind, "new"))
		if (err == nil) != acknowledged || err != nil && !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Put of %s = %v", kind, err)
		}
	}
	if err := j.Put(t.Context(), of("instance", "with"), of("tag", "with")); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Put of both = %v", err)
	}
	must(t, j.Close())

	// It is back: it gets what it is owed, and what was refused stays refused.
	j = openJournal(t, backing(), path)
	wantKeys(t, j, "tag", "mine", "of another")
	wantKeys(t, other, "instance", "db1", "db2", "new", "with")
	wantKeys(t, other, "episode", "new")
	wantKeys(t, other, "step", "new")
}

// What another daemon has deleted must not live again from here, neither shown while the backend is away nor written
// into it.
func TestTheJournalLearnsOfDeletions(t *testing.T) {
	dir := t.TempDir()
	path, there := filepath.Join(dir, "journal.db"), filepath.Join(dir, "there.db")
	one, err := OpenSQLite(there)
	must(t, err)
	two, err := OpenSQLite(there)
	must(t, err)
	defer two.Close()
	j := openJournal(t, one, path)
	put(t, j, of("tag", "a"))
	gone := of("tag", "a")
	gone.Deleted, gone.Document = true, nil
	put(t, two, gone)
	wantKeys(t, j, "tag")
	must(t, j.Close())
	wantKeys(t, openJournal(t, nobody(t), path), "tag")
}

func TestAfterALongAbsenceTheJournalIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	j := openJournal(t, open(t, dir), path)
	put(t, j, of("tag", "a"))
	j.Remember(7)
	must(t, j.Close())

	local, err := OpenSQLite(path)
	must(t, err)
	_, err = local.write.Exec("UPDATE lease SET term = term - ? WHERE name = ?", 8*24*3600, rowContact)
	must(t, err)
	must(t, local.Close())

	other := t.TempDir()
	j = openJournal(t, open(t, other), path)
	wantKeys(t, j, "tag")
	if j.Highest() != 7 {
		t.Errorf("Highest = %d: terms are for ever", j.Highest())
	}
}

func TestFactsInTheJournalAgeAndWhatIsDeclaredDoesNot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	j := openJournal(t, open(t, dir), path)
	old := time.Now().Add(-25 * time.Hour).UnixMicro()
	for _, kind := range []string{"instance", "step", "tag", "episode"} {
		r := of(kind, "old")
		r.Version = old
		put(t, j, r, of(kind, "new"))
	}
	must(t, j.Close())
	j = openJournal(t, nobody(t), path)
	wantKeys(t, j, "instance", "new")
	wantKeys(t, j, "step", "new")
	wantKeys(t, j, "tag", "new", "old")
	wantKeys(t, j, "episode", "new", "old")
}

func TestTheJournalRemembersTheHighestTermAndTheNewestVersion(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	j := openJournal(t, open(t, dir), path)
	newest := of("tag", "a")
	put(t, j, newest)
	older := of("instance", "b")
	older.Version -= 1_000_000
	put(t, j, older)
	j.Remember(5)
	j.Remember(3)
	for range 2 {
		if j.Highest() != 5 || j.Newest() != newest.Version {
			t.Errorf("Highest = %d, Newest = %d, want 5 and %d", j.Highest(), j.Newest(), newest.Version)
		}
		must(t, j.Close())
		j = openJournal(t, nobody(t), path)
	}
	// What the backend never had is no reason to call it stale.
	put(t, j, of("instance", "c"))
	if j.Newest() != newest.Version {
		t.Errorf("Newest = %d, want %d", j.Newest(), newest.Version)
	}
}

// The member that takes over has got nothing by replication, and yet all that was acknowledged is there before anybody
// reads from it: what this daemon wrote, what others declared and this one has seen, and the facts of the last hours.
func TestWhatWasAcknowledgedSurvivesASwitch(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		a, b, err := l.Pair(t.Context(), f, lab.Quick()...)
		must(t, err)
		p, err := l.Proxy()
		must(t, err)
		defer p.Close()
		p.Point(a)
		var daemons []*Journal
		for i := range 2 {
			daemons = append(daemons, openJournal(t, dial(t, options(p.Key.String())),
				filepath.Join(t.TempDir(), fmt.Sprint(i, ".db"))))
		}
		one, two := daemons[0], daemons[1]
		put(t, one, of("tag", "replicated"))
		waitFor(t, "the pair to replicate", func() bool {
			s := dial(t, options(b.Key.String()))
			found, err := s.List(t.Context(), "tag")
			return err == nil && len(found) == 1
		})
		stop := map[topology.Flavor]string{lab.MariaDB: "STOP SLAVE", lab.MySQL: "STOP REPLICA"}[f]
		must(t, b.Exec(t.Context(), stop))
		var want []string
		for i := range 1200 { // more than one part
			want = append(want, fmt.Sprintf("%04d", i))
		}
		var records []backend.Record
		for _, key := range want {
			records = append(records, of("downtime", key))
		}
		put(t, one, records...)
		put(t, one, of("instance", "db1"))
		put(t, two, of("tag", "of two"))
		wantKeys(t, one, "tag", "of two", "replicated")

		for _, d := range daemons {
			before, err := d.Identity(t.Context())
			must(t, err)
			defer func() {
				if after, err := d.Identity(t.Context()); err != nil || after == before {
					t.Errorf("the identity is still %s (%v)", after, err)
				}
			}()
		}
		must(t, a.Kill())
		p.Switch(b)
		wantKeys(t, one, "downtime", want...)
		wantKeys(t, one, "tag", "of two", "replicated") // of another daemon, which has not come back yet
		wantKeys(t, one, "instance", "db1")
		wantKeys(t, two, "downtime", want...)
	})
}

// The same server, by its name, comes back with less than it had: installed anew, restored, or without the commits of
// its last moments.
func TestWhatWasAcknowledgedSurvivesAServerThatLosesIt(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		j := openJournal(t, dial(t, options(m.Key.String())), filepath.Join(t.TempDir(), "j.db"))
		put(t, j, of("tag", "first"))
		put(t, j, of("tag", "last"))
		identity, err := j.Identity(t.Context())
		must(t, err)
		for _, loss := range [][]string{
			{"DELETE FROM orchestrator.record WHERE record.key = 'last'"},
			{"DROP DATABASE orchestrator", "CREATE DATABASE orchestrator"},
		} {
			must(t, m.Exec(t.Context(), loss...))
			must(t, m.Kill())
			must(t, m.Restart(t.Context()))
			waitFor(t, "the backend to be there", func() bool { _, err := j.Identity(t.Context()); return err == nil })
			wantKeys(t, j, "tag", "first", "last")
			other := dial(t, options(m.Key.String()))
			wantKeys(t, other, "tag", "first", "last")
			if after, err := other.Identity(t.Context()); err != nil || after != identity {
				t.Fatalf("the identity was %s, and is %s (%v): the test is of the same one", identity, after, err)
			}
		}
		replayed := j.replayed.Load()
		must(t, m.Kill())
		must(t, m.Restart(t.Context()))
		waitFor(t, "the backend to be there", func() bool { _, err := j.Identity(t.Context()); return err == nil })
		wantKeys(t, j, "tag", "first", "last")
		if n := j.replayed.Load() - replayed; n != 0 {
			t.Errorf("the journal was replayed %d times into a server that had lost nothing", n)
		}
	})
}

// A backend that hangs costs one timeout, and not one for each question: what is judged must not wait for it.
func TestAHungBackendDoesNotHoldUpReads(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		o := options(m.Key.String())
		o.Timeout = 300 * time.Millisecond
		j := openJournal(t, dial(t, o), filepath.Join(t.TempDir(), "journal.db"))
		put(t, j, of("setting", "a"))
		must(t, m.Hang())
		start := time.Now()
		for range 20 {
			wantKeys(t, j, "setting", "a")
		}
		if took := time.Since(start); took > 2*o.Timeout {
			t.Errorf("20 reads took %v", took)
		}
		if err := j.Put(t.Context(), of("setting", "b")); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Put = %v", err)
		}
		must(t, m.Continue())
		waitFor(t, "the backend", func() bool { return j.Put(t.Context(), of("setting", "c")) == nil })
		wantKeys(t, j, "setting", "a", "c")
	})
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestTheJournalCountsWhatFails(t *testing.T) {
	dir := t.TempDir()
	remote, err := OpenSQLite(filepath.Join(dir, "there.db"))
	must(t, err)
	_, err = remote.write.ExecContext(t.Context(), "DROP TABLE record")
	must(t, err)
	j := openJournal(t, remote, filepath.Join(dir, "journal.db"))
	shown := func() map[string]float64 {
		t.Helper()
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(j)
		families, err := registry.Gather()
		must(t, err)
		out := map[string]float64{}
		for _, f := range families {
			out[f.GetName()] = f.Metric[0].GetCounter().GetValue() + f.Metric[0].GetGauge().GetValue()
		}
		return out
	}
	must(t, j.local.Put(t.Context(), of("tag", "old"))) // of a former life
	if err := j.Put(t.Context(), of("episode", "e1")); err == nil {
		t.Error("stored although there is no table")
	}
	if got := shown(); got["orchestrator_journal_owed_records"] != 1 ||
		got["orchestrator_journal_undelivered_total"] != 1 || got["orchestrator_journal_failures_total"] != 0 {
		t.Errorf("without a table there: %v", got)
	}
	must(t, j.local.Close())
	if err := j.Put(t.Context(), of("instance", "db2")); err == nil {
		t.Error("stored although there is no file")
	}
	if got := shown(); got["orchestrator_journal_failures_total"] != 1 ||
		got["orchestrator_journal_replays_total"] != 0 {
		t.Errorf("without a file: %v", got)
	}
}

// A record that the server refuses, at each writing or only when it is back, keeps no other out, and is named.
func TestABadRecordKeepsNobodyOut(t *testing.T) {
	onMembers(t, func(t *testing.T, s *lab.Server) {
		must(t, s.Exec(t.Context(), "SET GLOBAL max_allowed_packet = 1048576"))
		t.Cleanup(func() { must(t, s.Exec(context.Background(), "SET GLOBAL max_allowed_packet = 16777216")) })
		bad := of("episode", "bad")
		bad.Document = []byte(`"` + strings.Repeat("x", 3<<20) + `"`)
		for name, put := range map[string]func(s backend.Store, records ...backend.Record) error{
			"one by one": func(s backend.Store, records ...backend.Record) (failed error) {
				for _, r := range records {
					if err := s.Put(t.Context(), r); err != nil && failed == nil {
						failed = err
					}
				}
				return failed
			},
			"at once": func(s backend.Store, records ...backend.Record) error {
				return backend.PutEach(t.Context(), s, records...)
			},
		} {
			t.Run(name, func(t *testing.T) {
				there := databasesOf(s)(t, t.TempDir())
				j := openJournal(t, there, filepath.Join(t.TempDir(), "journal.db"))
				err := put(j, of("episode", "a"), bad, of("episode", "c"), of("instance", "i"), of("tag", "t"))
				if err == nil || !strings.Contains(err.Error(), "max_allowed_packet") {
					t.Errorf("put = %v", err)
				}
				must(t, j.Put(t.Context(), of("tag", "later")))
				wantKeys(t, there, "episode", "a", "c")
				wantKeys(t, there, "instance", "i")
				wantKeys(t, j, "tag", "later", "t")
				if n := j.undelivered.Load(); n != 0 {
					t.Logf("%d undelivered", n)
				}
			})
		}
	})
}
