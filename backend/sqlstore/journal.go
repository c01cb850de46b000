package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/plural"
)

// JournalOptions are the options of a Journal.
type JournalOptions struct {
	// Facts are the kinds that can be found again, and bookkeeping: a Put of only these succeeds even while the
	// backend is unavailable, which gets them later. All other kinds are declarations: acknowledged only when the
	// backend has them, and kept here for ever.
	Facts []string
	// Owed are declared kinds that the backend gets later although their Put has failed, because they describe what
	// has happened.
	Owed []string
	// Keep is how long facts are kept here; default a day.
	Keep time.Duration
	// Away is how long this daemon may be without contact to the backend and still deliver older declarations; default
	// a week. It must be less than the time for which deletions are remembered there, otherwise deleted records would
	// come back.
	Away   time.Duration
	Clock  *backend.Clock // observes every version that is seen, even of deleted records; may be nil
	Logger *slog.Logger   // nil: silent
}

// Journal is a store with its own copy, in case the backend comes back with less than it had: another member of a
// pair, a restored backup. It is a backend.Store, and owns the two stores that it consists of.
//
// This daemon writes to the journal first, then to the backend. When another server appears behind the address, it
// gets the whole journal before anything is read from it; records merge, so duplicates do no harm. While the backend is
// unavailable, reads are answered from the journal.
type Journal struct {
	remote *Store
	there  Store // remote; used only after delivery
	local  *Store
	o      JournalOptions

	failures, undelivered, replayed atomic.Int64 // for the metrics: see journal_metrics.go

	ctx    context.Context // ends when the journal is closed
	cancel context.CancelFunc
	work   sync.WaitGroup

	began time.Time
	// until this long after began, reads don't ask the backend; 0: they do. Not wall time: clocks are set
	down    atomic.Int64
	contact atomic.Int64 // unix time of the last contact that was recorded
	purged  atomic.Int64 // the last time, as long after began

	mu        sync.Mutex
	delivery  *delivery // under way
	delivered int64     // epoch of the server that has everything except what is owed
	owed      map[name]backend.Record
	highest   int64
	newest    int64
	served    string
}

var _ backend.Store = (*Journal)(nil)

// name identifies a record.
type name struct{ kind, key string }

type delivery struct {
	done chan struct{}
	err  error
}

// Rows of the local lease table with one number each: there, the higher one wins, as it should.
const (
	rowHighest = "highest term"
	rowNewest  = "newest version"
	rowContact = "last contact"
	rowServed  = "served" // and a name
)

// OpenJournal makes one store of two: the backend, and a file. It does not ask the backend. It owns both from then on.
func OpenJournal(ctx context.Context, remote, local *Store, o JournalOptions) (*Journal, error) {
	if o.Keep <= 0 {
		o.Keep = 24 * time.Hour
	}
	if o.Away <= 0 {
		o.Away = 7 * 24 * time.Hour
	}
	if o.Clock == nil {
		o.Clock = backend.NewClock(time.Now)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	j := &Journal{began: time.Now(), remote: remote, there: *remote, local: local, o: o,
		owed: map[name]backend.Record{}}
	j.there.lend = j.lend
	for name, into := range map[string]*int64{rowHighest: &j.highest, rowNewest: &j.newest} {
		row, err := local.Lease(name).Read(ctx)
		if err != nil {
			return nil, fmt.Errorf("open the journal: %w", err)
		}
		*into = row.Term
	}
	row, err := local.Lease(rowServed).Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j.served = row.Holder
	o.Clock.Resume(j.newest)
	if err := j.age(ctx); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j.ctx, j.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return j, nil
}

// age drops old facts, and, after a long absence, declarations.
func (j *Journal) age(ctx context.Context) error {
	now := j.o.Clock.Now()
	j.purged.Store(int64(time.Since(j.began)))
	for _, kind := range j.o.Facts {
		if err := j.local.Purge(ctx, kind, j.o.Clock.Before(j.o.Keep), true); err != nil {
			return err
		}
	}
	row, err := j.local.Lease(rowContact).Read(ctx)
	if err != nil || row.Term == 0 || j.contact.Load() > 0 || now.Sub(time.Unix(row.Term, 0)) < j.o.Away {
		return err
	}
	all, err := j.local.Everything(ctx)
	if err != nil {
		return err
	}
	for i, r := range all {
		if i == 0 || r.Kind != all[i-1].Kind {
			if err := j.local.Purge(ctx, r.Kind, math.MaxInt64, true); err != nil {
				return err
			}
		}
	}
	j.o.Logger.Warn("the journal is too old to be trusted", "last_contact", time.Unix(row.Term, 0), "dropped", len(all))
	return nil
}

// lend is remote's, but first delivers the journal to the server.
func (j *Journal) lend(ctx context.Context, pool *sql.DB, do func(*sql.Conn, dialect) error) error {
	for range 4 {
		behind := false
		err := j.remote.lend(ctx, pool, func(c *sql.Conn, d dialect) error {
			epoch, err := epochOf(c)
			if err != nil {
				return err
			}
			if behind = j.behind(epoch); behind {
				return nil // waiting here would block the connection for the delivery
			}
			return do(c, d)
		})
		if err == nil && behind {
			if err = j.deliver(ctx); err == nil {
				continue
			}
		}
		j.reached(ctx, err)
		return err
	}
	return fmt.Errorf("%w: its identity keeps changing", backend.ErrUnavailable)
}

func epochOf(c *sql.Conn) (epoch int64, err error) {
	err = c.Raw(func(raw any) error {
		epoch = 1 // a file stays what it is
		if s, ok := raw.(*session); ok {
			epoch = s.epoch
		}
		return nil
	})
	return epoch, err
}

func (j *Journal) behind(epoch int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.delivered != epoch || len(j.owed) > 0
}

// deliver waits until the server has everything, or ctx ends. The delivery itself continues: its next user may find it
// done.
func (j *Journal) deliver(ctx context.Context) error {
	j.mu.Lock()
	d := j.delivery
	if d == nil && j.ctx.Err() == nil {
		d = &delivery{done: make(chan struct{})}
		j.delivery = d
		j.work.Go(func() {
			if d.err = j.replay(); d.err != nil && j.ctx.Err() == nil {
				j.undelivered.Add(1)
			}
			j.mu.Lock()
			j.delivery = nil
			j.mu.Unlock()
			close(d.done)
		})
	}
	j.mu.Unlock()
	if d == nil {
		return sql.ErrConnDone
	}
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		return fmt.Errorf("%w: the journal is being delivered to it: %w", backend.ErrUnavailable, ctx.Err())
	}
}

// replay merges the whole journal into the server, or, if that has had it already, what it is owed. It works in parts,
// which are independent.
func (j *Journal) replay() error {
	started := time.Now()
	var epoch int64
	var records []backend.Record
	var refused backend.Refusals
	pool := j.remote.read // not the pool of one connection, for which all that wait for this queue
	if j.remote.mysql == nil {
		pool = j.remote.write
	}
	err := j.remote.lend(j.ctx, pool, func(c *sql.Conn, d dialect) (err error) {
		if epoch, err = epochOf(c); err != nil {
			return err
		}
		if records, err = j.missing(epoch); err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		refused, err = d.each(j.ctx, c, records)
		return err
	})
	if err != nil {
		return fmt.Errorf("deliver the journal to %s: %w", j.remote.name, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.delivered = epoch
	for _, r := range records {
		if o := j.owed[name{r.Kind, r.Key}]; !o.Wins(r) {
			delete(j.owed, name{r.Kind, r.Key})
		}
	}
	if len(refused) > 0 { // they stay in the file, and are offered to the next server
		j.undelivered.Add(1)
		j.o.Logger.Error("records of the journal are refused; the others are delivered", "into", j.remote.name,
			"refused", len(refused), "error", refused)
	}
	j.replayed.Add(1)
	j.o.Logger.Info("journal replayed", "into", j.remote.name, "records", len(records)-len(refused), "took",
		time.Since(started))
	return nil
}

// missing returns what the server of that epoch may not have.
func (j *Journal) missing(epoch int64) ([]backend.Record, error) {
	j.mu.Lock()
	owed := winners(slices.Collect(maps.Values(j.owed)))
	same := j.delivered == epoch
	j.mu.Unlock()
	if same {
		return owed, nil
	}
	all, err := j.local.Everything(j.ctx)
	return winners(append(all, owed...)), err
}

func (j *Journal) owe(records []backend.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range records {
		if n := (name{r.Kind, r.Key}); !j.owed[n].Wins(r) {
			j.owed[n] = r
		}
	}
}

// reached records how the last use of the backend ended. A caller whose time was over says nothing about it.
func (j *Journal) reached(ctx context.Context, err error) {
	switch {
	case errors.Is(err, backend.ErrUnavailable) && ctx.Err() == nil:
		// Reads are then answered from the journal, instead of each waiting for a server that hangs.
		pause := time.Second
		if j.remote.mysql != nil {
			pause = 2 * j.remote.mysql.options.Timeout
		}
		if j.down.Swap(int64(time.Since(j.began)+pause)) == 0 {
			j.o.Logger.Warn("backend unavailable: reads are answered from the journal", "error", err)
		}
	case err == nil:
		if j.down.Swap(0) != 0 {
			j.o.Logger.Info("backend available again")
		}
		const often = time.Minute
		if now := j.o.Clock.Now(); now.Sub(time.Unix(j.contact.Load(), 0)).Abs() >= often {
			j.contact.Store(now.Unix())
			j.note(rowContact, now.Unix())
		}
	}
}

func (j *Journal) note(row string, value int64) { j.noteHold(row, backend.Hold{Term: value}) }

func (j *Journal) noteHold(row string, h backend.Hold) {
	if _, err := j.local.Lease(row).Beat(j.ctx, h); err != nil && j.ctx.Err() == nil {
		j.failures.Add(1)
		j.o.Logger.Error("the journal can't be written", "what", row, "error", err)
	}
}

// Put writes to the journal, then to the backend, and returns when both have it. If the backend can't be reached from
// the start, no declaration is written anywhere. If it fails later, it is not known whether the backend has it: it gets
// it when it is back.
func (j *Journal) Put(ctx context.Context, records ...backend.Record) error {
	for _, r := range records {
		if err := r.Check(); err != nil {
			return fmt.Errorf("put into %s: %w", j.remote.name, err)
		}
	}
	if time.Since(j.began)-time.Duration(j.purged.Load()) > time.Hour {
		if err := j.age(ctx); err != nil {
			j.failures.Add(1)
			j.o.Logger.Error("the journal can't be purged", "error", err)
		}
	}
	there := j.lend(ctx, j.remote.write, func(c *sql.Conn, _ dialect) error {
		if j.away() {
			return c.PingContext(ctx) // an open connection may be to a server that hangs
		}
		return nil
	})
	keep := records
	if there != nil {
		keep = slices.DeleteFunc(slices.Clone(records), func(r backend.Record) bool {
			return !slices.Contains(j.o.Facts, r.Kind) && !slices.Contains(j.o.Owed, r.Kind)
		})
	}
	if err := j.local.Put(context.WithoutCancel(ctx), keep...); err != nil {
		j.failures.Add(1)
		return fmt.Errorf("write the journal: %w", err)
	}
	if there == nil {
		there = j.there.Put(ctx, records...)
	} else {
		there = fmt.Errorf("put %s into %s: %w", plural.Count(len(records), "record"), j.remote.name, there)
	}
	if there == nil {
		j.saw(records...)
		return nil
	}
	j.owe(keep)
	declared := slices.ContainsFunc(records, func(r backend.Record) bool { return !slices.Contains(j.o.Facts, r.Kind) })
	if declared || !errors.Is(there, backend.ErrUnavailable) {
		return there
	}
	return nil
}

// saw remembers the newest version that the backend has had. One that is too far ahead does not count: every other
// server would look stale for ever.
func (j *Journal) saw(records ...backend.Record) {
	newest := int64(0)
	for _, r := range records {
		if j.o.Clock.See(r) == nil {
			newest = max(newest, r.Version)
		}
	}
	j.mu.Lock()
	rises := newest > j.newest
	j.newest = max(newest, j.newest)
	j.mu.Unlock()
	if rises {
		j.note(rowNewest, newest)
	}
}

// away says whether reads are answered from the journal for now.
func (j *Journal) away() bool { return int64(time.Since(j.began)) < j.down.Load() }

// Get returns the live record, or backend.ErrNotFound.
func (j *Journal) Get(ctx context.Context, kind, key string) (backend.Record, error) {
	if !j.away() {
		r, err := j.there.Get(ctx, kind, key)
		if !errors.Is(err, backend.ErrUnavailable) {
			return r, err
		}
	}
	return j.local.Get(context.WithoutCancel(ctx), kind, key)
}

// List returns the live records of a kind, sorted by key. Declarations, and their deletions, are kept here, too.
func (j *Journal) List(ctx context.Context, kind string) ([]backend.Record, error) {
	if !j.away() {
		found, err := j.there.list(ctx, kind, true)
		if err == nil {
			j.saw(found...)
			if err := j.learn(ctx, kind, found); err != nil {
				j.failures.Add(1)
				j.o.Logger.Error("the journal can't be written", "what", kind, "error", err)
			}
			return slices.DeleteFunc(found, func(r backend.Record) bool { return r.Deleted }), nil
		}
		if !errors.Is(err, backend.ErrUnavailable) {
			return nil, err
		}
	}
	return j.local.List(context.WithoutCancel(ctx), kind)
}

// learn keeps the declarations of others.
func (j *Journal) learn(ctx context.Context, kind string, found []backend.Record) error {
	if slices.Contains(j.o.Facts, kind) {
		return nil
	}
	known, err := j.local.list(ctx, kind, true)
	if err != nil {
		return err
	}
	here := map[string]backend.Record{}
	for _, r := range known {
		here[r.Key] = r
	}
	fresh := slices.DeleteFunc(slices.Clone(found), func(r backend.Record) bool {
		old, ok := here[r.Key]
		return ok && !r.Wins(old)
	})
	return backend.PutEach(ctx, j.local, fresh...)
}

// Everything returns all records, including deleted ones, sorted by kind and key; without the backend, those in the
// journal.
func (j *Journal) Everything(ctx context.Context) ([]backend.Record, error) {
	if !j.away() {
		found, err := j.there.Everything(ctx)
		if err == nil {
			j.saw(found...)
		}
		if !errors.Is(err, backend.ErrUnavailable) {
			return found, err
		}
	}
	return j.local.Everything(context.WithoutCancel(ctx))
}

// Purge removes records there, then here.
func (j *Journal) Purge(ctx context.Context, kind string, before int64, all bool) error {
	if err := j.there.Purge(ctx, kind, before, all); err != nil {
		return err
	}
	return j.local.Purge(ctx, kind, before, all)
}

// Lease returns the lease of that name in the backend. It waits for nothing else: confirming it comes before the
// records.
func (j *Journal) Lease(name string) backend.Lease { return j.remote.Lease(name) }

// Identity identifies the server of the backend.
func (j *Journal) Identity(ctx context.Context) (string, error) { return j.remote.Identity(ctx) }

// Newest is the highest version that the backend is known to have had when it was last used. 0 if that was so long ago
// that it may have been purged since.
func (j *Journal) Newest() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.newest < j.o.Clock.Now().Add(-j.o.Keep).UnixMicro() {
		return 0
	}
	return j.newest
}

// Highest is the highest term ever remembered.
func (j *Journal) Highest() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.highest
}

// Remember keeps a term for ever, if it is the highest: terms rise although a backend may go back in time.
func (j *Journal) Remember(term int64) {
	j.mu.Lock()
	rises := term > j.highest
	j.highest = max(term, j.highest)
	j.mu.Unlock()
	if rises {
		j.note(rowHighest, term)
	}
}

// Served is the last name given to Serve, even in a previous run.
func (j *Journal) Served() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.served
}

// Serve keeps the name of the server in use: a daemon that restarts must know which one it used.
func (j *Journal) Serve(name string) {
	j.mu.Lock()
	changes := name != j.served
	j.served = name
	j.mu.Unlock()
	if changes {
		j.noteHold(rowServed, backend.Hold{Holder: name, Term: time.Now().UnixMicro()})
	}
}

// Close stops everything, and closes both stores.
func (j *Journal) Close() error {
	j.cancel()
	err := j.remote.Close()
	j.work.Wait()
	return errors.Join(err, j.local.Close())
}

// Stale says what a server lacks that was seen in the backend before, or "": the highest term, and the newest version.
func Stale(offered Identity, term, newest int64) string {
	switch {
	case offered.Hold.Term < term:
		return fmt.Sprintf("it is stale: its lease has term %d, but the backend already had term %d", offered.Hold.Term,
			term)
	case offered.Newest < newest:
		return fmt.Sprintf("it is stale: it lacks the last %v of writes (its newest record is from %s, but the "+
			"backend already had one from %s)",
			time.Duration(newest-offered.Newest)*time.Microsecond, at(offered.Newest), at(newest))
	}
	return ""
}

func at(version int64) string {
	return time.UnixMicro(version).UTC().Format("2006-01-02 15:04:05.000000")
}
