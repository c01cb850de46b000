package trail

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/audit"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// store is one that can be made to fail.
type store struct {
	backend.Store
	mu   sync.Mutex
	down error
}

func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

func (s *store) Put(ctx context.Context, records ...backend.Record) error {
	s.mu.Lock()
	err := s.down
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.Store.Put(ctx, records...)
}

// writer is a daemon with its file.
type writer struct {
	*Trail
	outbox *backend.Outbox
}

// begin opens the trail of a daemon that keeps its records in a store, and its head in a file.
func begin(t testing.TB, s backend.Store, row backend.Lease) writer {
	t.Helper()
	clock := backend.NewClock(time.Now)
	o := backend.NewOutbox(s, time.Now)
	tr, err := Open(t.Context(), Options{Outbox: o, Store: s, Clock: clock, Process: "h:1:" + random(), Name: "h",
		Row: row, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	return writer{tr, o}
}

func (w writer) change(t testing.TB, by string, status int) {
	t.Helper()
	w.Append(t.Context(), audit.Entry{By: by, Change: "setTag", Method: "PUT", Status: status})
}

// verify returns how many records there are, and what is broken.
func (w writer) verify(t testing.TB) (records int, says []string) {
	t.Helper()
	kept, err := w.Read(t.Context())
	must(t, err)
	text, err := kept.Export()
	must(t, err)
	read, unreadable := audit.Import(text)
	says = unreadable
	for _, c := range audit.Verify(read) {
		records += c.Records
		says = append(says, c.Broken...)
	}
	return records, says
}

func (w writer) whole(t testing.TB, want int) {
	t.Helper()
	if n, says := w.verify(t); n != want || len(says) > 0 {
		t.Errorf("%d records, want %d; broken: %q", n, want, says)
	}
}

func openFile(t testing.TB, path string) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.OpenSQLite(path)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestAChainGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.db")
	for life := range 3 {
		s := openFile(t, path)
		w := begin(t, s, s.Lease("audit"))
		w.change(t, "ann", 200)
		w.change(t, "bob", 503)
		w.whole(t, 2*(life+1))
		must(t, s.Close())
	}
	s := openFile(t, path)
	kept, err := begin(t, s, s.Lease("audit")).Read(t.Context())
	must(t, err)
	if chains := audit.Verify(kept); len(chains) != 1 || chains[0].Last != 6 {
		t.Errorf("%+v", chains)
	}
}

// Somebody who can write to the file changes history there.
func TestARecordThatIsChangedInTheStoreIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.db")
	s := openFile(t, path)
	w := begin(t, s, s.Lease("audit"))
	for _, by := range []string{"ann", "bob", "cid", "dan"} {
		w.change(t, by, 200)
	}
	w.whole(t, 4)
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	for _, c := range []struct{ statement, want string }{
		{`UPDATE record SET document = replace(document, 'bob', 'eve') WHERE kind = 'audit'`,
			"record 2 was changed after it was written"},
		{`DELETE FROM record WHERE kind = 'audit' AND key LIKE '%/000000000004/%'`, "record 4 is missing"},
		{`UPDATE record SET document = '{}' WHERE kind = 'audit' AND key LIKE '%/000000000003/%'`, "can't be read"},
		{`UPDATE record SET document = '[]' WHERE kind <> 'audit'`, "record 2 was changed after it was written"},
	} {
		_, err := db.ExecContext(t.Context(), c.statement)
		must(t, err)
		if _, says := w.verify(t); !strings.Contains(strings.Join(says, "\n"), c.want) {
			t.Errorf("%s: broken are %q, want %q", c.statement, says, c.want)
		}
	}
	next := begin(t, s, s.Lease("audit")) // all of this does not keep a daemon from starting
	next.change(t, "ann", 200)
	if _, says := next.verify(t); len(says) < 3 {
		t.Errorf("after a restart, only %q is broken", says)
	}
}

// While the store takes nothing, changes go on; their records are seen, and stored later.
func TestNothingIsLostWhileTheStoreIsAway(t *testing.T) {
	file := openFile(t, filepath.Join(t.TempDir(), "o.db"))
	s := &store{Store: &storetest.Memory{}}
	w := begin(t, s, file.Lease("audit"))
	w.change(t, "ann", 200)
	s.fail(backend.ErrUnavailable)
	began := time.Now()
	w.change(t, "bob", 200)
	w.change(t, "cid", 503)
	if took := time.Since(began); took > 2*patience {
		t.Errorf("two changes waited %v", took)
	}
	w.whole(t, 3)
	if n := stored(t, s); n != 1 {
		t.Errorf("%d are stored", n)
	}
	s.fail(nil)
	w.Wait()
	must(t, w.outbox.Empty(t.Context()))
	w.whole(t, 3)
	if n := stored(t, s); n != 3 {
		t.Errorf("%d are stored", n)
	}
}

func stored(t testing.TB, s backend.Store) int {
	t.Helper()
	records, err := s.List(t.Context(), RecordKind)
	must(t, err)
	return len(records)
}

// hanging is a store that does not answer.
type hanging struct {
	backend.Store
	until chan struct{}
}

func (h hanging) Put(context.Context, ...backend.Record) error {
	<-h.until
	return errors.New("it hung")
}

func TestAStoreThatHangsDelaysAChangeByAMoment(t *testing.T) {
	file := openFile(t, filepath.Join(t.TempDir(), "o.db"))
	s := hanging{&storetest.Memory{}, make(chan struct{})}
	w := begin(t, s, file.Lease("audit"))
	began := time.Now()
	w.change(t, "ann", 200)
	if took := time.Since(began); took < patience || took > 5*patience {
		t.Errorf("a change waited %v", took)
	}
	close(s.until)
	w.Wait()
	if w.outbox.Waits() != 2 {
		t.Errorf("%d records wait", w.outbox.Waits())
	}
}

// A process that ends before the store has its last records: the gap is seen, by what is in its file.
func TestALostEndIsSeen(t *testing.T) {
	file := openFile(t, filepath.Join(t.TempDir(), "o.db"))
	s := &store{Store: &storetest.Memory{}}
	w := begin(t, s, file.Lease("audit"))
	w.change(t, "ann", 200)
	s.fail(backend.ErrUnavailable)
	w.change(t, "bob", 200)
	w.Wait()
	s.fail(nil)
	next := begin(t, s, file.Lease("audit"))
	if _, says := next.verify(t); !slices.Equal(says, []string{"record 2 is missing"}) {
		t.Errorf("before the next change, broken is %q", says)
	}
	next.change(t, "cid", 200)
	if n, says := next.verify(t); n != 2 || !slices.Equal(says, []string{"record 2 is missing"}) {
		t.Errorf("%d records, broken is %q", n, says)
	}
}

// Two daemons that think they are the same, as after a copy of a machine: both records stay, and the fork is named.
func TestAForkIsSeen(t *testing.T) {
	file := openFile(t, filepath.Join(t.TempDir(), "o.db"))
	s := &storetest.Memory{}
	a := begin(t, s, file.Lease("audit"))
	a.change(t, "ann", 200)
	b := begin(t, s, file.Lease("audit"))
	a.change(t, "ann", 200)
	b.change(t, "bob", 200)
	if n, says := a.verify(t); n != 3 || len(says) != 1 || !strings.Contains(says[0], "have the number 2") {
		t.Errorf("%d records, broken is %q", n, says)
	}
}

func TestEachDaemonHasItsChain(t *testing.T) {
	s := &storetest.Memory{}
	a, b := begin(t, s, s.Lease("audit a")), begin(t, s, s.Lease("audit b"))
	a.change(t, "ann", 200)
	b.change(t, "bob", 200)
	a.change(t, "ann", 200)
	b.whole(t, 3)
	kept, err := b.Read(t.Context())
	must(t, err)
	if chains := audit.Verify(kept); len(chains) != 2 {
		t.Errorf("%+v", chains)
	}
}

func TestOldRecordsAreRemovedAndTheRestIsVerified(t *testing.T) {
	s := &storetest.Memory{}
	a, b := begin(t, s, s.Lease("audit a")), begin(t, s, s.Lease("audit b"))
	for range 5 {
		a.change(t, "ann", 200)
		b.change(t, "bob", 200)
	}
	must(t, a.Prune(t.Context(), time.Now().Add(-time.Hour).UnixMicro()))
	a.whole(t, 10)
	must(t, a.prune(t.Context(), time.Now().Add(-time.Hour).UnixMicro(), 3))
	a.whole(t, 3)
	must(t, b.prune(t.Context(), time.Now().Add(-time.Hour).UnixMicro(), 2))
	b.whole(t, 2)
	// A daemon that was away cuts where it would have cut then: what was cut since stays known.
	b.change(t, "bob", 200)
	b.whole(t, 3)
	must(t, a.Prune(t.Context(), time.Now().Add(time.Hour).UnixMicro()))
	a.whole(t, 0)
	a.change(t, "ann", 200)
	b.whole(t, 1)
}

// Refusals that somebody causes without end do not fill the store; how many there were is recorded.
func TestAFloodOfRefusalsIsCounted(t *testing.T) {
	s := &storetest.Memory{}
	w := begin(t, s, s.Lease("audit"))
	const more = 500
	for range burst + more {
		w.change(t, "eve", 403)
	}
	w.Append(t.Context(), audit.Entry{By: "eve", Change: "setTag", Status: 500, Panicked: true})
	w.change(t, "ann", 200)
	n, says := w.verify(t)
	if n < burst+2 || n > burst+10 || len(says) > 0 {
		t.Fatalf("%d records, broken: %q", n, says)
	}
	kept, err := w.Read(t.Context())
	must(t, err)
	var missed, panicked int64
	for _, d := range kept.Documents {
		r, err := audit.Parse(d)
		must(t, err)
		missed += r.Missed
		if r.Panicked {
			panicked++
		}
	}
	if missed+int64(n) != burst+more+2 || panicked != 1 {
		t.Errorf("%d records, %d counted, %d that panicked", n, missed, panicked)
	}
}

func TestChangesAtTheSameTimeMakeOneChain(t *testing.T) {
	s := openFile(t, filepath.Join(t.TempDir(), "o.db"))
	w := begin(t, s, s.Lease("audit"))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 5 {
				w.change(t, "ann", 200)
			}
		})
	}
	all.Wait()
	w.whole(t, 100)
}
