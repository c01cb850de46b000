package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
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
	var age int64
	for name, into := range map[string]*int64{rowHighest: &j.highest, rowNewest: &j.newest, rowAge: &age} {
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
	o.Clock.ResumeAge(age)
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

// Close stops everything, and closes both stores.
func (j *Journal) Close() error {
	j.cancel()
	err := j.remote.Close()
	j.work.Wait()
	return errors.Join(err, j.local.Close())
}
